"""Opens what a report's folder holds, once it is what was written."""

import os
import pathlib
from typing import Any

from instructrec import checksums, records

FILE = "report.json"
"""The record of a report."""


def checked(
  folder: str | os.PathLike[str], name: str, *, remedy: str, writers: str
) -> pathlib.Path:
  """A file of a report, with the contents that it was written with.

  Args:
    folder: the report's.
    name: of the file.
    remedy: what to do about one that cannot be read.
    writers: what writes such reports, in words.

  Returns:
    Its path.

  Raises:
    FileNotFoundError: where the folder never had it.
    DamagedError: where it was changed.
  """
  if not checksums.is_known(folder, name, remedy):
    raise FileNotFoundError(
      f"{folder} holds no report ({name} is missing); {writers}"
    )
  checksums.verify(folder, remedy, [name])
  return pathlib.Path(folder) / name


def read(
  folder: str | os.PathLike[str], version: int, *, remedy: str, writers: str
) -> dict[str, Any]:
  """The record of a report.

  Args:
    folder: the report's.
    version: the `schema_version` that is read.
    remedy: see `checked`.
    writers: see `checked`.

  Returns:
    The record.

  Raises:
    FileNotFoundError: where the folder holds no report.
    DamagedError: where the file was changed.
    ValueError: where it is of another version.
  """
  path = checked(folder, FILE, remedy=remedy, writers=writers)
  record = records.read(path, keys=["schema_version"], remedy=remedy)
  if record["schema_version"] != version:
    raise ValueError(
      f"{folder} has schema_version {record['schema_version']}, expected "
      f"{version}; {remedy}"
    )
  return record
