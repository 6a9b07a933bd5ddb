"""Hashes of what a folder holds: `SHA256SUMS`, in the form of `sha256sum`.

Every folder that we write and read again carries one, so that nothing damaged
is used in silence; `sha256sum -c SHA256SUMS` in the folder checks it as well.
A folder may lie in a bucket. A file that is alone holds its own hash (`seal`).
"""

import concurrent.futures
import functools
import hashlib
import logging
import mmap
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

FILE = "SHA256SUMS"
_TEMPORARY = f"{FILE}.tmp"
# A hash, how it was read (text or binary), and a name below the folder.
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)*([^\n]+)")
UNSEALED = "0" * 64
"""What a file holds in place of its own hash when that is computed."""
_SEAL = re.compile(rb'"sha256": "([0-9a-f]{64})"')
_CHUNK = 2**20
# As many files are hashed at once; each is read as fast as it is hashed.
_THREADS = min(8, os.cpu_count() or 1)
_LOG = logging.getLogger(__name__)


class DamagedError(ValueError):
  """A file is not what was written, or cannot be read."""


def write(
  folder: str | os.PathLike[str],
  names: Iterable[str | os.PathLike[str]] | None = None,
) -> None:
  """Writes the list of a folder that is complete; reads its files once.

  Args:
    folder: the folder.
    names: the files and folders in it that are listed, beside those of others
      that an earlier list has; None for all files, however deep.

  Raises:
    OSError: where a file cannot be read, or the list not be written.
    ValueError: for a name that the form has no room for.
  """
  root = _path(folder)
  chosen = None if names is None else [os.fspath(name) for name in names]
  found = _below(root, chosen)
  if odd := [name for name in found if "\n" in name or "\\" in name]:
    raise ValueError(
      f"{root / odd[0]} has a line break or a backslash in its name; expected "
      f"none, for {FILE}"
    )
  entries = {} if chosen is None else _earlier(root)
  entries |= _digests(root, found)
  lines = [f"{entries[name]}  {name}\n" for name in sorted(entries)]
  temporary = root / _TEMPORARY
  temporary.write_text("".join(lines), encoding="utf-8")
  temporary.replace(root / FILE)


def verify(
  folder: str | os.PathLike[str],
  remedy: str,
  names: Iterable[str | os.PathLike[str]] | None = None,
  *,
  share: tuple[int, int] = (0, 1),
) -> None:
  """Checks files against the list of their folder; before they are used.

  A file that is as it was when this process checked it last, by its size and
  time, is not read again.

  Args:
    folder: the folder.
    remedy: what to do where something is damaged; the end of the message.
    names: the files and folders in it that are checked; None for the whole
      folder, in which nothing else may lie but hidden files.
    share: of several processes, the number of this one and how many there are:
      each reads some of the files.

  Raises:
    DamagedError: naming the first file that is missing, not listed, unreadable
      or another one.
  """
  root = _path(folder)
  chosen = None if names is None else [os.fspath(name) for name in names]
  known = _read(root, remedy)
  found = set(_below(root, chosen))
  wanted = {name for name in known if _is_within(name, chosen)}
  alone = {name for name in chosen or () if not (root / name).is_dir()}
  for name in sorted((wanted | alone) - found):
    raise DamagedError(
      f"{root / name} is missing, expected by {root / FILE}; {remedy}"
    )
  for name in sorted(found - wanted):
    if not name.rsplit("/", 1)[-1].startswith("."):
      raise DamagedError(
        f"{root / name} is not listed in {root / FILE}: it was added since, or "
        f"the list is cut; take it away, or {remedy}"
      )
  number, count = share
  own = sorted(wanted)[number::count]
  try:
    digests = _digests(root, own)
  except OSError as error:
    raise DamagedError(f"{error}; {remedy}") from error
  for name, digest in digests.items():
    if digest != known[name]:
      is_empty = digest == hashlib.sha256().hexdigest()
      found_there = "empty" if is_empty else f"SHA-256 {digest[:12]}..."
      raise DamagedError(
        f"{root / name} is damaged or was changed: it is {found_there}, "
        f"{FILE} has {known[name][:12]}...; {remedy}"
      )


def is_known(folder: str | os.PathLike[str], name: str, remedy: str) -> bool:
  """Whether a file is there, or was: a list has it.

  Args:
    folder: the folder.
    name: of a file in it.
    remedy: see `verify`.

  Returns:
    False where the folder never had it.

  Raises:
    DamagedError: where the list is damaged.
  """
  return (_path(folder) / name).is_file() or (
    listed(folder, name, remedy) is not None
  )


def listed(
  folder: str | os.PathLike[str], name: str, remedy: str
) -> str | None:
  """What the list of a folder says of a file.

  Args:
    folder: the folder.
    name: of a file in it.
    remedy: see `verify`.

  Returns:
    The SHA-256; None where there is no list, or it lacks the file.

  Raises:
    DamagedError: where the list is damaged.
  """
  root = _path(folder)
  if not (root / FILE).is_file():
    return None
  return _read(root, remedy).get(name)


def seal(path: str | os.PathLike[str]) -> None:
  """Puts the hash of a file into it, in place of `UNSEALED`.

  Args:
    path: a file that holds the JSON text `"sha256": "<UNSEALED>"`, whatever
      else it is; the last one counts.

  Raises:
    ValueError: where it does not.
  """
  digest, found = _own_hash(pathlib.Path(path))
  if found is None or found[1] != UNSEALED:
    raise ValueError(f"{path} has no place for its own hash")
  with open(path, "r+b") as file:
    file.seek(found[0])
    file.write(digest.encode())


