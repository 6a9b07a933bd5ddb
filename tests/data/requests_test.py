"""Requests read in ranges are those of the whole table."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data import candidates, dataset, requests, splits, synthetic


@pytest.fixture(scope="module")
def shop():
  log, items = synthetic.generate(num_users=30, num_items=40, seed=4)
  split = splits.leave_one_out(log)
  table = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = splits.Split(split.name, table, split.training_log, split.parameters)
  return log, items, split


@pytest.fixture(scope="module")
def saved(shop, tmp_path_factory):
  log, items, split = shop
  folder = tmp_path_factory.mktemp("requests") / "prepared"
  dataset.save(folder, log=log, items=items, split=split, record={"seed": 1})
  return folder


@pytest.fixture(scope="module")
def table(shop):
  return shop[2].requests


@pytest.fixture(scope="module")
def found(table):
  return requests.Requests(table.lazy())


def test_counts_are_those_of_the_table(table, found):
  assert list(found.counts) == ["train", "validation", "test"]
  assert len(found) == table.height
  for split, count in found.counts.items():
    assert count == table.filter(pl.col("split") == split).height


def test_newest_marks_the_last_request_of_each_user(table, found):
  for split in found.counts:
    rows = found.read(split)
    last = rows.group_by("user_id").agg(pl.col("target_order").max())
    marked = rows.filter("newest").select("user_id", "target_order")
    assert sorted(marked.rows()) == sorted(last.rows())


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_ranges_equal_the_whole(data):
  # Users of one to four requests, in two splits.
  lengths = data.draw(
    st.lists(st.lists(st.integers(1, 4), max_size=5), min_size=2, max_size=2)
  )
  rows = [
    (split, f"{split}{user}", f"{split}{user}-{number}")
    for split, users in zip(("train", "test"), lengths, strict=True)
    for user, count in enumerate(users)
    for number in range(count)
  ]
  table = pl.DataFrame(
    rows, ["split", "user_id", "request_id"], orient="row"
  ).cast(pl.String)
  found = requests.Requests(table.lazy())
  size = data.draw(st.integers(1, 5))
  for split in ("train", "test"):
    whole = table.filter(pl.col("split") == split)
    count = found.counts.get(split, 0)
    assert count == whole.height
    parts = [
      found.read(split, start, start + size)
      for start in range(0, count + size, size)
    ]
    together = pl.concat(parts)
    assert together.drop("newest").equals(whole)
    users = whole["user_id"].to_list()
    assert together["newest"].to_list() == [
      user not in users[place + 1 :] for place, user in enumerate(users)
    ]
    assert found.read(split).equals(together)


def test_an_unknown_split_has_no_requests(found):
  assert found.read("holdout").is_empty()
  assert found.read("train", 10**6, 10**6 + 5).is_empty()


def test_requests_from_a_file_equal_those_in_memory(saved, found):
  from_file = requests.Requests(pl.scan_parquet(saved / "requests.parquet"))
  assert from_file.counts == found.counts
  for split, count in found.counts.items():
    for start in range(0, count, 17):
      assert from_file.read(split, start, start + 17).equals(
        found.read(split, start, start + 17)
      )


def test_splits_in_pieces_are_refused(table):
  shuffled = pl.concat([table.tail(3), table.head(-3), table.slice(0, 1)])
  with pytest.raises(ValueError, match=r"each split in one piece; prepare"):
    requests.Requests(shuffled.lazy())


def test_find_gives_the_wanted_rows_in_order_of_the_table(table, found):
  wanted = table["request_id"].gather([40, 3, 3, 77])
  rows = found.find(wanted)
  assert rows.equals(table[[3, 40, 77]])
  assert found.find(["nobody"]).is_empty()
  assert found.find([]).is_empty()


def test_scanned_data_are_the_loaded_data(saved):
  loaded, scanned = dataset.load(saved), dataset.scan(saved)
  assert scanned.fingerprint == loaded.fingerprint
  assert scanned.manifest == loaded.manifest
  assert scanned.catalog.frame.equals(loaded.catalog.frame)
  assert scanned.requests.counts == loaded.requests.counts
  for split in loaded.requests.counts:
    assert scanned.requests.read(split).equals(loaded.requests.read(split))


def test_scanning_checks_as_loading_does(saved, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"requests\.parquet is missing"):
    dataset.scan(tmp_path)
  copy = tmp_path / "copy"
  copy.mkdir()
  for path in saved.iterdir():
    (copy / path.name).write_bytes(path.read_bytes())
  pl.read_parquet(copy / "requests.parquet").head(5).write_parquet(
    copy / "requests.parquet"
  )
  with pytest.raises(ValueError, match=r"requests\.parquet is damaged"):
    dataset.scan(copy)


@pytest.mark.parametrize("make", [splits.leave_one_out, splits.global_time])
def test_both_splits_keep_their_requests_together(make):
  log, _ = synthetic.generate(num_users=60, num_items=40, seed=4)
  split = make(log)
  found = requests.Requests(split.requests.lazy())
  assert list(found.counts) == ["train", "validation", "test"]
  rows = [found.read(name).drop("newest") for name in found.counts]
  assert pl.concat(rows).equals(split.requests)
