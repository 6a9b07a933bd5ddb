"""Raw files within their limits: a first look that fills no memory.

Readers of tables take a file as a whole, and a line as a whole. So each file is
gone through once before, a part at a time: a few megabytes that unpack to
hundreds of gigabytes, or a line without an end, are told by name.
"""

import gzip
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import IO, cast

import polars as pl

from instructrec import limits

PART = 2**20
"""Bytes that are looked at at once."""
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_FREE_BYTES = 64 * 2**20
"""What unpacks to less is read, however small it was."""
_VALUE_BYTES = 8
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
"""What Python raises for gzip data that are cut or changed."""


def check(path: str | os.PathLike[str], name: str | None = None) -> None:
  """Goes through a file once, in constant memory.

  Args:
    path: text, gzipped or not, or Parquet.
    name: what the user calls it; None for the path.

  Raises:
    LimitError: where a line, the whole or what it unpacks to is too large.
    ValueError: where its gzip data are damaged.
  """
  path, name = pathlib.Path(path), name or str(path)
  size = path.stat().st_size
  with path.open("rb") as file:
    begin = file.read(len(_PARQUET))
    file.seek(0)
    if begin == _PARQUET:
      _check_parquet(path, size, name)
    elif begin.startswith(_GZIP):
      with gzip.GzipFile(fileobj=file) as unpacked:
        for _ in parts(cast("IO[bytes]", unpacked), name, packed=file):
          pass
    else:
      for _ in parts(file, name):
        pass


def parts(
  file: IO[bytes], name: str, *, packed: IO[bytes] | None = None
) -> Iterator[bytes]:
  """The parts of a text file, as far as they are within the limits.

  Args:
    file: the text, unpacked.
    name: what the user calls it.
    packed: what it is unpacked from, where that is known.

  Yields:
    Up to `PART` bytes at once.

  Raises:
    LimitError: where a line or the whole is too large.
    ValueError: where its gzip data are damaged.
  """
  longest = limits.LINE_BYTES.value
  total = line = 0
  number = 1
  while True:
    try:
      # Lines within a part are no longer than the part.
      part = file.read(min(PART, longest))
    except DAMAGED as error:
      raise ValueError(
        f"{name} is gzipped and damaged, or ends too early; fetch it again"
      ) from error
    if not part:
      return
    total += len(part)
    first = part.find(b"\n")
    line += len(part) if first < 0 else first
    if line > longest:
      limits.LINE_BYTES.check(line, f"{name}, line {number}")
    if first >= 0:
      line = len(part) - part.rfind(b"\n") - 1
      number += part.count(b"\n")
    limits.TABLE_BYTES.check(total, name)
    if packed is not None:
      _check_unpacking(total, packed.tell(), name)
    yield part


def _check_unpacking(unpacked: int, packed: int, name: str) -> None:
  if unpacked > _FREE_BYTES:
    limits.UNPACKING.check(unpacked // max(packed, 1), f"{name}, unpacked")


def _check_parquet(path: pathlib.Path, size: int, name: str) -> None:
  try:
    rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
  except pl.exceptions.PolarsError as error:
    raise ValueError(f"{name} is a damaged Parquet file: {error}") from error
  limits.TABLE_ROWS.check(rows, name)
  # At least: a column that always says the same takes no room in the file.
  _check_unpacking(rows * _VALUE_BYTES, size, name)
