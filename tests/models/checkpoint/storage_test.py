"""A folder appears whole or not at all."""

import pathlib

import pytest

from instructrec.models.checkpoint import storage


def test_the_folder_appears_when_all_is_written(tmp_path):
  final = tmp_path / "new" / "folder"
  with storage.whole_folder(final) as temporary:
    (temporary / "file").write_text("content")
    assert not final.exists()
  assert (final / "file").read_text() == "content"
  assert [p.name for p in final.parent.iterdir()] == ["folder"]


def test_a_failure_leaves_nothing(tmp_path):
  def write():
    with storage.whole_folder(tmp_path / "folder") as temporary:
      (temporary / "file").write_text("content")
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write()
  assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path):
  (tmp_path / "folder").mkdir()
  with (
    pytest.raises(FileExistsError, match="folder exists already"),
    storage.whole_folder(tmp_path / "folder"),
  ):
    pass
  assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_stores_on_disk_and_in_buckets(tmp_path):
  assert storage.kvstore(tmp_path) == {"driver": "file", "path": f"{tmp_path}/"}
  assert storage.kvstore("gs://t5-data/a/b/") == {
    "driver": "gcs",
    "bucket": "t5-data",
    "path": "a/b/",
  }


def test_only_disks_are_local():
  assert storage.local("a/b") == pathlib.Path("a/b")
  with pytest.raises(ValueError, match=r"gs://bucket/x is not on disk"):
    storage.local("gs://bucket/x")


@pytest.mark.parametrize("name", ["[2023]", "why?", "a*b"])
def test_folders_that_orbax_takes_for_patterns_are_refused(tmp_path, name):
  with pytest.raises(ValueError, match="takes for a pattern: its checkpoints"):
    storage.check_name(tmp_path / name / "checkpoints")
  storage.check_name(tmp_path / "a b,c")
  storage.check_name("gs://bucket/run")
