"""Files of ours are read, or what is wrong is said in our words; or replaced.

Hashes (`checksums`) find what was damaged since it was written. What remains,
files that are alone and those that somebody made, must not end in the words
of a library: the file, what is wrong and what to do are named.
"""

import contextlib
import json
import os
import pathlib
import struct
import types
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from instructrec import checksums

_UNREADABLE = (
  ValueError,  # JSON, Unicode, NumPy.
  LookupError,
  TypeError,
  EOFError,
  RuntimeError,  # SentencePiece; nesting without end.
  MemoryError,  # A length that is none.
  OSError,
  struct.error,
  zipfile.BadZipFile,
  zlib.error,
  pl.exceptions.PolarsError,
  pl.exceptions.PanicException,
)
_MOST_SHOWN = 200


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
  """Words what readers raise about a file or folder.

  Args:
    path: what is read in the body, and nothing else is done there.
    remedy: what to do where it cannot be read; the end of the message.

  Yields:
    Nothing.

  Raises:
    DamagedError: where the body could not read it.
  """
  try:
    yield
  except checksums.DamagedError:
    raise
  except FileNotFoundError as error:
    raise checksums.DamagedError(
      f"{error.filename or path} is missing; {remedy}"
    ) from error
  except _UNREADABLE as error:
    raise checksums.DamagedError(
      f"{path} cannot be read: {_words(error)}; {remedy}"
    ) from error


def read(
  path: str | os.PathLike[str],
  *,
  keys: Iterable[str] = (),
  expected: Mapping[str, Any] = types.MappingProxyType({}),
  remedy: str,
) -> dict[str, Any]:
  """Reads a JSON object.

  Args:
    path: the file.
    keys: what it must have.
    expected: what it must have with these values, such as the version of its
      form.
    remedy: what to do where it is not so; the end of the message.

  Returns:
    The object.

  Raises:
    DamagedError: where the file is missing, no JSON, or lacks a key.
    ValueError: where a value is another one.
  """
  record = read_any(path, remedy=remedy)
  if not isinstance(record, dict):
    raise checksums.DamagedError(
      f"{path} holds a {type(record).__name__}, expected a JSON object; "
      f"{remedy}"
    )
  if missing := [key for key in (*expected, *keys) if key not in record]:
    raise checksums.DamagedError(
      f"{path} lacks {', '.join(missing)}; it has "
      f"{', '.join(record) or 'nothing'}; {remedy}"
    )
  for key, value in expected.items():
    if record[key] != value:
      raise ValueError(
        f"{path} has {key} {record[key]!r}, expected {value!r}; {remedy}"
      )
  return record


def read_any(path: str | os.PathLike[str], *, remedy: str) -> Any:
  """As `read`, of any JSON value."""
  with reading(path, remedy):
    return json.loads(pathlib.Path(path).read_bytes())


def replace(path: pathlib.Path, text: str, *, seal: bool = False) -> None:
  """Writes a text file in UTF-8 at once, or not at all.

  Args:
    path: the file; where it is a symbolic link, what that points to.
    text: its content.
    seal: whether the text has the place of its hash, which is put there.
  """
  final = path.resolve()
  temporary = final.with_name(f"{final.name}.tmp")
  temporary.write_text(text, encoding="utf-8")
  if seal:
    checksums.seal(temporary)
  temporary.replace(final)


def _words(error: BaseException) -> str:
  """The first line of what a library says, without its advice."""
  text = str(error)
  if "allow_pickle" in text:
    # NumPy advises to allow it, which would run what is in the file.
    return "it holds Python objects or no array; objects are never opened"
  if isinstance(error, KeyError):
    return f"it lacks {text}"
  line = text.strip().split("\n")[0][:_MOST_SHOWN]
  return line or type(error).__name__
