"""What `prepare` keeps in the catalogue, and what it calls its items."""

import polars as pl
import pytest
from typer.testing import CliRunner

from instructrec.cli import main
from instructrec.data import dataset, request
from instructrec.models import tokenizer
from instructrec.retrieval import methods

_NUM_CORE = 12


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
  """Twelve users who take six of twelve items; two items nobody shares."""
  folder = tmp_path_factory.mktemp("tables")
  rows = [
    (f"u{u}", f"i{(u + place) % _NUM_CORE}", place)
    for u in range(_NUM_CORE)
    for place in range(6)
  ]
  rows.append(("u0", "rare", 6))
  pl.DataFrame(
    rows, schema=["user_id", "item_id", "position"], orient="row"
  ).write_csv(folder / "log.csv")
  items = [
    ("rare", "Emma", "", "1972-01-23"),
    ("new", "New", "", ""),
    ("i0", "Emma", "", "1996"),
    ("i1", "Boot, Das (1981)", "www.bavaria.de", "1981"),
    ("i2", "\u4e03\u4eba\u306e\u4f8d", "", "1954"),
    ("i3", "\u7f85\u751f\u9580", "", ""),
    *((f"i{n}", f"Film {n}", "", "") for n in range(4, _NUM_CORE)),
  ]
  pl.DataFrame(
    items, schema=["item_id", "title", "brand", "year"], orient="row"
  ).write_csv(folder / "items.csv")
  return folder


def prepare(tables, *options):
  output = tables / "out"
  result = CliRunner().invoke(
    main.app,
    [
      *("prepare", "--source=table", f"--input={tables / 'log.csv'}"),
      *(f"--items={tables / 'items.csv'}", "--min_interactions=2"),
      *(f"--output={output}", "--overwrite", "--num_negatives=3", *options),
    ],
  )
  assert result.exit_code == 0, result.output
  return dataset.load(output), " ".join(result.output.split())


def drawn(prepared):
  return set(prepared.split.requests["candidates"].explode())


def test_items_outside_the_core_leave_the_catalogue(tables):
  """Log, negatives, baselines and whole-catalogue ranking know the same."""
  prepared, said = prepare(tables)
  core = {f"i{n}" for n in range(_NUM_CORE)}
  assert set(prepared.catalog.item_ids) == set(prepared.log.item_counts) == core
  assert drawn(prepared) == core
  popular = methods.create("popularity", {})
  popular.fit(prepared.split.training_log, prepared.catalog)
  first = request.from_frame(prepared.split.requests.head(1))
  ranked = popular.retrieve(first, _NUM_CORE, remove_seen=False).item_ids[0]
  assert set(ranked) == core
  assert "2 items outside the core left the catalogue of 14" in said
  assert prepared.manifest["catalog"]["rare_items_left_out"] == 2
  assert prepared.manifest["counts"]["items"] == _NUM_CORE


def test_rare_items_can_be_kept(tables):
  prepared, said = prepare(tables, "--keep_rare_items")
  assert len(prepared.catalog) == _NUM_CORE + 2
  assert "rare" not in prepared.log.item_counts
  assert drawn(prepared) >= {"rare", "new"}
  assert "2 of the 14 items that negatives are drawn from have no" in said
  # Both are called Emma: the second has its year behind it.
  assert prepared.catalog.title("i0") == "Emma (1996)"
  assert "1 titles that look like another item's got brand" in said


def test_titles_are_told_apart_among_the_items_that_stay(tables):
  prepared, said = prepare(tables)
  assert prepared.catalog.title("i0") == "Emma"
  assert "look like another" not in said


def test_articles_first_and_names_cleaned(tables):
  prepared, said = prepare(tables, "--articles_first")
  assert prepared.catalog.title("i1") == "Das Boot (1981)"
  assert prepared.catalog["i1"].brand == "bavaria.de"
  assert "note: 1 brands and categories were cleaned of markup" in said
  assert "'www.bavaria.de' of item 'i1'" in said
  assert prepared.manifest["catalog"]["cleaning"]["num_cleaned"] == 1


def test_titles_that_a_vocabulary_cannot_tell_apart_get_more(tables, tmp_path):
  """Its bytes do not fall back, as those of T5's vocabulary do not."""
  path = tmp_path / "plain.model"
  with path.open("wb") as file:
    tokenizer.sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(["Film New Emma Boot Das (#0123456789)"] * 20),
      model_writer=file,
      vocab_size=40,
      hard_vocab_limit=False,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      minloglevel=2,
    )
  prepared, said = prepare(tables, f"--vocabulary={path}")
  titles = [prepared.catalog.title(i) for i in ("i2", "i3")]
  assert titles == ["\u4e03\u4eba\u306e\u4f8d", "\u7f85\u751f\u9580 (#2)"]
  assert "1 titles that look like another item's" in said
  looks = tokenizer.Tokenizer(path).looks(prepared.catalog.titles)
  assert len(set(looks)) == _NUM_CORE
