"""Raw files as people have them: plain or gzipped, by name or through a pipe.

A path is taken word for word: brackets, question marks, stars and blanks are
letters of a name, and `~` is the home folder. `-` is the standard input.
"""

import codecs
import dataclasses
import gzip
import io
import os
import pathlib
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, cast

from instructrec.data import bounded

_HEAD = 1 << 20
"""Bytes that tell what a file is."""
_GZIP = b"\x1f\x8b"
# What a file begins with, what it is, and what to do about it.
_REFUSED = (
  (codecs.BOM_UTF16_LE, "UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
  (codecs.BOM_UTF16_BE, "UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
  (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack or export it"),
  (b"\xd0\xcf\x11\xe0", "a spreadsheet", "export it as CSV"),
  (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it: zstd -d"),
  (b"BZh", "packed with bzip2", "unpack it: bunzip2"),
  (b"\xfd7zXZ", "packed with xz", "unpack it: unxz"),
  *(
    (b"\x80" + bytes([protocol]), "a pickle", "export it as CSV or Parquet: "
     "opening a pickle runs whatever is in it")
    for protocol in range(2, 6)
  ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RawFile:
  """A file that can be read, and read again.

  Attributes:
    path: a regular file, gzipped or not, without a byte order mark.
    name: what the user calls it.
    head: its first bytes, unpacked.
    copy: the temporary file that `path` is, if it is one; it goes when this
      does.
  """

  path: pathlib.Path
  name: str
  head: bytes
  copy: IO[bytes] | None = None

  def lines(self) -> Iterator[bytes]:
    """The lines, unpacked, with their ends."""
    with _unpacked(self.path) as file:
      yield from file

  def text_lines(self) -> Iterator[str]:
    """The lines as text, with their ends.

    Raises:
      ValueError: for a line that is no UTF-8, naming it.
    """
    for number, line in enumerate(self.lines(), 1):
      try:
        yield line.decode()
      except UnicodeDecodeError as error:
        found = line[max(error.start - 20, 0) : error.start + 1]
        raise ValueError(
          f"{self.name}, line {number}: found {found!r}, expected UTF-8; "
          "convert the file, for example with `iconv -f LATIN1 -t UTF-8` if "
          "Latin-1 is what it was written in"
        ) from error


def missing(paths: Iterable[str | os.PathLike[str]]) -> None:
  """Fails where files are missing, and names all of them.

  Args:
    paths: files, or `-`.

  Raises:
    FileNotFoundError: for those that are not there.
    ValueError: where the standard input is asked for twice.
  """
  names = [str(path) for path in paths]
  if names.count("-") > 1:
    raise ValueError(
      "the standard input (-) holds one table; pass the others as files"
    )
  absent = [name for name in names if name != "-" and not _place(name).exists()]
  if absent:
    raise FileNotFoundError("no such file: " + ", ".join(absent))


def open_raw(path: str | os.PathLike[str]) -> RawFile:
  """Opens a file, whatever it is called and wherever it comes from.

  Args:
    path: a file, a pipe, or `-` for the standard input; what comes through a
      pipe is kept in a temporary file.

  Returns:
    The file.

  Raises:
    FileNotFoundError: where there is no such file.
    LimitError: where it is too large; see `bounded.check`.
    ValueError: for folders and devices, and for what is not UTF-8 text, JSON
      or Parquet.
  """
  name = str(path)
  if name == "-":
    if sys.stdin.isatty():
      raise ValueError(
        "the standard input (-) is a terminal; expected a file or a pipe"
      )
    return _copied(sys.stdin.buffer, "the standard input")
  place = _place(name)
  missing([name])
  mode = place.stat().st_mode
  if stat.S_ISDIR(mode):
    raise ValueError(f"{name} is a folder, expected a file")
  if stat.S_ISFIFO(mode):
    with place.open("rb") as pipe:
      return _copied(pipe, name)
  if not stat.S_ISREG(mode):
    raise ValueError(f"{name} is a device or a socket, expected a file or pipe")
  bounded.check(place, name)
  head = _head(place, name)
  if head.startswith(codecs.BOM_UTF8):
    with _unpacked(place) as file:
      return _copied(file, name)
  return RawFile(place, name, head)


def as_utf8(file: RawFile) -> RawFile:
  """The file if it is UTF-8, else a copy of what is taken for Latin-1."""
  decoder = codecs.getincrementaldecoder("utf-8")()
  try:
    for line in file.lines():
      decoder.decode(line)
    decoder.decode(b"", final=True)
  except UnicodeDecodeError:
    pass
  else:
    return file
  copy = _temporary()
  for line in file.lines():
    copy.write(line.decode("latin-1").encode())
  copy.flush()
  path = pathlib.Path(copy.name)
  return RawFile(path, file.name, _head(path, file.name), copy)


def _place(name: str) -> pathlib.Path:
  try:
    return pathlib.Path(name).expanduser().absolute()
  except RuntimeError as error:
    raise FileNotFoundError(f"no such file: {name} ({error})") from error


def _copied(source: IO[bytes] | io.BufferedIOBase, name: str) -> RawFile:
  """A copy without a byte order mark."""
  copy = _temporary()
  for number, part in enumerate(bounded.parts(cast("IO[bytes]", source), name)):
    copy.write(part if number else part.removeprefix(codecs.BOM_UTF8))
  copy.flush()
  path = pathlib.Path(copy.name)
  bounded.check(path, name)
  head = _head(path, name)
  if head.startswith(codecs.BOM_UTF8):
    # Through a pipe, and gzipped.
    with copy, _unpacked(path) as file:
      return _copied(file, name)
  return RawFile(path, name, head, copy)


def _temporary() -> IO[bytes]:
  """A file that is deleted when nothing holds it any more."""
  return tempfile.NamedTemporaryFile(prefix="instructrec-")


def _unpacked(path: pathlib.Path) -> io.BufferedIOBase:
  with path.open("rb") as file:
    packed = file.read(2) == _GZIP
  return gzip.open(path, "rb") if packed else path.open("rb")


def _head(path: pathlib.Path, name: str) -> bytes:
  """The first bytes of a file that is not to be refused."""
  with _unpacked(path) as file:
    head = file.read(_HEAD)
  for begin, found, advice in _REFUSED:
    if head.startswith(begin):
      raise ValueError(
        f"{name} is {found}, expected UTF-8 text, JSON or Parquet; {advice}"
      )
  # Text has no zeros, and UTF-16 without a mark has one in every other place.
  if b"\0" in head[:256] and not head.startswith(b"PAR1"):
    raise ValueError(
      f"{name} is UTF-16 or no text at all, expected UTF-8 text, JSON or "
      "Parquet; text is converted by iconv -f UTF-16LE -t UTF-8"
    )
  return head