def verify_seal(path: str | os.PathLike[str], remedy: str) -> None:
  """Checks a file against the hash that it holds; before it is parsed.

  Args:
    path: what `seal` was called for.
    remedy: what to do where it is damaged; the end of the message.

  Raises:
    DamagedError: where it is another file, or holds no hash.
  """
  digest, found = _own_hash(pathlib.Path(path))
  if found is None:
    raise DamagedError(
      f"{path} is damaged, or no file of ours: it holds no hash of itself; "
      f"{remedy}"
    )
  if digest != found[1]:
    raise DamagedError(
      f"{path} is damaged or was changed: it has SHA-256 {digest[:12]}..., and "
      f"says {found[1][:12]}...; {remedy}"
    )


def _own_hash(path: pathlib.Path) -> tuple[str, tuple[int, str] | None]:
  """Hash of a file with `UNSEALED` in it; where its own stands, and which."""
  digest = hashlib.sha256()
  if not path.stat().st_size:
    return digest.hexdigest(), None
  with (
    path.open("rb") as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    memoryview(content) as view,
  ):
    found = None
    start = content.rfind(b'"sha256": "')
    if start >= 0 and (match := _SEAL.match(content, start)):
      found = match.start(1), match[1].decode()
      digest.update(view[: found[0]])
      digest.update(UNSEALED.encode())
      digest.update(view[match.end(1) :])
      match = None  # It holds the map open.
  return digest.hexdigest(), found


def _path(folder: str | os.PathLike[str]) -> Any:
  """A path with the methods of pathlib's, also in a bucket."""
  if "://" in os.fspath(folder):
    from etils import epath

    return epath.Path(folder)
  return pathlib.Path(folder)


def _read(root: Any, remedy: str) -> dict[str, str]:
  """The hashes of a list by name."""
  path = root / FILE
  if not path.is_file():
    raise DamagedError(
      f"{path} is missing, by which the files of the folder are checked; "
      f"{remedy}"
    )
  known = {}
  *lines, cut = path.read_bytes().decode("utf-8", "replace").split("\n")
  for number, line in enumerate([*lines, cut] if cut else lines, start=1):
    match = _LINE.fullmatch(line)
    # What does not end in a line break was cut.
    if match is None or number > len(lines) or not _is_below(match[2]):
      raise DamagedError(
        f"{path} is damaged: line {number} is {line[:80]!r}, expected a "
        f"SHA-256 and the name of a file in the folder; {remedy}"
      )
    known[match[2]] = match[1]
  if not known:
    raise DamagedError(f"{path} is damaged: it is empty; {remedy}")
  return known


def _earlier(root: Any) -> dict[str, str]:
  """What a list says that is there; nothing where it is damaged."""
  if not (root / FILE).is_file():
    return {}
  try:
    return _read(root, "it is written anew, and lacks what else it had")
  except DamagedError as error:
    _LOG.warning("%s", error)
    return {}


def _is_below(name: str) -> bool:
  path = pathlib.PurePosixPath(name)
  return not path.is_absolute() and ".." not in path.parts


def _is_within(name: str, names: Sequence[str] | None) -> bool:
  if names is None:
    return True
  return any(name == one or name.startswith(f"{one}/") for one in names)


def _below(root: Any, names: Sequence[str] | None) -> list[str]:
  """Files that are there, by their name below the root."""
  if names is None:
    return [n for n in _walk(root, "") if n not in (FILE, _TEMPORARY)]
  found: list[str] = []
  for name in names:
    if (root / name).is_dir():
      found += _walk(root / name, f"{name}/")
    elif (root / name).is_file():
      found.append(name)
  return found


def _walk(folder: Any, prefix: str) -> Iterable[str]:
  for child in folder.iterdir():
    name = f"{prefix}{child.name}"
    if child.is_file():
      yield name
    elif child.is_dir() and not os.path.islink(child):
      yield from _walk(child, f"{name}/")


def _digests(root: Any, names: Sequence[str]) -> dict[str, str]:
  """SHA-256 of files, large ones in several threads: hashing needs no lock."""
  large = [name for name in names if not _is_small(root / name)]
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    found = dict(
      zip(large, pool.map(lambda n: _digest(root / n), large), strict=True)
    )
  return {name: found.get(name) or _digest(root / name) for name in names}


def _is_small(path: Any) -> bool:
  return isinstance(path, pathlib.Path) and path.stat().st_size <= _CHUNK


def _digest(path: Any) -> str:
  if not isinstance(path, pathlib.Path):
    return _hash(path)
  stat = path.stat()
  return _hash_once(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=2**16)
def _hash_once(path: pathlib.Path, *state: int) -> str:
  del state  # Another file under the same name is read anew.
  return _hash(path)


def _hash(path: Any) -> str:
  digest = hashlib.sha256()
  try:
    with path.open("rb") as file:
      while chunk := file.read(_CHUNK):
        digest.update(chunk)
  except OSError as error:
    # A disk that fails says so without the name of the file.
    raise OSError(error.errno, f"{path} cannot be read: {error}") from error
  return digest.hexdigest()
