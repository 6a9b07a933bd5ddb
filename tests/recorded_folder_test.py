"""Where a folder is found that has moved, or not."""

import os

import pytest

from instructrec import recorded_folder


@pytest.fixture
def made(tmp_path):
  """A shop with data and a run, and what the run's record says."""
  shop = tmp_path / "shop"
  (shop / "data").mkdir(parents=True)
  (shop / "runs" / "one").mkdir(parents=True)
  found = recorded_folder.record("data", shop / "data", shop / "runs" / "one")
  return shop, found


def find(found, beside, **given):
  return recorded_folder.find("data", found, beside, option="--data", **given)


def test_both_places_are_written_down(made):
  shop, found = made
  assert found == {
    "data": str(shop / "data"),
    "data_relative": "../../data",
  }


def test_what_has_not_moved_is_where_it_was(made, tmp_path):
  shop, found = made
  assert find(found, shop / "runs" / "one") == shop / "data"
  # A run that was copied away alone.
  assert find(found, tmp_path / "elsewhere") == shop / "data"


def test_what_has_moved_with_the_record_lies_beside_it(made, tmp_path):
  shop, found = made
  shop.rename(tmp_path / "moved")
  assert find(found, tmp_path / "moved/runs/one") == tmp_path / "moved/data"


def test_a_record_behind_a_link_is_no_other_place(made, tmp_path):
  """`..` of a linked folder is the folder of the link, as it was written."""
  shop, found = made
  (shop / "runs" / "one").rename(tmp_path / "real")
  os.symlink(tmp_path / "real", shop / "runs" / "one")
  shop.rename(tmp_path / "moved")
  assert find(found, tmp_path / "moved/runs/one") == tmp_path / "moved/data"


def test_what_is_gone_is_named_with_the_option(made, tmp_path):
  shop, found = made
  (shop / "data").rename(tmp_path / "far")
  with pytest.raises(FileNotFoundError) as caught:
    find(found, shop / "runs" / "one")
  for text in (str(shop / "data"), "--data=FOLDER", "neither"):
    assert text in str(caught.value)
  given = find(found, shop / "runs" / "one", given=tmp_path / "far")
  assert given == tmp_path / "far"


def test_a_record_that_does_not_name_it_is_refused(made, tmp_path):
  shop, found = made
  with pytest.raises(ValueError, match="lacks data_relative: an earlier"):
    find({"data": found["data"]}, shop / "runs" / "one")
  given = find({}, shop / "runs" / "one", given=tmp_path)
  assert given == tmp_path


def test_a_place_below_the_working_directory_is_made_absolute(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  found = recorded_folder.record("data", "data", "runs/one")
  assert found["data"] == str(tmp_path / "data")
  assert found["data_relative"] == "../../data"
