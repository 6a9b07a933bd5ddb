"""One process at a time writes into a folder: a lock that says whose it is.

The lock is a file with the holder's name as JSON, under a lock of the operating
system, which lets go of it when the process ends, however it ends. Network file
systems pass such locks on to other machines, but not all of them, so a holder
on another machine is also known by its heartbeat: it writes the file anew every
few seconds, and one that stops is taken for gone. Clocks may differ.
"""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Self

from instructrec import foreign_text

BEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""A holder on another machine that is silent for so long is taken for gone."""
# Clocks of machines that share a folder differ by less.
_OLD_SECONDS = 3600.0
_SETTLE_SECONDS = 1.0
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# One write of this size, never shorter: who reads meanwhile finds it whole.
_FILE_BYTES = 1024
_TEXTS = ("command", "host", "machine", "since", "token")
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


class InUseError(ValueError):
  """Another process writes into the folder."""


@dataclasses.dataclass(frozen=True)
class Holder:
  """Who holds a lock; the content of its file.

  Attributes:
    command: such as "train".
    host: name of the machine.
    machine: what tells it from others of that name, until it is restarted.
    pid: the process.
    since: when it took the lock, UTC.
    token: of this taking alone.
    beat: when it last said that it lives, seconds since 1970 on its clock.
  """

  command: str
  host: str
  machine: str
  pid: int
  since: str
  token: str
  beat: float

  @classmethod
  def this_process(cls, command: str) -> Self:
    """The process that asks."""
    now = datetime.datetime.now(datetime.UTC)
    return cls(
      command=command,
      host=socket.gethostname(),
      machine=_machine(),
      pid=os.getpid(),
      since=now.strftime("%Y-%m-%d %H:%M:%S UTC"),
      token=uuid.uuid4().hex,
      beat=now.timestamp(),
    )

  def __str__(self) -> str:
    return (
      f"process {self.pid} on {self.host} (instructrec {self.command}, since "
      f"{self.since})"
    )


def _machine() -> str:
  """Of Linux, until it is started anew; elsewhere of the network card."""
  if _BOOT_ID.is_file():
    return _BOOT_ID.read_text().strip()
  return f"{uuid.getnode():x}"


def lock_file(file: int) -> bool:
  """Takes the system's lock of an open file; closing the file gives it back.

  Args:
    file: its descriptor.

  Returns:
    False where the file system has no locks.

  Raises:
    OSError: where another process has it, a `BlockingIOError` or, on some file
      systems, a `PermissionError`.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _NO_LOCKS:
      return False
    raise
  return True


