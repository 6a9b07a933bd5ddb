"""Published figures: what is kept of a report, and pages made from it."""

import errno
import json
import pathlib

import numpy as np
import pytest

from instructrec.evaluation import (
  compare,
  evaluate,
  facts,
  published_page,
  published_report,
  report,
)
from instructrec.evaluation.published import (
  Figure,
  Gap,
  Published,
  PublishedError,
  Row,
  Table,
)

pytestmark = pytest.mark.usefixtures("no_pictures")
COUNT = 80
LABELS = np.random.default_rng(0).integers(0, 6, COUNT)


FURTHER = Table(
  name="control: wanted",
  metrics=["TCP", "CPA"],
  rows=[
    Row(
      name=name,
      metrics={"TCP": Figure(0.5, 0.25, 0.75)},
    )
    for name in ("model", "model, led")
  ],
  num_requests=4,
)


def written(folder, seed=0, groups=("sequential", "search")):
  scores = np.random.default_rng(seed).normal(size=(COUNT, 6))
  better = scores.copy()
  better[np.arange(COUNT), LABELS] += 2
  found = [
    evaluate.from_scores(
      group,
      {"trained model": better, "other": scores},
      LABELS,
      request_ids=[f"r{i}" for i in range(COUNT)],
      known=facts.Facts.of(
        targets=[f"i{label}" for label in LABELS],
        candidates=[[f"i{j}" for j in range(6)]] * COUNT,
        target_counts=np.ones(COUNT, int),
        history_lengths=np.ones(COUNT, int),
        users=[f"u{i // 2}" for i in range(COUNT)],
      ),
      num_resamples=100,
      descriptions={"other": "noise"},
    )
    for group in groups
  ]
  context = report.Context(
    "A report",
    ["instructrec evaluate --model_dir=m"],
    {"ties": "expected value"},
    {"prepared fingerprint": "sha256:0"},
    {"training": seed},
    {"numpy": "1"},
    "",
    ["few requests"],
    [],
    figures=[FURTHER],
  )
  report.write(folder, found, context)
  return folder


def test_tables_of_further_sections_are_published_where_they_are_named(
  tmp_path,
):
  folder = written(tmp_path / "report")
  found = published_report.from_folder(
    folder,
    "toy",
    groups=["control: wanted"],
    rows={"led": "model, led"},
    metrics=["HR@10", "TCP"],
  )
  found.save(tmp_path / "toy.json")
  (table,) = Published.load(tmp_path / "toy.json").tables
  assert (table.name, table.metrics) == ("control: wanted", ["TCP"])
  assert [row.name for row in table.rows] == ["led"]
  assert table.row("led").metrics == {"TCP": Figure(0.5, 0.25, 0.75)}
  with pytest.raises(PublishedError, match=r"lack the methods \['none'\]"):
    published_report.from_folder(
      folder, "toy", groups=["control: wanted"], rows={"a": "none"}
    )


def test_a_report_is_kept_without_its_requests(tmp_path):
  folder = written(tmp_path / "report")
  found = published_report.from_folder(
    folder,
    "toy",
    groups=["sequential"],
    rows={"noise": "other", "text": "trained model"},
    metrics=["HR@1", "NDCG@10"],
    reference="noise",
  )
  found.save(tmp_path / "toy.json")
  again = Published.load(tmp_path / "toy.json")
  assert [row.name for row in again.tables[0].rows] == ["noise", "text"]
  table = again.table("sequential")
  assert (table.num_requests, table.num_users) == (COUNT, COUNT // 2)
  assert (table.reference, table.compared) == ("noise", ["HR@1"])
  record = json.loads((folder / "report.json").read_text())
  (own,) = [r for r in record["results"] if r["group"] == "sequential"]
  for name, method in (("noise", "other"), ("text", "trained model")):
    for metric, figure in table.row(name).metrics.items():
      kept = own["methods"][method][metric]
      assert figure.mean == pytest.approx(kept["mean"], abs=1e-6)
      assert figure.low == pytest.approx(kept["low"], abs=1e-6)
  gap = table.row("text").differences["HR@1"]
  assert gap.mean == pytest.approx(
    table.row("text").metrics["HR@1"].mean
    - table.row("noise").metrics["HR@1"].mean,
    abs=2e-6,
  )
  assert gap.is_clear
  assert table.row("noise").differences == {}
  assert again.commands == ["instructrec evaluate --model_dir=m"]
  assert again.data == {"prepared fingerprint": "sha256:0"}
  text = (tmp_path / "toy.json").read_text()
  assert "r17" not in text
  assert len(text) < 4000


def test_all_of_a_report_and_the_best_as_reference(tmp_path):
  found = published_report.from_folder(written(tmp_path / "report"), "toy")
  assert [t.name for t in found.tables] == ["sequential", "search"]
  assert found.title == "A report"
  assert found.tables[0].reference == "trained model"
  assert found.tables[0].row("other").differences["MRR"].mean < 0


def test_training_seeds_stay_beside_their_mean(tmp_path):
  folders = [written(tmp_path / f"s{i}", i) for i in range(3)]
  runs = {"": [compare.load(folder) for folder in folders]}
  together = compare.compare(runs, num_resamples=50)
  context = report.Context("t", ["c"], {}, {}, {}, {}, "", [], [])
  report.write(tmp_path / "all", together, context)
  found = published_report.from_folder(tmp_path / "all", "toy")
  row = found.table("sequential").row("trained model")
  assert len(row.runs["HR@1"]) == 3
  assert np.mean(row.runs["HR@1"]) == pytest.approx(row.metrics["HR@1"].mean)
  text = published_page.section(found.tables[:1], "results/toy.json")
  means = ", ".join(f"{mean:.3f}" for mean in row.runs["HR@1"])
  assert f"- trained model, HR@1 of each training seed: {means}" in text
  # Users are still those of the requests.
  assert found.table("sequential").num_users == COUNT // 2


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"groups": ["none"]}, r"no groups \['none'\]; it has \['seq"),
    ({"rows": {"a": "b"}}, r"sequential lacks the methods \['b'\]"),
    ({"metrics": ["HR@7"]}, r"lacks the metrics \['HR@7'\]"),
    ({"reference": "best"}, r"lacks the reference row \['best'\]"),
    ({"compared": ["HR@7"]}, r"lacks the compared metrics"),
  ],
)
def test_what_a_report_lacks_is_named(tmp_path, options, message):
  folder = written(tmp_path / "report")
  with pytest.raises(PublishedError, match=message):
    published_report.from_folder(folder, "toy", **options)


