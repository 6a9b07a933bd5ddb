"""Why a raw table does not parse: line, what was found, what was expected.

Readers are fast and say little. After a failure the file is read again, slowly,
until the line that is to blame.
"""

from __future__ import annotations

import ast
import csv
import io
import itertools
import json
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import polars as pl

from instructrec import limits
from instructrec.data import bad_rows

if TYPE_CHECKING:
  from instructrec.data import raw_table


def explain(table: raw_table.RawTable, error: Exception) -> str:
  """Says what is wrong with a table.

  Args:
    table: one that does not parse.
    error: what its reader said.

  Returns:
    A message.

  Raises:
    ValueError: for text that is no UTF-8, and double quotes without an end.
  """
  place = {"json": _not_json, "delimited": _not_delimited}.get(table.kind)
  if place and (message := place(table)):
    return message
  reason = str(error).strip().split("\n")[0]
  return f"{table.name} does not parse as {table.kind}: {reason}"


def _not_json(table: raw_table.RawTable) -> str:
  for number, line in enumerate(table.file.text_lines(), 1):
    if not line.strip():
      continue
    wrong = _json_fault(line, first=number == 1)
    if not wrong:
      # Numbers that Python's reader takes and the fast one does not.
      try:
        pl.read_ndjson(io.StringIO(line), schema={"": pl.String})
      except pl.exceptions.PolarsError as error:
        wrong = (
          f"found {bad_rows.shown(line.strip())}, expected a JSON "
          f"object a line ({error})"
        )
    if wrong:
      return f"{table.name}, line {number}: {wrong}"
  return ""


def _json_fault(line: str, *, first: bool) -> str:
  """What keeps a line from being a JSON object; nothing if it is one.

  Args:
    line: the line.
    first: whether it is the first of its file.
  """
  expected = "expected a JSON object a line"
  text = line.strip()
  try:
    found = json.loads(text, parse_constant=_no_number)
  except _NoNumberError as error:
    return f"found {error}, expected a number or null: JSON has no {error}"
  except (ValueError, RecursionError) as error:
    if first and text in ("{", "[", "[{"):
      return (
        f"found {text!r}, {expected}; the file is one object or list over many "
        "lines: `jq -c '.[]' FILE` writes the elements of a list a line each"
      )
    if _is_python(text):
      return (
        f"found a Python literal, {bad_rows.shown(text)}, {expected}; JSON has "
        "double quotes, true, false and null"
      )
    place = getattr(error, "pos", 0)
    rest = bad_rows.shown(text[place:]) if text[place:] else "the end"
    return f"found {rest} in column {place + 1}, {expected}"
  if isinstance(found, dict):
    return ""
  if isinstance(found, list):
    return (
      f"found a list, {expected}: `jq -c '.[]' FILE` writes the elements of a "
      "list a line each"
    )
  return f"found {bad_rows.shown(text)}, {expected}"


class _NoNumberError(Exception):
  pass


def _no_number(name: str) -> NoReturn:
  raise _NoNumberError(name)


def _is_python(text: str) -> bool:
  if not any(sign in text for sign in ("'", "None", "True", "False")):
    return False
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
      return isinstance(ast.literal_eval(text), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
      return False


def _not_delimited(table: raw_table.RawTable) -> str:
  width = len(table.columns)
  for _ in table.file.text_lines():
    pass
  for line, raw, fields in delimited_records(table):
    if len(fields) > width:
      hint = (
        f"; a field with {table.separator!r} in it stands in double quotes"
        if table.is_quoted
        else ""
      )
      return (
        f"{table.name}, line {line}: found {len(fields)} fields, expected "
        f"{width}: {', '.join(table.columns)}{hint}"
      )
    if table.is_quoted and raw.count('"') % 2:
      return (
        f"{table.name}, line {line}: found a double quote in the middle of a "
        f"field, {bad_rows.shown(raw.strip())}; expected such fields in "
        'double quotes, and theirs doubled: "15"" screen"'
      )
  return ""


def delimited_records(
  table: raw_table.RawTable,
) -> Iterator[tuple[int, str, list[str]]]:
  """First line, text and fields of each record below the header.

  Args:
    table: of delimited text.

  Yields:
    Records as `RawTable.read` counts them: empty lines are records as well.

  Raises:
    ValueError: where a double quote is not closed.
  """
  return itertools.islice(_records(table), int(table.has_header), None)


def first_record(table: raw_table.RawTable) -> list[str]:
  """The fields of the first record, the header if there is one.

  Args:
    table: of delimited text; its columns need not be known.

  Raises:
    ValueError: where a double quote is not closed.
  """
  return next(_records(table))[2]


def _records(
  table: raw_table.RawTable,
) -> Iterator[tuple[int, str, list[str]]]:
  seen: list[str] = []

  def lines() -> Iterator[str]:
    for line in itertools.islice(table.file.lines(), table.skip_lines, None):
      seen.append(line.decode(errors="replace"))
      yield seen[-1]

  rows: Iterator[list[str]]
  if table.is_quoted:
    # Python's own limit is shorter than some reviews.
    csv.field_size_limit(limits.LINE_BYTES.value)
    rows = csv.reader(lines(), delimiter=table.separator, strict=True)
  else:
    rows = (line.rstrip("\r\n").split(table.separator) for line in lines())
  number = table.skip_lines + 1
  while True:
    try:
      fields = next(rows, None)
    except csv.Error as error:
      raise ValueError(
        f"{table.name}, line {number}: found "
        f"{bad_rows.shown(''.join(seen).strip())}, expected a double quote to "
        f"be closed before the next field ({error})"
      ) from error
    if fields is None:
      return
    yield number, "".join(seen), fields
    number += len(seen)
    seen.clear()
