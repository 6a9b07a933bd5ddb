"""Outputs replace their like when told to, and nothing else."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from instructrec import checksums, folder_lock, output_folder


def check(folder, *, overwrite=True):
  output_folder.check(folder, overwrite=overwrite, marker="rows")


def make(folder, text, *, overwrite=True, **options):
  with output_folder.making(
    folder, overwrite=overwrite, marker="rows", **options
  ) as new:
    (new / "rows").write_text(text)


def fail(making, failure, write):
  """Fails while an output is being written."""
  with making as new:
    write(new)
    raise failure


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_an_earlier_output_is_replaced_when_asked(tmp_path):
  old = tmp_path / "out"
  make(old, "old")
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    check(old, overwrite=False)
  check(old)
  make(old, "new")
  assert names(tmp_path) == ["out"]
  assert names(old) == [checksums.FILE, "rows"]
  assert (old / "rows").read_text() == "new"


def test_what_people_write_into_is_not_listed(tmp_path):
  with output_folder.making(
    tmp_path / "out", overwrite=False, marker="rows", for_people=["sheet"]
  ) as new:
    for name in ("rows", "sheet"):
      (new / name).write_text(name)
    (new / "deep").mkdir()
    (new / "deep" / "more").write_text("")
  lines = (tmp_path / "out" / checksums.FILE).read_text().splitlines()
  assert [line[66:] for line in lines] == ["deep/more", "rows"]


def test_a_folder_of_something_else_is_never_deleted(tmp_path):
  """`--output=work --overwrite`, where `work` holds data and models."""
  (tmp_path / "model").mkdir()
  with pytest.raises(FileExistsError, match=r"it has no rows\), and --overwr"):
    check(tmp_path)
  file = tmp_path / "file"
  file.write_text("")
  with pytest.raises(FileExistsError, match="not made by this command"):
    check(file)
  with pytest.raises(FileExistsError, match="is a folder, expected a file"):
    output_folder.check(tmp_path, overwrite=True)


def test_an_output_below_a_file_is_refused_before_the_work(tmp_path):
  (tmp_path / "notes").write_text("mine")
  with pytest.raises(NotADirectoryError, match="notes is a file, expected a f"):
    check(tmp_path / "notes" / "deep" / "out")
  with pytest.raises(NotADirectoryError, match="notes is a file, expected a f"):
    output_folder.check_folder(tmp_path / "notes")
  output_folder.check_folder(tmp_path / "new" / "report")


def test_nothing_and_an_empty_folder_are_in_nobodys_way(tmp_path):
  check(tmp_path / "missing", overwrite=False)
  check(tmp_path)
  make(tmp_path / "deep" / "out", "new", overwrite=False)
  (tmp_path / "empty").mkdir()
  make(tmp_path / "empty", "new")
  assert (tmp_path / "deep" / "out" / "rows").read_text() == "new"
  assert (tmp_path / "empty" / "rows").read_text() == "new"


def test_neighbours_of_such_names_stay(tmp_path):
  """Somebody else's folders, whatever they are called."""
  for name in ("out.incomplete", "out.replaced", "out.incomplete-1"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
  (tmp_path / "out.incomplete-file").write_text("mine")
  before = names(tmp_path)
  make(tmp_path / "out", "old")
  make(tmp_path / "out", "new")
  with output_folder.making_file(tmp_path / "out.incomplete-x") as file:
    file.write_text("")
  assert names(tmp_path) == sorted([*before, "out", "out.incomplete-x"])
  assert (tmp_path / "out.incomplete-1" / "mine").read_text() == "mine"


def test_a_link_stays_and_what_it_points_to_is_made(tmp_path):
  target, link = tmp_path / "disk" / "data", tmp_path / "link"
  link.symlink_to(target)
  make(link, "old")
  make(link, "new")
  with output_folder.making_file(tmp_path / "lists") as file:
    file.write_text("old")
  (tmp_path / "other").symlink_to("lists")
  with output_folder.making_file(tmp_path / "other") as file:
    file.write_text("new")
  assert link.is_symlink()
  assert link.readlink() == target
  assert (target / "rows").read_text() == "new"
  assert (tmp_path / "other").is_symlink()
  assert (tmp_path / "lists").read_text() == "new"
  assert names(tmp_path / "disk") == ["data"]
  assert names(tmp_path) == ["disk", "link", "lists", "other"]


@pytest.mark.parametrize(
  "failure",
  [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    RuntimeError("write failed: No space left on device (os error 28)"),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
  ],
)
def test_a_full_disk_leaves_what_was_there_and_is_named(tmp_path, failure):
  make(tmp_path / "out", "old")
  folder = output_folder.making(tmp_path / "out", overwrite=True, marker="rows")
  with pytest.raises(OSError, match=r"no space left for .*/out: .*; make room"):
    fail(folder, failure, lambda new: (new / "rows").write_text("half"))
  file = output_folder.making_file(tmp_path / "file")
  with pytest.raises(
    OSError, match=r"no space left for .*/file: .*; make room"
  ):
    fail(file, failure, lambda new: new.write_text("half"))
  assert names(tmp_path) == ["out"]
  assert (tmp_path / "out" / "rows").read_text() == "old"


def test_other_failures_and_interrupts_leave_nothing_either(tmp_path):
  for failure in (KeyboardInterrupt(), ValueError("no such split")):
    making = output_folder.making(
      tmp_path / "out", overwrite=False, marker="rows"
    )
    with pytest.raises(type(failure)):
      fail(making, failure, lambda new: (new / "rows").write_text("half"))
  assert names(tmp_path) == []


def test_an_output_that_came_meanwhile_is_not_replaced(tmp_path):
  def both():
    with output_folder.making(
      tmp_path / "out", overwrite=False, marker="rows"
    ) as new:
      (new / "rows").write_text("second")
      make(tmp_path / "out", "first")

  with pytest.raises(FileExistsError, match="pass --overwrite"):
    both()
  assert names(tmp_path) == ["out"]
  assert (tmp_path / "out" / "rows").read_text() == "first"


KILLED = """
import os, pathlib, signal, sys
from instructrec import output_folder
if sys.argv[2] == "published":
  rename = pathlib.Path.rename
  def first_only(self, other):
    rename(self, other)
    os.kill(os.getpid(), signal.SIGKILL)
  pathlib.Path.rename = first_only
with output_folder.making(sys.argv[1], overwrite=True, marker="rows") as new:
  (new / "rows").write_text("half")
  if sys.argv[2] == "writing":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["writing", "published"])
def test_what_a_killed_command_left_is_cleared_by_the_next(tmp_path, moment):
  out = tmp_path / "out"
  make(out, "old")
  command = [sys.executable, "-c", KILLED, str(out), moment]
  assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
  assert len(names(tmp_path)) == (2 if moment == "writing" else 1)
  # Also by one that is refused.
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    check(out, overwrite=False)
  assert names(tmp_path) == ["out"]
  assert (out / "rows").read_text() == "old"


def test_a_kill_as_a_command_begins_or_ends_leaves_nothing_for_ever(tmp_path):
  (tmp_path / "out.incomplete-0123456789ab").mkdir()
  (tmp_path / "out.incomplete-mine").mkdir()
  (tmp_path / "out.incomplete-ba9876543210").mkdir()
  (tmp_path / "out.incomplete-ba9876543210" / "mine").write_text("mine")
  make(tmp_path / "out", "new")
  assert names(tmp_path) == [
    "out",
    "out.incomplete-ba9876543210",
    "out.incomplete-mine",
  ]


def test_the_lock_is_removed_last(tmp_path, monkeypatch):
  """Else what a kill leaves of the removal belongs to nobody."""
  removed = []
  rmtree = shutil.rmtree

  def watched(path):
    removed.append((path.name[:3], names(path.parent)))
    rmtree(path)

  monkeypatch.setattr(shutil, "rmtree", watched)
  making = output_folder.making(
    tmp_path / "out", overwrite=False, marker="rows"
  )
  with pytest.raises(KeyboardInterrupt):
    fail(making, KeyboardInterrupt(), lambda new: (new / "rows").mkdir())
  assert removed[0] == ("new", ["lock", "new"])
  assert [name for name, _ in removed] == ["new", "out"]


def test_what_another_command_is_writing_stays(tmp_path):
  (tmp_path / "out.incomplete-1").mkdir()
  with (tmp_path / "out.incomplete-1" / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    make(tmp_path / "out", "new")
    assert names(tmp_path) == ["out", "out.incomplete-1"]
  make(tmp_path / "out", "new")
  assert names(tmp_path) == ["out"]


def test_a_place_that_another_took_for_abandoned_is_left_to_it(
  tmp_path, monkeypatch
):
  """Between its making and its locking."""
  lock_file, taken = folder_lock.lock_file, []

  def late(file):
    if not taken:
      (place,) = tmp_path.glob("out.incomplete-*")
      taken.append(place)
      shutil.rmtree(place)
    return lock_file(file)

  monkeypatch.setattr(folder_lock, "lock_file", late)
  make(tmp_path / "out", "new")
  assert taken
  assert names(tmp_path) == ["out"]


def test_all_names_of_an_output_have_one_lock(tmp_path):
  (tmp_path / "real").mkdir()
  (tmp_path / "link").symlink_to("real")
  names = {
    output_folder.locked(name, "generate", print).path
    for name in (tmp_path / "real", tmp_path / "link", f"{tmp_path}/real/")
  }
  assert names == {tmp_path.resolve() / "real.lock"}