def test_no_report_is_no_figures(tmp_path):
  with pytest.raises(FileNotFoundError, match="holds no report"):
    published_report.from_folder(tmp_path, "toy")


def test_a_report_without_ranks_needs_the_names_of_its_tables(
  tmp_path, monkeypatch
):
  folder = written(tmp_path / "report")
  record = report.read(folder) | {"results": []}
  monkeypatch.setattr(report, "read", lambda _: record)
  with pytest.raises(PublishedError, match=r"named as groups: \['control: wa"):
    published_report.from_folder(folder, "toy")


def following():
  """Shares of right directions: no lists, no chance, no differences."""
  return Published(
    name="following_shop",
    title="Does the order follow the wish?",
    tables=[
      Table(
        name="following",
        metrics=["right_direction", "rank correlation"],
        rows=[
          Row(
            name="A",
            metrics={"right_direction": Figure(0.97, 0.955, 0.985)},
          ),
          Row(name="nonsense", metrics={"rank correlation": Figure(0.93)}),
        ],
        num_requests=500,
      )
    ],
    commands=["instructrec follow"],
  )


def test_a_figure_is_anything_with_a_mean(tmp_path):
  following().save(tmp_path / "following_shop.json")
  found = Published.load(tmp_path / "following_shop.json")
  assert found == following()
  row = found.table("following").row("A")
  assert row.metrics["right_direction"].mean == 0.97
  assert published_page.table(found.tables[0]) == (
    "| method | right_direction | rank correlation |\n"
    "|---|---|---|\n"
    "| A | 0.970 [0.955, 0.985] |  |\n"
    "| nonsense |  | 0.930 |"
  )
  with pytest.raises(PublishedError, match=r"no row 'B'; it has \['A', 'non"):
    found.table("following").row("B")
  with pytest.raises(PublishedError, match="no table 'x'"):
    found.table("x")


def change(record, path, value):
  *keys, last = path
  for key in keys:
    record = record[key]
  if value is KeyError:
    del record[last]
  else:
    record[last] = value


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    (["schema_version"], 2, "schema_version 2, expected 1"),
    (["name"], "other", "is called 'other' inside"),
    (["title"], KeyError, "lacks 'title'"),
    (["more"], 1, r"has \['more'\], expected some of"),
    (["commands"], "make", "commands is 'make', expected a list of texts"),
    (["tables"], [], r"has the tables \[\]"),
    (["tables", 0, "num_requests"], -1, "num_requests is -1"),
    (["tables", 0, "reference"], "B", "the reference is 'B'"),
    (["tables", 0, "chance"], {"HR@1": 0.1}, r"chance has the metrics \['HR"),
    (["tables", 0, "rows", 1, "name"], "A", r"has the rows \['A', 'A'\]"),
    (
      ["tables", 0, "rows", 0, "metrics", "right_direction", "mean"],
      None,
      r"row 0 \(A\): metrics of right_direction: mean is None, expected a fin",
    ),
    (
      ["tables", 0, "rows", 0, "metrics", "right_direction", "low"],
      2.0,
      "goes from 2.0 to 0.985",
    ),
    (
      ["tables", 0, "rows", 0, "metrics", "right_direction", "low"],
      None,
      "one end of an interval",
    ),
    (
      ["tables", 0, "rows", 0, "differences"],
      {"right_direction": {"mean": 1}},
      "A differs from no reference",
    ),
  ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, path, value, message):
  file = tmp_path / "following_shop.json"
  following().save(file)
  record = json.loads(file.read_text())
  change(record, path, value)
  file.write_text(json.dumps(record))
  with pytest.raises(PublishedError, match=message) as error:
    Published.load(file)
  assert str(file) in str(error.value)


