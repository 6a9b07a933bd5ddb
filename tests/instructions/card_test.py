"""The data card says what the records are; the audit sheet is safe."""

import collections
import csv
import re

import polars as pl
import pytest

from instructrec.data import catalog
from instructrec.instructions import card, quality, tally, units, wish_card
from instructrec.instructions.format import FineGrained, Instruction


@pytest.fixture(scope="module")
def counted(generated):
  found = tally.Tally()
  for record in generated[1]:
    found.add(record)
  return found


@pytest.fixture(scope="module")
def manifest(generated, counted):
  rows, origins = {}, {}
  for (config, split), count in counted.rows.items():
    rows.setdefault(config, {})[split] = count
  for (name, origin), count in counted.origins.items():
    origins.setdefault(name, {})[origin] = count
  return {
    "source": {"name": "synthetic", "version": "2", "url": None},
    "prepared_fingerprint": "sha256:" + "1" * 64,
    "teacher": {
      "name": "offline", "version": "3", "replaced_by_offline": {},
    },
    "protocol": "stated",
    "catalog": {
      "rare_items_left_out": 7,
      "cleaning": {"num_cleaned": 2, "num_left_out": 1, "example": ["i", "x"]},
    },
    "items": {"count": 60},
    "vocabulary": {
      "origin": "trained", "size": 500, "unknown_share": 0.0123,
      "titles_with_unknown": 4, "titles_alike": 0,
    },
    "max_history": 20,
    "control": None,
    "seed": 0,
    "rows": rows,
    "templates": dict(counted.templates),
    "origins": origins,
    "fingerprint": "sha256:" + "2" * 64,
  }  # fmt: skip


@pytest.fixture(scope="module")
def markdown(manifest, counted, generated):
  return card.markdown(manifest, counted, generated[0])


def cells(markdown, label):
  """The other cells of a table's row."""
  rows = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in markdown.splitlines()
    if line.startswith("|")
  ]
  found = [row[1:] for row in rows if row[0].strip() == label]
  assert len(found) == 1, (label, found)
  return found[0]


def test_the_papers_table_stands_beside_the_counts(markdown, generated):
  texts = [r for r in generated[1] if isinstance(r, FineGrained)]
  kinds = collections.Counter(text.kind for text in texts)
  wishes = kinds["I1"] + kinds["I1*"]
  lengths = [len(text.text.split()) for text in texts]
  train = [
    len(r.inputs.split())
    for r in generated[1]
    if isinstance(r, Instruction) and r.split == "train"
  ]
  expected = {
    "fine-grained instructions": ["252,730", f"{len(texts):,}"],
    "- preferences": ["151,638", f"{kinds['P2']:,}"],
    "- intentions": ["101,092", f"{wishes:,}"],
    "- average words": ["23.5", f"{sum(lengths) / len(lengths):.1f}"],
    "coarse templates": ["39", "39"],
    "- preference related": ["17", "17"],
    "- intention related": ["9", "9"],
    "- combined": ["13", "13"],
    "- average words, filled": ["-", f"{sum(train) / len(train):.1f}"],
  }
  for label, row in expected.items():
    assert cells(markdown, label) == row
  paper, ours = cells(markdown, "- average words, slots empty")
  assert paper == "41.4"
  assert 10 < float(ours) < 41.4


def test_counts_are_those_of_the_records(markdown, generated):
  found = collections.Counter((r.config, r.split) for r in generated[1])
  for config in {config for config, _ in found}:
    numbers = [int(n.replace(",", "")) for n in cells(markdown, f"`{config}`")]
    assert numbers == [
      found[config, split] for split in ("train", "validation", "test")
    ]
  assert f"All {len(generated[1]):,} records were checked" in markdown
  used = collections.Counter(
    r.template_id
    for r in generated[1]
    if isinstance(r, Instruction) and r.split == "train"
  )
  for template in generated[0].template_set.templates:
    row = cells(markdown, f"`{template.id}`")
    assert row[:3] == [template.paper or "-", template.kind, template.form]
    assert row[3] == (
      "held out" if template.held_out else f"{used[template.id]:,}"
    )


def test_twenty_examples_of_each_task_type(markdown, generated):
  training = {
    (r.task, r.inputs, r.targets)
    for r in generated[1]
    if isinstance(r, Instruction) and r.split == "train"
  }
  sections = re.split(r"^### ", markdown, flags=re.MULTILINE)[1:]
  assert [section.split()[0] for section in sections] == [
    "sequential",
    "product_search",
    "personalized_search",
  ]
  for section in sections:
    shown = re.findall(r"^  - ((?!\*\*).*)\n  - \*\*(.*)\*\*$", section, re.M)
    assert len(shown) == tally.NUM_EXAMPLES
    for inputs, targets in shown:
      assert (section.split()[0], inputs, targets) in training


def test_the_audit_by_rule_counts_the_samples(markdown, counted, generated):
  row = cells(
    markdown,
    "derived from the user's information (shares a content word with its "
    "source)",
  )
  total = generated[0].prepared.manifest["counts"]["users"]
  assert row[1::2] == ["93%", "90%"]
  sizes = [int(cell.split(" of ")[1].replace(",", "")) for cell in row[::2]]
  assert sizes == [3 * total, 2 * total]
  shares = [int(cell.split("%")[0]) for cell in row[::2]]
  # A tenth of the wishes is of no use, and some say a price or a person.
  assert shares[0] > 80
  assert shares[1] > 40


