"""Names of the columns of tables, and whether the tables have them."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from instructrec.data import raw_table


@dataclasses.dataclass(frozen=True)
class InteractionColumns:
  """Columns of a table of interactions; None where there is no such column.

  Attributes:
    user_id: who.
    item_id: what.
    timestamp: when: see `values.times`.
    position: place in the user's sequence; used as order where there is no
      timestamp.
    rating: a number.
    review: text.
    summary: heading, put before the review.
    history: the items before this one, as a list; see `histories`.
  """

  user_id: str = "user_id"
  item_id: str = "item_id"
  timestamp: str | None = "timestamp"
  position: str | None = "position"
  rating: str | None = "rating"
  review: str | None = "text"
  summary: str | None = "summary"
  history: str | None = "history_item_id"


@dataclasses.dataclass(frozen=True)
class ItemColumns:
  """Columns of a table of items; None where there is no such column.

  Attributes:
    item_id: unique id.
    title: what it is called.
    categories: a list, or text split at `category_separator`.
    category_separator: between categories; no column.
    brand: maker.
    price: a number.
    description: text.
    year: of release, or a date that has it.
  """

  item_id: str = "item_id"
  title: str = "title"
  categories: str | None = "categories"
  category_separator: str = " > "
  brand: str | None = "brand"
  price: str | None = "price"
  description: str | None = "description"
  year: str | None = "year"


@dataclasses.dataclass(frozen=True)
class ReviewColumns:
  """Columns of a table of reviews; None where there is no such column.

  Attributes:
    user_id: who.
    item_id: what.
    rating: a number.
    review: text.
    summary: heading, put before the review.
  """

  user_id: str = "user_id"
  item_id: str = "item_id"
  rating: str | None = "rating"
  review: str = "text"
  summary: str | None = "summary"


AnyColumns = InteractionColumns | ItemColumns | ReviewColumns
_KINDS: dict[str, type[AnyColumns]] = {
  "interactions": InteractionColumns,
  "items": ItemColumns,
  "reviews": ReviewColumns,
}
_REQUIRED = {
  "interactions": ("user_id", "item_id"),
  "items": ("item_id", "title"),
  "reviews": ("user_id", "item_id", "review"),
}
_NO_COLUMNS = ("category_separator",)
_SHOWN = 20
"""Columns that messages name."""


@dataclasses.dataclass(frozen=True)
class Columns:
  """Names of the columns of all three tables.

  Attributes:
    interactions: of interactions.
    items: of items.
    reviews: of reviews.
    named: what was named: the tables must have it.
  """

  interactions: InteractionColumns = InteractionColumns()
  items: ItemColumns = ItemColumns()
  reviews: ReviewColumns = ReviewColumns()
  named: tuple[str, ...] = ()

  @classmethod
  def of(cls, names: Mapping[str, str]) -> Self:
    """The usual names, but for some.

    Args:
      names: columns by `TABLE.FIELD`, such as `items.item_id`, or by `FIELD`
        for each table that has it; the usual name of a column stands for its
        field. An empty name stands for no column.

    Returns:
      The names.

    Raises:
      ValueError: for a name that is none, with the nearest.
    """
    changes: dict[str, dict[str, Any]] = {table: {} for table in _KINDS}
    # Those of one table after those of all.
    for key in sorted(names, key=lambda key: "." in key):
      for table, field in _places(key):
        if not names[key] and field in _REQUIRED[table]:
          raise ValueError(f"--column={key}=: a table of {table} needs one")
        changes[table][field] = names[key] or None
    return cls(
      InteractionColumns(**changes["interactions"]),
      ItemColumns(**changes["items"]),
      ReviewColumns(**changes["reviews"]),
      tuple(key for key in names if names[key]),
    )

  def check(self, tables: Mapping[str, raw_table.RawTable]) -> None:
    """Fails where columns are missing, and names all of them.

    Args:
      tables: what was opened, by "interactions", "items" and "reviews".

    Raises:
      ValueError: where a table lacks a column that it needs, or that was named.
    """
    wanted = {(table, field) for table in tables for field in _REQUIRED[table]}
    for key in self.named:
      places = [place for place in _places(key) if place[0] in tables]
      # What is named for all tables has to be in one of them.
      if "." in key or not any(self._is_in(tables, *p) for p in places):
        wanted.update(places)
    lines = []
    for name, table in tables.items():
      absent = [
        field
        for field in _names_of(name)
        if (name, field) in wanted and not self._is_in(tables, name, field)
      ]
      if absent:
        shown = [repr(self._column(name, field)) for field in absent]
        options = [f"--column={name}.{field}=NAME" for field in absent]
        lines.append(
          f"{table.name} has no {' and no '.join(shown)}, but "
          f"{listed(table.columns)}; name what it has by {' '.join(options)}"
        )
    if lines:
      raise ValueError("columns are missing: " + ";\n  ".join(lines))

  def _column(self, table: str, field: str) -> str:
    return getattr(getattr(self, table), field)

  def _is_in(
    self, tables: Mapping[str, raw_table.RawTable], table: str, field: str
  ) -> bool:
    return (
      field in _NO_COLUMNS
      or self._column(table, field) in tables[table].columns
    )


def _names_of(table: str) -> list[str]:
  return [field.name for field in dataclasses.fields(_KINDS[table])]


def _places(key: str) -> list[tuple[str, str]]:
  """Tables and fields that `TABLE.FIELD` or `FIELD` names."""
  table, _, called = key.rpartition(".")
  found = [
    (name, field.name)
    for name, kind in _KINDS.items()
    for field in dataclasses.fields(kind)
    # `text` as well as `review`: people know the column.
    if table in ("", name) and called in (field.name, field.default)
  ]
  if not found:
    known = [f"{name}.{f}" for name in _KINDS for f in _names_of(name)]
    bare = dict.fromkeys(one.split(".")[1] for one in known)
    close = difflib.get_close_matches(key, [*known, *bare], n=1, cutoff=0.0)
    raise ValueError(
      f"--column={key}=...: no table has a field of that name; the nearest is "
      f"{close[0]}, all are {', '.join(known)}"
    )
  return found


def listed(names: Sequence[str]) -> str:
  """Names as messages show them, cut where there are many."""
  more = len(names) - _SHOWN
  shown = ", ".join(names[:_SHOWN])
  return f"{shown} and {more:,} more" if more > 0 else shown


def wanted(columns: AnyColumns) -> list[str]:
  """The names of the columns that are read."""
  fields = dataclasses.asdict(columns)
  return [
    name for field, name in fields.items() if field not in _NO_COLUMNS and name
  ]


def unread(table: raw_table.RawTable, columns: AnyColumns) -> list[str]:
  """Says which columns of a table nothing reads.

  Args:
    table: what was opened.
    columns: what is read.

  Returns:
    A sentence, or none.
  """
  left = [name for name in table.columns if name not in wanted(columns)]
  if not left:
    return []
  return [
    f"{table.name}: nothing reads the columns {listed(left)}; --column names "
    "those that are meant"
  ]
