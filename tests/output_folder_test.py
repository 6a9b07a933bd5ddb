"""Outputs replace their like when told to, and nothing else."""

import pytest

from instructrec import output_folder


def check(folder, *, overwrite=True):
  output_folder.check(folder, overwrite=overwrite, marker="rows")


def made(folder, text):
  folder.mkdir()
  (folder / "rows").write_text(text)
  return folder


def test_an_earlier_output_is_replaced_when_asked(tmp_path):
  old = made(tmp_path / "out", "old")
  (old / "more").write_text("")
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    check(old, overwrite=False)
  check(old)
  output_folder.publish(made(tmp_path / "new", "new"), old)
  assert [path.name for path in tmp_path.iterdir()] == ["out"]
  assert [path.name for path in old.iterdir()] == ["rows"]
  assert (old / "rows").read_text() == "new"


def test_a_folder_of_something_else_is_never_deleted(tmp_path):
  """`--output=work --overwrite`, where `work` holds data and models."""
  (tmp_path / "model").mkdir()
  with pytest.raises(FileExistsError, match=r"it has no rows\), and --overwr"):
    check(tmp_path)
  file = tmp_path / "file"
  file.write_text("")
  with pytest.raises(FileExistsError, match="not made by this command"):
    check(file)


def test_nothing_and_an_empty_folder_are_in_nobodys_way(tmp_path):
  check(tmp_path / "missing", overwrite=False)
  check(tmp_path)
  output_folder.publish(made(tmp_path / "new", "new"), tmp_path / "out")
  assert (tmp_path / "out" / "rows").read_text() == "new"
