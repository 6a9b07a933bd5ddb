"""Rows that hold a history, as MiniOneRec and RecBole's benchmarks have them.

`user_id,history_item_id,item_id` with `A,"['1', '2']",3` says that A took 1,
then 2, then 3. The rows of a user follow each other: each begins where the one
before has ended, or repeats what is known.
"""

import dataclasses
import re

import polars as pl

from instructrec.data import bad_rows, column_names, raw_table, values

_NAMES = ("history_item_id", "item_id_list", "history")
_BETWEEN = re.compile(r"[\s,;|\[\]'\"]+")
_GLUED = re.compile(r"'\s+'|\"\s+\"")
POSITION = "_position"
"""Column of `expand`: place of an interaction in its user's sequence."""


def find(
  table: raw_table.RawTable, names: column_names.InteractionColumns
) -> column_names.InteractionColumns:
  """The names of the columns, with that of the histories that a table has."""
  known = _NAMES if names.history == _NAMES[0] else (names.history,)
  found = next((name for name in known if name in table.columns), None)
  return dataclasses.replace(names, history=found)


def expand(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  names: column_names.InteractionColumns,
  bad: bad_rows.BadRows,
) -> pl.DataFrame:
  """One row an interaction.

  Args:
    frame: rows with users and items.
    table: the file, for messages.
    names: of the columns, that of the histories among them.
    bad: takes the rows that do not continue what is known of their user.

  Returns:
    The table without histories and times, with `POSITION`. Ratings and reviews
    of a row are those of its own item, and stay with that.

  Raises:
    BadRowError: for such a row, unless they are skipped.
  """
  history = names.history
  assert history is not None
  before = (_items(text) for text in values.texts(frame[history]))
  sequences: dict[str, list[str]] = {}
  found: list[tuple[int, str, str, int, bool]] = []
  unfit: list[tuple[int, list[str]]] = []
  own = (frame[name] for name in (raw_table.ROW, names.user_id, names.item_id))
  for row, user, item, earlier in zip(*own, before, strict=True):
    sequence = sequences.setdefault(user, [])
    items = [*earlier, item]
    new = _new(sequence, items)
    if new is None:
      unfit.append((row, items))
      continue
    for place, item_id in enumerate(new, len(sequence)):
      last = place == len(sequence) + len(new) - 1
      found.append((row, user, item_id, place, last))
    sequence += new
  if unfit:
    bad.add(
      bad_rows.BadRow(
        path=table.name,
        line=table.line_of(unfit[0][0]),
        field=history,
        found=bad_rows.shown(unfit[0][1]),
        expected="a history that ends, or repeats, what the user's rows before "
        "it say (rows of a user in the order of time)",
      ),
      len(unfit),
    )
  return _rows(frame.drop(history), names, found)


def _items(text: str | None) -> list[str]:
  """The items of a list, however it is written; of NumPy's without commas."""
  text = text or ""
  # Python would glue texts without a comma together.
  if text.startswith("[") and not _GLUED.search(text):
    found = values.literal(text)
    if found is not None:
      return [str(item).strip() for item in found]
  return [part for part in _BETWEEN.split(text) if part]


def _rows(
  frame: pl.DataFrame,
  names: column_names.InteractionColumns,
  found: list[tuple[int, str, str, int, bool]],
) -> pl.DataFrame:
  expanded = pl.DataFrame(
    found,
    {
      raw_table.ROW: frame.schema[raw_table.ROW],
      names.user_id: pl.String,
      names.item_id: pl.String,
      POSITION: pl.Int64,
      "_own": pl.Boolean,
    },
    orient="row",
  )
  more = frame.drop(
    names.user_id, names.item_id, names.timestamp or [], strict=False
  )
  own = [
    pl.when("_own").then(name).alias(name)
    for name in more.columns
    if name != raw_table.ROW
  ]
  return (
    expanded.join(more, on=raw_table.ROW, maintain_order="left")
    .with_columns(own)
    .drop("_own")
  )


def _new(known: list[str], row: list[str]) -> list[str] | None:
  """What a row adds to a sequence; None where it does not fit."""
  before = row[:-1]
  if before and known[-len(before) :] == before:
    return row[-1:]
  if row[: len(known)] == known:
    return row[len(known) :]
  windows = range(len(known) - len(row) + 1)
  if any(known[i : i + len(row)] == row for i in windows):
    return []
  return None