class FolderLock:
  """Keeps other processes out of a folder while it is held, as a context.

  Args:
    path: the lock file, which is there as long as the lock is held.
    folder: what is locked, for messages.
    command: what the process does, such as "train".
    tell: shows a line, such as that a lock of a dead process is taken over.
    beat_seconds: how often the holder says that it lives.
    silent_seconds: how long one on another machine may be silent.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str],
    command: str,
    tell: Callable[[str], None],
    beat_seconds: float = BEAT_SECONDS,
    silent_seconds: float = SILENT_SECONDS,
  ) -> None:
    self.path = pathlib.Path(path)
    self._folder, self._command, self._tell = folder, command, tell
    self._beat_seconds, self._silent_seconds = beat_seconds, silent_seconds
    self._ended = threading.Event()
    self._made: list[pathlib.Path] = []
    # Between the heartbeat and `check`.
    self._file_use = threading.Lock()

  def __enter__(self) -> Self:
    """Takes the lock.

    Raises:
      InUseError: where another process holds it; it is named.
      OSError: where the folder cannot be written to.
    """
    while not self._take():
      pass
    self._thread = threading.Thread(target=self._beat, daemon=True)
    self._thread.start()
    return self

  def __exit__(self, *unused: object) -> None:
    """Gives the lock back."""
    self._ended.set()
    self._thread.join()
    # Under the lock: who opens the file until then finds that it is gone.
    if self._is_own(_read(self.path)):
      self.path.unlink()
    os.close(self._file)
    # What was refused leaves no empty folders.
    with contextlib.suppress(OSError):
      for made in self._made:
        made.rmdir()

  def check(self) -> None:
    """Fails where the lock was lost; to be asked before what would do harm.

    Raises:
      InUseError: where another process took it over, as this one was silent
        for long, or the lock file was removed.
    """
    with self._file_use:
      text = _read(self.path)
    if self._is_own(text):
      return
    found = _parse(text)
    raise InUseError(
      f"{self._folder} is no longer this process's: "
      + (
        f"{found} took its lock over"
        if found
        else f"its lock {self.path} was removed"
      )
      + "; nothing more is written there"
    )

  def _is_own(self, text: str) -> bool:
    found = _parse(text)
    return found is not None and found.token == self._holder.token

  def _take(self) -> bool:
    """Takes the lock; False where the last holder has just removed the file."""
    file, has_os_lock = self._open()
    with contextlib.ExitStack() as stack:
      stack.callback(os.close, file)
      self._take_over(file, has_os_lock)
      if not _is_at(file, self.path):
        return False
      self._file = file
      self._holder = Holder.this_process(self._command)
      with self._writing():
        self._write()
      if not has_os_lock:
        # Who writes last has it; the others see that here.
        time.sleep(_SETTLE_SECONDS)
        self.check()
      stack.pop_all()
    return True

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except FileExistsError as error:
      raise NotADirectoryError(
        f"{self.path.parent} is a file, expected a folder; remove it or name "
        "another"
      ) from error
    except OSError as error:
      raise OSError(
        f"{self._folder} cannot be written to ({self.path}: {error.strerror}); "
        "name another folder, or make room and let this user write there"
      ) from error

  def _open(self) -> tuple[int, bool]:
    """Opens the file under a lock of the system, where there are such."""
    with self._writing():
      self._made += [p for p in self.path.parents if not p.exists()]
      self.path.parent.mkdir(parents=True, exist_ok=True)
      file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
      return file, lock_file(file)
    except OSError as error:
      os.close(file)
      if not isinstance(error, BlockingIOError | PermissionError):
        raise
      raise self._in_use() from error

  def _in_use(self) -> InUseError:
    deadline = time.monotonic() + _SETTLE_SECONDS
    # Who has just taken it writes its name in a moment.
    while not (found := _parse(_read(self.path))):
      if time.monotonic() > deadline:
        break
      time.sleep(0.05)
    return InUseError(
      f"{self._folder} is in use: {found or 'another process'} writes there. "
      "Wait until it ends, stop it, or name another folder"
    )

  def _take_over(self, file: int, has_os_lock: bool) -> None:
    """Returns where the file names nobody, or somebody who is gone."""
    text = _read(self.path)
    if not text:
      return
    found = _parse(text)
    if has_os_lock and found and found.machine == _machine():
      # Else the system would not have given the lock away.
      ended = "has ended without giving it back"
    elif found and time.time() - found.beat > _OLD_SECONDS:
      ended = f"has been silent since {_moment(found.beat)}"
    else:
      self._watch(text, found)
      if not _is_at(file, self.path):
        return
      ended = f"has been silent for {self._silent_seconds:.0f} s"
    self._tell(
      f"takes over the lock of {self._folder}: {found or 'an unknown process'} "
      f"{ended}"
    )

  def _watch(self, text: str, found: Holder | None) -> None:
    """Waits for a sign of life; returns where there is none."""
    self._tell(
      f"{self._folder} was left locked by {found or 'an unknown process'}; "
      f"waits {self._silent_seconds:.0f} s for a sign of life"
    )
    deadline = time.monotonic() + self._silent_seconds
    while time.monotonic() < deadline and (now := _read(self.path)):
      if now != text:
        raise self._in_use()
      time.sleep(min(1.0, self._silent_seconds / 10))

  def _write(self) -> None:
    text = json.dumps(dataclasses.asdict(self._holder)).ljust(_FILE_BYTES)
    os.ftruncate(self._file, os.pwrite(self._file, text.encode(), 0))

  def _beat(self) -> None:
    told = False
    while not self._ended.wait(self._beat_seconds):
      self._holder = dataclasses.replace(self._holder, beat=time.time())
      try:
        with self._file_use:
          if not self._is_own(_read(self.path)):
            return
          self._write()
      except OSError as error:
        if not told:
          self._tell(f"{self.path} cannot be renewed ({error}); tries again")
        told = True


def _read(path: pathlib.Path) -> str:
  """What the file holds; nothing where it is gone. Opened anew each time.

  Network file systems show what others wrote when a file is opened.
  """
  try:
    return path.read_text(encoding="utf-8", errors="replace")
  except FileNotFoundError:
    return ""


def _parse(text: str) -> Holder | None:
  """Who is named; None where nobody is, or it cannot be read."""
  try:
    found = json.loads(text)
    return Holder(
      # Anybody may have written the file.
      **{
        name: foreign_text.printable(str(found[name]))[:100] for name in _TEXTS
      },
      pid=int(found["pid"]),
      beat=float(found["beat"]),
    )
  except (ValueError, TypeError, KeyError):
    return None


def _is_at(file: int, path: pathlib.Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file), os.stat(path))
  except FileNotFoundError:
    return False


def _moment(seconds: float) -> str:
  moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
  return moment.strftime("%Y-%m-%d %H:%M UTC")
