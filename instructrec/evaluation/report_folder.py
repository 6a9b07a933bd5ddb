"""A report's folder: written, and opened once it is what was written."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from instructrec import checksums, records
from instructrec.evaluation import html

FILE, PAGE = "report.json", "report.md"
"""The record of a report, and what people read."""


def write(
  folder: pathlib.Path,
  record: Mapping[str, Any],
  text: str,
  *,
  title: str,
  others: tuple[str, ...] = (),
) -> pathlib.Path:
  """Writes report.json with its hash, report.md and report.html.

  Args:
    folder: that holds the pictures of the page already.
    record: of JSON's values, without NaN.
    text: the page.
    title: of the HTML page.
    others: files of the folder that are read again, to be hashed as well.

  Returns:
    The path of report.md.
  """
  plain = json.dumps(record, indent=2, allow_nan=False)
  (folder / FILE).write_text(f"{plain}\n", encoding="utf-8")
  checksums.write(folder, [FILE, *others])
  path = folder / PAGE
  path.write_text(text, encoding="utf-8")
  page = html.page(text, title, folder)
  path.with_suffix(".html").write_text(page, encoding="utf-8")
  return path


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
  return records.read(path, expected={"schema_version": version}, remedy=remedy)
