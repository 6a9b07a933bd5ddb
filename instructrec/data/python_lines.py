"""Files with a Python literal a line, as Amazon's metadata of 2014 have them.

Literals are parsed and never evaluated: names, calls and operators are errors.
"""

import ast
import json
import warnings
from collections.abc import Iterator, Sequence

import polars as pl

from instructrec.data import bad_rows, raw_file

_FIRST_ROWS = 1000


def is_python(file: raw_file.RawFile) -> bool:
  """Whether a file's first row is a Python literal, and no JSON."""
  line = next((line for line in file.lines() if line.strip()), b"")
  try:
    json.loads(line)
  except ValueError:
    return _row(line) is not None
  return False


def fields(file: raw_file.RawFile) -> list[str]:
  """The fields of the first rows, in the order in which they come."""
  found: dict[str, None] = {}
  for number, (_, row) in enumerate(_rows(file)):
    if number == _FIRST_ROWS:
      break
    found.update(dict.fromkeys(row))
  return list(found)


def read(file: raw_file.RawFile, names: Sequence[str]) -> pl.DataFrame:
  """Reads some fields as text, nested ones as JSON.

  Args:
    file: a row a line; empty lines are left out.
    names: of the fields.

  Returns:
    A text column for each; null where a row lacks it.

  Raises:
    ValueError: for a line that is no literal, naming it.
  """
  columns: dict[str, list[str | None]] = {name: [] for name in names}
  for _, row in _rows(file):
    for name, values in columns.items():
      values.append(_text(row.get(name)))
  return pl.DataFrame(columns, dict.fromkeys(names, pl.String))


def _rows(file: raw_file.RawFile) -> Iterator[tuple[int, dict]]:
  for number, line in enumerate(file.lines(), 1):
    if not line.strip():
      continue
    row = _row(line)
    if row is None:
      raise ValueError(
        f"{file.name}, line {number}: found "
        f"{bad_rows.shown(line.decode(errors='replace').strip())}, expected a "
        "Python literal a line, as in the lines before"
      )
    yield number, row


def _row(line: bytes) -> dict | None:
  with warnings.catch_warnings():
    # Of unknown escapes, which people's descriptions are full of.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
      row = ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
      return None
  return row if isinstance(row, dict) else None


def _text(value: object) -> str | None:
  if value is None:
    return None
  if isinstance(value, str):
    # Half a pair of surrogates is no text elsewhere.
    return value.encode("utf-8", "replace").decode()
  return json.dumps(value, ensure_ascii=False, default=str)