def test_what_could_not_be_read_is_not_written(tmp_path):
  with pytest.raises(
    PublishedError, match=r"name the file following_shop.json"
  ):
    following().save(tmp_path / "following_shop.figures")
  with pytest.raises(PublishedError, match="expected 'else'"):
    following().save(tmp_path / "else.json")
  assert not (tmp_path / "else.json").exists()
  (tmp_path / "cut.json").write_text("{")
  with pytest.raises(PublishedError, match="is no JSON"):
    Published.load(tmp_path / "cut.json")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
  file, page = tmp_path / "following_shop.json", tmp_path / "results.md"
  following().save(file)
  page.write_text(PAGE)
  before = file.read_bytes()
  write = pathlib.Path.write_text

  def full(path, text, **options):
    write(path, text[: len(text) // 2], **options)
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_text", full)
  with pytest.raises(OSError, match="No space left"):
    following().save(file)
  with pytest.raises(OSError, match="No space left"):
    published_page.write(page, tmp_path)
  assert (file.read_bytes(), page.read_text()) == (before, PAGE)


PAGE = """# Results

Prose.

<!-- results: following_shop -->
<!-- end -->

More.
"""


def test_a_page_is_filled_between_its_markers_alone(tmp_path):
  folder, page = tmp_path / "docs/results", tmp_path / "docs/results.md"
  following().save(folder / "following_shop.json")
  page.write_text(PAGE)
  assert published_page.write(page, folder) == (True, set())
  text = page.read_text()
  before, after = PAGE.split("<!-- end -->")
  assert text.startswith(before)
  assert text.endswith(f"<!-- end -->{after}")
  assert "**following**, 500 requests\n\n| method |" in text
  assert "[Figures, commands and versions](results/following_shop.json)" in text
  # Once more changes nothing; other figures do.
  assert published_page.write(page, folder) == (False, set())
  page.write_text(text.replace("0.970", "0.990"))
  assert published_page.write(page, folder) == (True, set())
  assert page.read_text() == text


def test_one_table_of_a_file():
  found = {"following_shop": following()}
  text = PAGE.replace("_shop -->", "_shop/following -->")
  assert "| A | 0.970" in published_page.filled(text, found)
  assert published_page.named(text) == {"following_shop"}
  with pytest.raises(PublishedError, match="no table 'else'"):
    published_page.filled(PAGE.replace("_shop -->", "_shop/else -->"), found)


def test_clear_differences_are_bold():
  clear = Gap(0.04, 0.02, 0.06, p_holm=0.001)
  table = Table(
    name="t",
    metrics=["HR@1"],
    chance={"HR@1": 0.1},
    reference="SASRec",
    compared=["HR@1"],
    rows=[
      Row(
        name="fused",
        metrics={"HR@1": Figure(0.7, 0.68, 0.72)},
        differences={"HR@1": clear},
      ),
      Row(
        name="text",
        metrics={"HR@1": Figure(0.67, 0.65, 0.69)},
        differences={"HR@1": Gap(0.01, -0.01, 0.03, p_holm=0.4)},
      ),
      Row(name="SASRec", metrics={"HR@1": Figure(0.66, 0.64, 0.68)}),
    ],
  )
  assert published_page.table(table) == (
    "| method | HR@1 | HR@1 less SASRec's |\n"
    "|---|---|---|\n"
    "| fused | 0.700 [0.680, 0.720] | **+0.040 [+0.020, +0.060]** |\n"
    "| text | 0.670 [0.650, 0.690] | +0.010 [-0.010, +0.030] |\n"
    "| SASRec | 0.660 [0.640, 0.680] |  |\n"
    "| *chance* | 0.100 |  |"
  )
  assert not Gap(0.04, 0.02, 0.06, p_holm=0.2).is_clear
  assert not Gap(0.04).is_clear


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("<!-- results: none -->\n<!-- end -->", "asks for the results 'none'"),
    ("<!-- results: following_shop -->\nend", "have no <!-- end -->"),
    (
      "<!-- results: following_shop -->\n<!-- results: x -->\n<!-- end -->",
      "before '<!-- results: x -->'",
    ),
  ],
)
def test_markers_that_do_not_fit_are_named(text, message):
  with pytest.raises(PublishedError, match=message):
    published_page.filled(text, {"following_shop": following()})


def test_a_page_without_files_is_no_page(tmp_path):
  with pytest.raises(FileNotFoundError, match="is no folder"):
    published_page.load_all(tmp_path / "none")
