"""Two processes, one folder: the second is refused, and the dead are known."""

import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

import instructrec
from instructrec import folder_lock

_ROOT = pathlib.Path(instructrec.__file__).parent.parent

# Holds the lock that it is given until its input ends.
_HOLD = """
import sys
from instructrec import folder_lock
with folder_lock.FolderLock(
  sys.argv[1], folder='x', command='train', tell=print
):
  print('held', flush=True)
  sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
  return tmp_path / "model" / "run.lock"


def lock(path, told=None, **options):
  options = {"beat_seconds": 0.02, "silent_seconds": 0.3, **options}
  tell = [].append if told is None else told.append
  return folder_lock.FolderLock(
    path, folder=path.parent, command="train", tell=tell, **options
  )


def start_holder(path):
  process = subprocess.Popen(
    [sys.executable, "-c", _HOLD, str(path)],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "held\n"
  return process


def left_by(path, **changes):
  """A lock file such as a process of another machine writes."""
  holder = folder_lock.Holder.this_process("train")
  holder = dataclasses.replace(holder, host="far", machine="other", pid=12)
  holder = dataclasses.replace(holder, token="theirs", **changes)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(dataclasses.asdict(holder)))
  return holder


def test_it_names_the_holder_and_goes_with_it(path):
  with lock(path):
    found = json.loads(path.read_text())
    assert found["pid"] == os.getpid()
    assert found["host"] == socket.gethostname()
  # The folder was made for the lock.
  assert not path.parent.exists()


def test_a_folder_that_was_there_stays(path):
  path.parent.mkdir()
  with lock(path):
    pass
  assert list(path.parent.iterdir()) == []


def test_a_folder_with_something_in_it_stays(path):
  with lock(path):
    (path.parent / "config.gin").write_text("")
  assert [p.name for p in path.parent.iterdir()] == ["config.gin"]


def test_a_second_process_is_refused_by_name(path):
  process = start_holder(path)
  with pytest.raises(
    folder_lock.InUseError,
    match=rf"{path.parent} is in use: process {process.pid} on "
    rf"{re.escape(socket.gethostname())} \(instructrec train, since 20",
  ):
    lock(path).__enter__()
  # The first is none the worse for it, and leaves nothing behind.
  process.communicate("", timeout=60)
  assert process.returncode == 0
  with lock(path):
    pass


def test_what_a_killed_process_left_is_taken_over_with_a_word(path):
  process = start_holder(path)
  process.kill()
  process.wait()
  assert path.exists()
  told = []
  with lock(path, told):
    assert json.loads(path.read_text())["pid"] == os.getpid()
  assert len(told) == 1
  assert (
    f"takes over the lock of {path.parent}: process {process.pid}" in told[0]
  )
  assert "has ended without giving it back" in told[0]


def test_a_stopped_process_still_holds_it(path):
  process = start_holder(path)
  process.send_signal(signal.SIGSTOP)
  with pytest.raises(folder_lock.InUseError, match=f"process {process.pid}"):
    lock(path).__enter__()
  process.kill()
  process.communicate()


def test_a_silent_holder_on_another_machine_is_waited_for(path):
  left_by(path)
  told, before = [], time.monotonic()
  with lock(path, told):
    assert time.monotonic() - before >= 0.3
  assert "left locked by process 12 on far" in told[0]
  assert "process 12 on far (instructrec train" in told[1]
  assert told[1].endswith("has been silent for 0 s")


def test_one_that_says_that_it_lives_is_believed(path):
  """Although the file system passes no locks on to this machine."""
  holder = left_by(path)

  def beat(text):
    assert "waits" in text
    later = dataclasses.replace(holder, beat=holder.beat + 10)
    path.write_text(json.dumps(dataclasses.asdict(later)))

  waiting = folder_lock.FolderLock(
    path, folder=path.parent, command="train", tell=beat, silent_seconds=30
  )
  with pytest.raises(folder_lock.InUseError, match="process 12 on far"):
    waiting.__enter__()
  assert json.loads(path.read_text())["token"] == "theirs"


def test_one_that_was_silent_for_hours_is_not_waited_for(path):
  left_by(path, beat=time.time() - 7200)
  told = []
  with lock(path, told, silent_seconds=1e6):
    pass
  assert "has been silent since 20" in told[0]


def test_one_that_ends_while_it_is_waited_for_leaves_the_lock(path):
  left_by(path)
  told = []

  def end(text):
    told.append(text)
    path.unlink()

  with folder_lock.FolderLock(
    path, folder=path.parent, command="train", tell=end, silent_seconds=1e6
  ) as held:
    held.check()
  assert len(told) == 1


def test_the_same_host_started_anew_is_another_machine(path, monkeypatch):
  """Its process numbers begin again, and say nothing of the old ones."""
  left_by(path, host=socket.gethostname(), pid=os.getpid())
  told = []
  with lock(path, told):
    pass
  assert len(told) == 2


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"pid": 1}', "\x1b[2J"])
def test_a_file_that_names_nobody_is_taken_over(path, text):
  path.parent.mkdir()
  path.write_text(text)
  told = []
  with lock(path, told):
    pass
  assert "an unknown process has been silent" in told[1]


def test_names_from_a_file_do_nothing_to_a_terminal(path):
  left_by(path, host="a\x1b[2J\u202eb", beat=0.0)
  told = []
  with lock(path, told):
    pass
  assert r"process 12 on a\x1b[2J\u202eb (" in told[0]


def test_the_heartbeat_goes_on(path):
  with lock(path):
    first = json.loads(path.read_text())["beat"]
    deadline = time.monotonic() + 60
    while json.loads(path.read_text())["beat"] == first:
      assert time.monotonic() < deadline
      time.sleep(0.01)


def test_a_lock_that_was_taken_over_is_noticed(path):
  with lock(path) as held:
    held.check()
    left_by(path)
    with pytest.raises(
      folder_lock.InUseError, match=r"process 12 on far .* took its lock over"
    ):
      held.check()
  # What is theirs stays.
  assert json.loads(path.read_text())["token"] == "theirs"


def test_a_lock_that_was_removed_is_noticed(path):
  with lock(path, beat_seconds=1e6) as held:
    path.unlink()
    with pytest.raises(folder_lock.InUseError, match=r"run.lock was removed"):
      held.check()
  assert not path.exists()


def without_os_locks(*unused):
  raise OSError(errno.ENOSYS, "Function not implemented")


def test_where_the_file_system_has_no_locks_the_heartbeat_tells(
  path, monkeypatch
):
  monkeypatch.setattr(fcntl, "flock", without_os_locks)
  monkeypatch.setattr(folder_lock, "_SETTLE_SECONDS", 0.01)
  with (
    lock(path),
    pytest.raises(folder_lock.InUseError, match=f"process {os.getpid()}"),
  ):
    lock(path, silent_seconds=60).__enter__()
  with lock(path) as held:
    held.check()


def test_a_folder_that_cannot_be_written_to_is_said_in_words(tmp_path):
  file = tmp_path / "file"
  file.write_text("")
  with pytest.raises(OSError, match=r"file/model cannot be written to .*Not a"):
    lock(file / "model" / "run.lock").__enter__()
