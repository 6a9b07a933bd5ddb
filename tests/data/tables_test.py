"""Interactions, catalogue, filters, prepared data."""

import json
import shutil

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec import checksums
from instructrec.data import (
  candidates,
  catalog,
  dataset,
  filtering,
  interaction,
  leaks,
  splits,
  synthetic,
)


def log_of(*rows):
  return interaction.InteractionLog(
    pl.DataFrame(rows, schema=["user_id", "item_id", "order"], orient="row")
  )


def catalog_of(*rows):
  return catalog.Catalog(
    pl.DataFrame(rows, schema=["item_id", "title", "brand"], orient="row")
  )


def test_logs_keep_users_together_and_sort_by_order():
  log = log_of(("b", "x", 5), ("a", "y", 1), ("b", "z", 2), ("b", "w", 2))
  assert log.sequences() == (["b", "a"], [["z", "w", "x"], ["y"]])
  first = next(iter(log))
  assert first == interaction.Interaction("b", "z", 2)
  assert (len(log), log.num_users, log.num_items) == (4, 2, 4)
  assert log.fingerprint() != log_of(("b", "x", 5)).fingerprint()


def test_logs_need_their_columns_and_values():
  with pytest.raises(ValueError, match="lack the column 'order'"):
    interaction.InteractionLog(pl.DataFrame({"user_id": [], "item_id": []}))
  with pytest.raises(ValueError, match="1 interactions have no item_id"):
    log_of(("a", None, 1))


def test_shared_titles_get_brand_then_number():
  items = catalog_of(
    ("1", "Chess", "Oak"), ("2", "Chess", "Elm"), ("3", " Chess\n", "Elm")
  )
  assert items.titles == ["Chess", "Chess (Elm)", "Chess (#2)"]
  assert items.num_title_collisions == 2
  assert items["2"].brand == "Elm"
  assert items.find_title("chess (elm)") == "2"


def test_unknown_ids_and_titles_name_the_nearest():
  items = catalog_of(("i1", "Space Chess", None), ("i2", "Go", None))
  assert "i1" in items
  with pytest.raises(KeyError, match="'i3'; the nearest are 'i"):
    items.index("i3")
  with pytest.raises(ValueError, match="the nearest are 'Space Chess'"):
    items.find_title("Space Ches")
  with pytest.raises(ValueError, match="none is similar"):
    items.find_title("qqqq")


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ([("1", "A", None), ("1", "B", None)], "'1' occurs more than once"),
    ([("1", "", None)], "item '1' has no title"),
    ([("1", "\u200b\x07", None)], "item '1' has no title"),
  ],
)
def test_catalogues_need_unique_ids_and_titles(rows, message):
  with pytest.raises(ValueError, match=message):
    catalog_of(*rows)


def test_k_core_goes_on_until_nothing_changes():
  # Dropping item z takes user c below two, which takes item y below two.
  log = log_of(
    ("a", "x", 0), ("a", "w", 1), ("b", "x", 0), ("b", "w", 1),
    ("c", "y", 0), ("c", "z", 1), ("a", "y", 2),
  )  # fmt: skip
  core = filtering.k_core(log, min_user=2, min_item=2)
  assert core.sequences() == (["a", "b"], [["x", "w"], ["x", "w"]])
  with pytest.raises(ValueError, match="no interactions are left"):
    filtering.k_core(log, min_user=9, min_item=1)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_k_core_leaves_only_what_has_enough(pairs):
  log = filtering.deduplicate(
    log_of(*((f"u{u}", f"i{i}", n) for n, (u, i) in enumerate(pairs)))
  )
  try:
    core = filtering.k_core(log, min_user=2, min_item=2)
  except ValueError:
    return
  for column in ("user_id", "item_id"):
    assert core.frame[column].value_counts()["count"].min() >= 2


def test_the_first_of_repeated_interactions_stays():
  log = log_of(("a", "x", 0), ("a", "y", 1), ("a", "x", 2), ("a", "z", 3))
  assert filtering.deduplicate(log).sequences()[1] == [["x", "y", "z"]]


@pytest.fixture(scope="module")
def shop():
  return synthetic.generate(num_users=50, num_items=40, seed=1)


@pytest.fixture(scope="module")
def prepared(shop, tmp_path_factory):
  log, items = shop
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = splits.Split(
    split.name, requests, split.training_log, split.parameters, ("note",)
  )
  leaks.check_split(split, log)
  folder = tmp_path_factory.mktemp("prepared") / "data"
  return dataset.save(
    folder, log=log, items=items, split=split, record={"seed": 1}
  ), folder


def test_prepared_data_come_back_as_they_were(prepared):
  saved, folder = prepared
  loaded = dataset.load(folder)
  assert loaded.fingerprint == saved.fingerprint
  assert loaded.split.requests.equals(saved.split.requests)
  assert loaded.split.warnings == ("note",)
  assert loaded.catalog.titles == saved.catalog.titles
  assert not list(folder.parent.glob("*.incomplete*"))


def test_a_changed_file_is_named(prepared, tmp_path):
  saved, _ = prepared
  folder = tmp_path / "copy"
  dataset.save(
    folder, log=saved.log, items=saved.catalog, split=saved.split, record={}
  )
  saved.catalog.frame.head(3).write_parquet(folder / "items.parquet")
  with pytest.raises(ValueError, match=r"items\.parquet is damaged"):
    dataset.load(folder)


def test_other_folders_are_no_prepared_data(prepared, tmp_path):
  saved, folder = prepared
  with pytest.raises(FileNotFoundError, match=r"requests\.parquet is missing"):
    dataset.load(tmp_path)
  shutil.copytree(folder, tmp_path / "other")
  record = {**saved.manifest, "format_version": 9}
  (tmp_path / "other" / "manifest.json").write_text(json.dumps(record))
  checksums.write(tmp_path / "other")
  with pytest.raises(ValueError, match="has format_version 9, expected 3"):
    dataset.load(tmp_path / "other")
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    dataset.save(
      folder, log=saved.log, items=saved.catalog, split=saved.split, record={}
    )
