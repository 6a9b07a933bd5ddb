"""Columns of raw tables become values; what does not convert is counted."""

from collections.abc import Callable

import polars as pl

from instructrec import limits
from instructrec.data import bad_rows, raw_table, values

Convert = Callable[[pl.Series], pl.Series]


def require(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  column: str,
  bad: bad_rows.BadRows,
  *,
  convert: Convert = values.texts,
  expected: str = "a value",
  limit: limits.Limit | None = None,
) -> pl.DataFrame:
  """Converts a column; rows whose value does not convert are bad rows.

  Args:
    frame: with `raw_table.ROW`.
    table: the file, for messages.
    column: which column.
    bad: takes the bad rows.
    convert: one of `values`.
    expected: what should stand there, for messages.
    limit: of the characters of a text.

  Returns:
    The table without its bad rows.

  Raises:
    BadRowError: for a bad row, unless they are skipped.
  """
  converted = convert(frame[column])
  wrong = converted.is_null()
  frame = reject(frame, wrong, table, column, bad, expected)
  frame = frame.with_columns(converted.filter(~wrong).alias(column))
  if limit is None:
    return frame
  long = frame[column].str.len_chars() > limit.value
  expected = f"at most {limit.value:,} {limit.unit} ({limit.variable})"
  return reject(frame, long, table, column, bad, expected)


def reject(
  frame: pl.DataFrame,
  wrong: pl.Series,
  table: raw_table.RawTable,
  column: str,
  bad: bad_rows.BadRows,
  expected: str,
) -> pl.DataFrame:
  """Leaves rows out as bad rows.

  Args:
    frame: with `raw_table.ROW`.
    wrong: which rows go.
    table: the file, for messages.
    column: what is wrong with them.
    bad: takes them.
    expected: what should stand there, for messages.

  Returns:
    The other rows.

  Raises:
    BadRowError: where there are any, unless they are skipped.
  """
  if not wrong.any():
    return frame
  bad.add(_first(frame, wrong, table, column, expected), int(wrong.sum()))
  return frame.filter(~wrong)


def with_ids(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  bad: bad_rows.BadRows,
  **names: str,
) -> pl.DataFrame:
  """Converts ids; rows without one are bad rows.

  Args:
    frame: with `raw_table.ROW`.
    table: the file, for messages.
    bad: takes the bad rows.
    **names: columns by what they are the ids of, `user` and `item`.

  Returns:
    The table without its bad rows.

  Raises:
    BadRowError: for a bad row, unless they are skipped.
  """
  for what, column in names.items():
    expected = f"{'an' if what == 'item' else 'a'} {what} id"
    frame = require(
      frame, table, column, bad, expected=expected, limit=limits.ID_CHARS
    )
  return frame


def optional(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  column: str,
  bad: bad_rows.BadRows,
  *,
  convert: Convert,
  expected: str,
) -> pl.DataFrame:
  """Converts a column; values that do not convert are counted and left empty.

  Args:
    frame: with `raw_table.ROW`.
    table: the file, for messages.
    column: which column.
    bad: counts what was left empty.
    convert: one of `values`.
    expected: what should stand there, for messages.

  Returns:
    The table with all of its rows.
  """
  converted = convert(frame[column])
  wrong = converted.is_null() & values.texts(frame[column]).is_not_null()
  if wrong.any():
    bad.empty(_first(frame, wrong, table, column, expected), int(wrong.sum()))
  return frame.with_columns(converted.alias(column))


def _first(
  frame: pl.DataFrame,
  wrong: pl.Series,
  table: raw_table.RawTable,
  column: str,
  expected: str,
) -> bad_rows.BadRow:
  """The first of the wrong rows."""
  first = frame.row(int(wrong.arg_max() or 0), named=True)
  return bad_rows.BadRow(
    path=table.name,
    line=table.line_of(first[raw_table.ROW]),
    field=column,
    found=bad_rows.shown(first[column]),
    expected=expected,
  )
