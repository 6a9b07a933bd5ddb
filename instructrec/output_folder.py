"""Outputs that commands make: complete or not there, in place of their like.

What is not complete lies beside the output in `<name>.incomplete-<number>`,
with a lock on a file in it as long as somebody writes there: what a killed
command left is told from another's work and from other people's files.
"""

import contextlib
import glob
import logging
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from instructrec import checksums, folder_lock

_LOCK, _NEW, _OLD = "lock", "new", "old"
_PLACE = re.compile(r"\.incomplete-[0-9a-f]{12}$")
_LOG = logging.getLogger(__name__)


def locked(
  output: str | os.PathLike[str], command: str, tell: Callable[[str], None]
) -> folder_lock.FolderLock:
  """Keeps other commands from making the same output; for long ones.

  Without it, the one that is done first has its output there.

  Args:
    output: the folder; it need not be there.
    command: what makes it.
    tell: see `FolderLock`.

  Returns:
    The lock, not yet taken: a file beside the output.
  """
  # Whatever name it goes by.
  real = pathlib.Path(os.path.realpath(output))
  path = real.with_name(f"{real.name}.lock")
  return folder_lock.FolderLock(path, folder=output, command=command, tell=tell)


def check(
  output: str | os.PathLike[str], *, overwrite: bool, marker: str | None = None
) -> None:
  """Fails where an output may not be made; asked before the work.

  What killed commands left of the output is removed, whatever is found.

  Args:
    output: the folder or file to make.
    overwrite: whether an earlier output is replaced.
    marker: of folders: a file that every output of this kind has; None for
      a file.

  Raises:
    FileExistsError: where there is one that is not to be replaced, or anything
      else, which replacing would delete.
    NotADirectoryError: where it is to lie below a file.
  """
  path = pathlib.Path(output)
  check_folder(path.parent)
  _clear_abandoned(path.resolve())
  if not path.exists():
    return
  if not overwrite:
    raise FileExistsError(
      f"{path} exists; choose another --output, or pass --overwrite"
    )
  if marker is None:
    if not path.is_file():
      raise FileExistsError(
        f"{path} is a folder, expected a file; choose another --output"
      )
  elif not path.is_dir() or (
    any(path.iterdir()) and not (path / marker).is_file()
  ):
    raise FileExistsError(
      f"{path} was not made by this command (it has no {marker}), and "
      "--overwrite would delete all of it; choose another --output"
    )


def check_folder(folder: str | os.PathLike[str]) -> None:
  """Fails where no folder of a name can be made; asked before the work.

  Args:
    folder: the name, of a folder that may be there.

  Raises:
    NotADirectoryError: where it, or what it is to lie in, is a file.
  """
  path = pathlib.Path(folder).absolute()
  for place in (path, *path.parents):
    if place.is_file():
      raise NotADirectoryError(
        f"{place} is a file, expected a folder; choose another --output"
      )


@contextlib.contextmanager
def making(
  folder: str | os.PathLike[str],
  *,
  overwrite: bool,
  marker: str,
  for_people: Iterable[str] = (),
) -> Iterator[pathlib.Path]:
  """Gives a folder to write into, which gets its name when all is written.

  It gets its `SHA256SUMS` then, too. Where the body fails, what was written is
  removed. Where `folder` is a symbolic link, it stays one, and what it points
  to is made or replaced.

  Args:
    folder: the name.
    overwrite: see `check`.
    marker: see `check`.
    for_people: files that people write into, which are not listed.

  Yields:
    An empty folder beside it.

  Raises:
    FileExistsError: see `check`.
    OSError: also where the disk is full, named as such.
  """
  final = pathlib.Path(folder).resolve()
  with _beside(final) as place:
    check(final, overwrite=overwrite, marker=marker)
    new = place / _NEW
    new.mkdir()
    yield new
    listed = {path.name for path in new.iterdir()}
    checksums.write(new, listed - {checksums.FILE, *for_people})
    check(final, overwrite=overwrite, marker=marker)
    _replace(final, place)


@contextlib.contextmanager
def making_file(
  path: str | os.PathLike[str], *, overwrite: bool = True
) -> Iterator[pathlib.Path]:
  """As `making`, of one file; it has no list of hashes.

  Args:
    path: the name.
    overwrite: see `check`.

  Yields:
    The path to write to, where nothing is yet.

  Raises:
    FileExistsError: see `check`.
    OSError: also where the disk is full, named as such.
  """
  final = pathlib.Path(path).resolve()
  with _beside(final) as place:
    check(final, overwrite=overwrite)
    yield place / _NEW
    check(final, overwrite=overwrite)
    (place / _NEW).replace(final)


@contextlib.contextmanager
def _beside(final: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder beside an output, removed at the end whatever happens."""
  final.parent.mkdir(parents=True, exist_ok=True)
  _clear_abandoned(final)
  place, lock = _make_place(final)
  try:
    with lock:
      yield place
  except Exception as error:
    if _is_full(error, place):
      raise OSError(
        f"no space left for {final}: what was written of it is removed; make "
        f"room, or write it elsewhere ({error})"
      ) from error
    raise
  finally:
    _remove(place)


def _make_place(final: pathlib.Path) -> tuple[pathlib.Path, TextIO]:
  """A folder beside an output, and the file in it that is locked."""
  while True:
    place = final.with_name(f"{final.name}.incomplete-{uuid.uuid4().hex[:12]}")
    place.mkdir()
    # Another command may take it for abandoned as long as it is not locked.
    with contextlib.suppress(FileNotFoundError, BlockingIOError):
      lock = (place / _LOCK).open("w")
      try:
        folder_lock.lock_file(lock.fileno())
        os.stat(place / _LOCK)
      except OSError:
        lock.close()
        raise
      return place, lock


def _replace(final: pathlib.Path, place: pathlib.Path) -> None:
  """Gives the new folder its name; what had it stays until that is done."""
  if final.exists():
    final.rename(place / _OLD)
  try:
    (place / _NEW).rename(final)
  except OSError:
    if (place / _OLD).exists():
      (place / _OLD).rename(final)
    raise


def _clear_abandoned(final: pathlib.Path) -> None:
  """Removes what killed commands left of this output; puts back the old."""
  for place in final.parent.glob(f"{glob.escape(final.name)}.incomplete-*"):
    if not (place / _LOCK).is_file():
      if _PLACE.search(place.name):
        # Killed as it began or ended; what is not empty is somebody else's.
        with contextlib.suppress(OSError):
          place.rmdir()
      continue
    with (place / _LOCK).open() as lock:
      try:
        if not folder_lock.lock_file(lock.fileno()):
          continue  # Without locks, nothing is ever taken for abandoned.
      except OSError:
        continue  # Somebody writes there.
      if (place / _OLD).exists() and not final.exists():
        (place / _OLD).rename(final)
      _remove(place)


def _remove(place: pathlib.Path) -> None:
  try:
    # The lock last: it says whose the rest is.
    for path in (place / _NEW, place / _OLD):
      if path.is_dir():
        shutil.rmtree(path)
      else:
        path.unlink(missing_ok=True)
    shutil.rmtree(place)
  except FileNotFoundError:
    pass  # Another command took it for abandoned at the same moment.
  except OSError as error:
    _LOG.warning("%s could not be removed: %s", place, error)


def _is_full(error: Exception, place: pathlib.Path) -> bool:
  """Whether there is no space; NumPy, polars and TensorFlow say it in words."""
  said = ("No space left on device", "Disk quota exceeded")
  if any(words in str(error) for words in said):
    return True
  return isinstance(error, OSError) and not shutil.disk_usage(place).free
