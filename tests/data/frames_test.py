"""Tables in memory are read as files are."""

import pathlib

import polars as pl
import pyarrow as pa
import pytest

from instructrec.data import frames, raw_table, table

_ORDERS = {
  "user_id": ["a", "a", "b"],
  "item_id": [1, 2, 1],
  "timestamp": [10.0, 20.0, 30.0],
  "rating": [5.0, float("nan"), 3.0],
}
_ITEMS = {
  "item_id": [1, 2],
  "title": ["Red Ball", "Blue Ball"],
  "categories": [["toys", "balls"], []],
}


@pytest.mark.parametrize(
  "made",
  [
    dict,
    pl.DataFrame,
    pl.LazyFrame,
    pa.table,
    pytest.param("pandas", id="pandas"),
  ],
)
def test_a_frame_of_any_library_gives_what_its_file_gives(made, tmp_path):
  if made == "pandas":
    made = pytest.importorskip("pandas").DataFrame
  files = (tmp_path / "orders.parquet", tmp_path / "items.parquet")
  for path, columns in zip(files, (_ORDERS, _ITEMS), strict=True):
    pl.DataFrame(columns).fill_nan(None).write_parquet(path)
  expected_log, expected_items, _ = table.load(*files)
  log, items, bad = table.load(
    frames.of(made(_ORDERS), "interactions"), frames.of(made(_ITEMS), "items")
  )
  assert log.fingerprint() == expected_log.fingerprint()
  assert items.fingerprint() == expected_items.fingerprint()
  assert items["1"].categories == ("toys", "balls")
  assert log.frame["rating"].to_list() == [5.0, None, 3.0]
  assert not len(bad)


def test_a_bad_row_of_a_frame_is_named():
  orders = pl.DataFrame({**_ORDERS, "user_id": ["a", None, "b"]})
  with pytest.raises(ValueError, match=r"table of interactions, line 2.*user"):
    table.load(orders, pl.DataFrame(_ITEMS))


def test_columns_that_a_frame_lacks_are_named():
  with pytest.raises(ValueError, match=r"table of items has no 'title'"):
    table.load(pl.DataFrame(_ORDERS), pl.DataFrame({"item_id": [1]}))


@pytest.mark.parametrize("wrong", [5, "orders", [1, 2], pl.Series([1]), {1: 2}])
def test_what_is_no_table_is_refused(wrong):
  with pytest.raises(
    TypeError, match=r"the table of items is a .*expected a fr"
  ):
    frames.of(wrong, "items")


def test_a_frame_is_no_file(tmp_path):
  found = raw_table.of_frame(pl.DataFrame(_ITEMS), "items")
  assert found.read(["title", "none"]).columns == [raw_table.ROW, "title"]
  assert found.file.path == pathlib.Path()