def test_the_card_says_the_protocol_and_the_facts(
  markdown, manifest, counted, generated
):
  assert "**Protocol: stated.**" in markdown
  assert cells(markdown, "teacher") == ["offline, version 3"]
  assert cells(markdown, "source") == ["name synthetic, version 2"]
  other = card.markdown(
    {
      **manifest,
      "protocol": "paper",
      "teacher": {
        **manifest["teacher"],
        "replaced_by_offline": {"too_short": 3},
      },
    },
    counted,
    generated[0],
  )
  assert "**Protocol: paper.**" in other
  assert "{'too_short': 3}" in other


@pytest.fixture(scope="module")
def sheet(counted, generated, tmp_path_factory):
  path = tmp_path_factory.mktemp("audit") / "audit.csv"
  card.write_audit(path, counted, generated[0])
  with path.open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def test_the_sheet_has_rows_of_each_kind_with_what_they_were_made_from(
  sheet, generated
):
  texts = {r.text: r for r in generated[1] if isinstance(r, FineGrained)}
  kinds = collections.Counter(row["kind"] for row in sheet)
  users = generated[0].prepared.manifest["counts"]["users"]
  # Forty users: a hundred of their preferences, all of their wishes.
  assert kinds == {"P2": card.NUM_SHEET_ROWS, "I1": users, "I1*": users}
  titles = set(generated[0].prepared.catalog.titles)
  derived = 0
  for row in sheet:
    assert texts[row["text"]]
    assert row["target"].split(" | ")[0] in titles
    for item in row["made from"].split("; "):
      assert item.split(" | ")[0] in titles
    assert all(row[question] == "" for question in card.QUESTIONS)
    derived += quality.audit(
      row["text"], [row["made from"], row["review"]], []
    )["derived"]
  # A tenth of the wishes is of no use, others are against something.
  assert derived > 0.7 * len(sheet)


def test_the_sheet_shows_the_target_where_a_text_was_made_from_it(
  prepared_dir, tmp_path
):
  spec = units.Spec(prepared_dir=str(prepared_dir), protocol="paper")
  generator = spec.generator()
  counted = tally.Tally()
  for record in generator.rows(["train"]):
    counted.add(record)
  path = tmp_path / "audit.csv"
  card.write_audit(path, counted, generator)
  with path.open(newline="", encoding="utf-8") as file:
    found = [r for r in csv.DictReader(file) if r["kind"] == "I1"]
  requests = generator.prepared.requests
  newest = requests.read("train").filter("newest")
  expected = {
    (generator.prepared.catalog.title(target), review)
    for target, review in newest.select("target", "target_review").rows()
  }
  assert {(r["target"].split(" | ")[0], r["review"]) for r in found} == expected
  assert all(r["made from"] == r["target"] for r in found)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(generated, tmp_path, start):
  generator, records = generated
  text = next(r for r in records if isinstance(r, FineGrained)
              and r.kind == "P2")  # fmt: skip
  evil = f"{start}HYPERLINK(A1)"

  class Requests:
    def find(self, request_ids):
      frame = generator.prepared.requests.find(request_ids)
      return frame.with_columns(pl.lit(evil).alias("history_review"))

  class Prepared:
    catalog = catalog.Catalog(
      generator.prepared.catalog.frame.with_columns(
        title=pl.lit(evil) + pl.col("title")
      )
    )
    requests = Requests()

  class Generator:
    prepared = Prepared()
    max_history = 20

  counted = tally.Tally()
  counted.add(
    FineGrained(**{f: getattr(text, f) for f in text.__dataclass_fields__}
                | {"text": evil})
  )  # fmt: skip
  path = tmp_path / "audit.csv"
  card.write_audit(path, counted, Generator())
  with path.open(newline="", encoding="utf-8") as file:
    _, row = csv.reader(file)
  assert row[1] == row[3] == f"'{evil}"
  assert row[2].startswith(f"'{start}" if start.strip() else "HYPER")
  for cell in row:
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_the_card_says_what_a_wish_knows(markdown, counted, generated):
  wished = [
    r
    for r in generated[1]
    if isinstance(r, Instruction) and r.wish_stance and r.intention == "I2"
  ]
  bits = sorted(r.wish_bits for r in wished)
  row = cells(markdown, "I2")
  assert row[0] == f"{len(wished):,}"
  useless = sum(r.wish_stance == "useless" for r in wished) / len(wished)
  assert row[3] == f"{useless:.0%}"
  against = sum(any(s[0] == "-" for s in r.wish_sources) for r in wished)
  assert row[4] == f"{against / len(wished):.0%}"
  assert float(row[5]) == pytest.approx(sum(bits) / len(bits), abs=0.06)
  assert float(row[8]) == pytest.approx(bits[len(bits) // 2], abs=0.06)
  figures = wish_card.summary(counted)["I2"]
  assert figures["rows"] == len(wished)
  assert sum(figures[s] for s in ("agreeing", "odds", "useless")) == (
    pytest.approx(1, abs=1e-3)
  )
  common = cells(markdown, "`none`")
  every = [r for r in generated[1] if getattr(r, "wish_stance", "")]
  none = sum(r.wish_sources == ("none",) for r in every)
  assert common[0] == f"{none:,}"


def test_without_stated_wishes_the_card_is_silent_about_them():
  assert wish_card.markdown(tally.Tally(), str) == ""
  assert wish_card.summary(tally.Tally()) == {}


def test_facts_of_the_catalogue_and_of_the_vocabulary(markdown):
  assert "60 items; 7 left out, which are outside the k-core" in markdown
  assert "2 cleaned of markup and links, 1 left out" in markdown
  assert (
    "trained, 500 ids; 1.23% of the tokens of titles are unknown, in 4 of 60 "
    "titles"
  ) in markdown
