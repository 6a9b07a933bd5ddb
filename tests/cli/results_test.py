"""Published figures through the command line."""

import numpy as np
import pytest
from command_line import call
from typer.testing import CliRunner

from instructrec.cli import main
from instructrec.evaluation import evaluate, following, published, report

LABELS = np.arange(60) % 5


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Reports of two models with two training seeds each, beside SASRec."""
  folder = tmp_path_factory.mktemp("runs")
  other = np.random.default_rng(9).normal(size=(60, 5))
  for seed, name in enumerate(("text0", "text1", "items0", "items1")):
    scores = np.random.default_rng(seed).normal(size=(60, 5))
    scores[np.arange(60), LABELS] += 2
    result = evaluate.from_scores(
      "sequential",
      {"trained model": scores, "sasrec": other},
      LABELS,
      request_ids=[str(i) for i in range(60)],
      num_resamples=10,
    )
    context = report.Context(
      name,
      [f"instructrec evaluate --model_dir={name}"],
      {},
      {"prepared fingerprint": "sha256:1"},
      {"training": seed},
      {"instructrec": "0"},
      "",
      [],
      [],
    )
    report.write(folder / name, [result], context)
  return folder


def test_several_models_and_seeds_become_one_table(runs, tmp_path):
  call(
    "compare",
    *(f"{n[:-1]}={runs / n}" for n in ("text0", "text1", "items0", "items1")),
    f"--output={tmp_path / 'both'}",
  )
  file = tmp_path / "docs/results/games_random9.json"
  output = call(
    "results",
    "publish",
    tmp_path / "both",
    f"--output={file}",
    "--row=text=text/trained model",
    "--row=text and items=items/trained model",
    "--row=SASRec=text/sasrec",
    "--reference=SASRec",
    "--metric=HR@1",
  )
  assert f"1 tables written to {file}" in output
  table = published.Published.load(file).table("sequential")
  assert [row.name for row in table.rows] == [
    "text",
    "text and items",
    "SASRec",
  ]
  assert len(table.row("text").runs["HR@1"]) == 2
  assert table.row("text and items").differences["HR@1"].mean > 0
  page = tmp_path / "docs/results.md"
  page.write_text("a\n<!-- results: games_random9 -->\n<!-- end -->\n")
  args = ("results", "write", page, f"--folder={file.parent}")
  assert "was written anew" in call(*args)
  assert "| text and items | " in page.read_text()
  assert "is up to date" in call(*args)
  page.write_text("a\n")
  assert "has no marker <!-- results: games_random9 -->" in call(*args)


def test_rows_are_named(runs, tmp_path):
  args = (
    "results",
    "publish",
    runs / "text0",
    f"--output={tmp_path / 'a.json'}",
  )
  result = CliRunner().invoke(main.app, [*map(str, args), "--row=text"])
  assert result.exit_code == 2
  twice = ("--row=A=trained model", "--row=A=random")
  result = CliRunner().invoke(main.app, [*map(str, args), *twice])
  assert result.exit_code == 2
  assert not (tmp_path / "a.json").exists()
  with pytest.raises(ValueError, match=r"lacks the methods \['bm25'\]"):
    call(*args, "--row=BM25=bm25")


def test_following_is_published_alone(tmp_path):
  rng = np.random.default_rng(0)
  best = np.stack([rng.permutation(30)[:10] for _ in range(20)])
  has = rng.random((20, 30)) < 0.3
  measured = following.measure(
    following.Answers(
      plain=best, wanted=best, unwanted=best, other=best, has_a=has, has_b=has
    ),
    seed=0,
    num_resamples=10,
  )
  result = evaluate.from_scores(
    "sequential",
    {"trained model": rng.normal(size=(60, 5))},
    LABELS,
    request_ids=[str(i) for i in range(60)],
    num_resamples=10,
  )
  context = report.Context(
    "shop", ["c"], {}, {}, {}, {}, "", [], [], following=measured
  )
  report.write(tmp_path / "report", [result], context)
  file = tmp_path / "following_shop.json"
  call(
    "results", "publish", tmp_path / "report", f"--output={file}", "--following"
  )
  found = published.Published.load(file)
  figures = found.table("following").row("trained model").metrics
  assert figures["right_direction"].mean == pytest.approx(
    measured.right_direction.mean, abs=1e-6
  )
  with pytest.raises(ValueError, match="leave --group"):
    call(
      "results",
      "publish",
      tmp_path / "report",
      f"--output={file}",
      "--following",
      "--metric=HR@1",
    )


def test_a_report_that_does_not_speak_of_following_says_so(runs, tmp_path):
  with pytest.raises(published.PublishedError, match="nothing of following"):
    call(
      "results",
      "publish",
      runs / "text0",
      f"--output={tmp_path / 'x.json'}",
      "--following",
    )
