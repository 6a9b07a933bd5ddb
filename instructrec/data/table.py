"""Plain tables of interactions, items and reviews."""

import dataclasses
import os
from collections.abc import Collection, Mapping

import polars as pl

from instructrec import limits
from instructrec.data import (
  bad_rows,
  catalog,
  column_names,
  conversion,
  histories,
  interaction,
  item_text,
  raw_file,
  raw_table,
  values,
)

_Source = str | os.PathLike[str] | pl.DataFrame


def items_from(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  names: column_names.ItemColumns,
  bad: bad_rows.BadRows,
) -> catalog.Catalog:
  """A catalogue from a table of items.

  Args:
    frame: with `raw_table.ROW`; from `table`.
    table: the file, for messages.
    names: of the columns.
    bad: takes the bad rows.

  Returns:
    The catalogue; of items that occur twice, the first.

  Raises:
    BadRowError: for a bad row, unless they are skipped.
    ValueError: where no item is left.
  """
  frame = conversion.with_ids(frame, table, bad, item=names.item_id)
  frame = conversion.require(
    frame,
    table,
    names.title,
    bad,
    convert=_titles,
    expected="a title",
    limit=limits.TITLE_CHARS,
  )
  if not frame.height:
    raise ValueError(f"no items are left of {table.name}; {bad.report()}")
  selected: dict[str, pl.Expr | pl.Series] = {
    "item_id": pl.col(names.item_id),
    "title": pl.col(names.title),
  }
  for field in ("brand", "description"):
    column = getattr(names, field)
    if column in frame.columns:
      selected[field] = values.texts(frame[column])
  if names.price in frame.columns:
    frame = conversion.optional(
      frame,
      table,
      names.price,
      bad,
      convert=values.prices,
      expected="a price",
    )
    selected["price"] = pl.col(names.price)
  if names.year in frame.columns:
    frame = conversion.optional(
      frame,
      table,
      names.year,
      bad,
      convert=values.years,
      expected="a year, or a date that has it",
    )
    selected["year"] = pl.col(names.year)
  if names.categories in frame.columns:
    selected["categories"] = values.strings(
      frame[names.categories], names.category_separator
    )
  items = frame.select(**selected)
  unique = items.unique("item_id", keep="first", maintain_order=True)
  if repeated := items.height - unique.height:
    bad.notes.append(
      f"{table.name} has {repeated:,} rows with the id of an item that was "
      "there before; the first is kept"
    )
  return catalog.Catalog(unique)


def _titles(titles: pl.Series) -> pl.Series:
  """Titles, null where nothing is left once the catalogue cleans them."""
  found = values.texts(titles)
  left = found.map_elements(
    lambda title: bool(item_text.look(item_text.plain(title))),
    return_dtype=pl.Boolean,
  )
  return found.set(~left, None)


def log_from(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  names: column_names.InteractionColumns,
  items: catalog.Catalog,
  bad: bad_rows.BadRows,
  *,
  ticks: int | None = None,
) -> interaction.InteractionLog:
  """A log from a table of interactions.

  Args:
    frame: with `raw_table.ROW`; from `table`.
    table: the file, for messages.
    names: of the columns.
    items: interactions with other items are bad rows.
    bad: takes the bad rows, and notes what gave the order.
    ticks: of a Unix time in a second; see `values.times`.

  Returns:
    The log, ordered by timestamp, else by position, else as in the file.

  Raises:
    BadRowError: for a bad row, unless they are skipped.
    ValueError: where no interaction is left.
  """
  frame = conversion.with_ids(
    frame, table, bad, user=names.user_id, item=names.item_id
  )
  if names.history in frame.columns:
    frame = histories.expand(frame, table, names, bad)
  frame, order = _ordered(frame, table, names, bad, ticks)
  selected = {
    "user_id": pl.col(names.user_id),
    "item_id": pl.col(names.item_id),
    "order": pl.col(order).cast(pl.Int64),
  }
  if order == names.timestamp:
    selected["timestamp"] = pl.col(order)
  if names.rating in frame.columns:
    frame = _with_ratings(frame, table, names.rating, bad)
    selected["rating"] = pl.col(names.rating)
  if names.review in frame.columns:
    selected["review"] = _review(frame, names)
  unknown = ~frame[names.item_id].is_in(items.item_ids)
  expected = "an item of the catalogue"
  frame = conversion.reject(frame, unknown, table, names.item_id, bad, expected)
  if not frame.height:
    raise ValueError(
      f"no interactions are left of {table.name}; {bad.report()}"
    )
  return interaction.InteractionLog(frame.select(**selected))


def _ordered(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  names: column_names.InteractionColumns,
  bad: bad_rows.BadRows,
  ticks: int | None,
) -> tuple[pl.DataFrame, str]:
  """The table and its column that orders interactions, said where unusual."""
  if histories.POSITION in frame.columns:
    bad.notes.append(
      f"{table.name} has histories in its rows: they give {frame.height:,} "
      "interactions, in the order of the histories and without times"
    )
    return frame, histories.POSITION
  if names.timestamp in frame.columns:
    frame = conversion.require(
      frame,
      table,
      names.timestamp,
      bad,
      convert=lambda found: values.times(found, ticks),
      expected="a Unix time or a date such as 2023-01-31 10:20:30",
    )
    if frame.height > 1 and frame[names.timestamp].n_unique() == 1:
      bad.notes.append(
        f"all times in {table.name} are the same: the order of the file is "
        "taken for that of time"
      )
    return frame, names.timestamp
  if names.position in frame.columns:
    frame = conversion.require(
      frame,
      table,
      names.position,
      bad,
      convert=values.wholes,
      expected="a whole number",
    )
    return frame, names.position
  bad.notes.append(
    f"{table.name} has no times: the order of the file is taken for that of "
    "time"
  )
  return frame, raw_table.ROW


def _with_ratings(
  frame: pl.DataFrame,
  table: raw_table.RawTable,
  column: str,
  bad: bad_rows.BadRows,
) -> pl.DataFrame:
  return conversion.optional(
    frame, table, column, bad, convert=values.numbers, expected="a number"
  )


def _review(
  frame: pl.DataFrame,
  names: column_names.InteractionColumns | column_names.ReviewColumns,
) -> pl.Expr:
  """Summary and text, joined; null where both are empty."""
  parts = [
    pl.col(name).cast(pl.String).str.strip_chars().fill_null("")
    for name in (names.summary, names.review)
    if name in frame.columns
  ]
  text = pl.concat_str(parts, separator=" ").str.strip_chars()
  return pl.when(text == "").then(None).otherwise(text)


def _join_reviews(
  log: interaction.InteractionLog,
  table: raw_table.RawTable,
  names: column_names.ReviewColumns,
  bad: bad_rows.BadRows,
) -> interaction.InteractionLog:
  """Adds ratings and review texts by user and item; times stay the log's."""
  frame = table.read(column_names.wanted(names))
  frame = conversion.with_ids(
    frame, table, bad, user=names.user_id, item=names.item_id
  )
  selected = {
    "user_id": pl.col(names.user_id),
    "item_id": pl.col(names.item_id),
    "new_review": _review(frame, names),
  }
  if names.rating in frame.columns:
    frame = _with_ratings(frame, table, names.rating, bad)
    selected["new_rating"] = pl.col(names.rating)
  pair = ["user_id", "item_id"]
  reviews = frame.select(**selected).unique(
    pair, keep="first", maintain_order=True
  )
  if lost := reviews.join(log.frame, on=pair, how="anti").height:
    bad.notes.append(
      f"{lost:,} of the {reviews.height:,} reviews in {table.name} belong to "
      "no interaction"
    )
  joined = log.frame.join(
    reviews, on=pair, how="left", maintain_order="left"
  ).with_columns(pl.coalesce("review", "new_review").alias("review"))
  if "new_rating" in joined.columns:
    joined = joined.with_columns(
      pl.coalesce("rating", "new_rating").alias("rating")
    )
  return interaction.InteractionLog(joined)


def load(
  interactions: _Source,
  items: _Source,
  reviews: _Source | None = None,
  *,
  columns: column_names.Columns | Mapping[str, str] | None = None,
  no_header: Collection[str] = (),
  policy: bad_rows.Policy = "error",
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads a log and a catalogue from plain tables, files or in memory.

  Args:
    interactions: a row an interaction.
    items: a row an item.
    reviews: texts joined by user and item, or None.
    columns: names, or those that differ from the usual ones; see
      `column_names.Columns.of`.
    no_header: which of "interactions", "items" and "reviews" are delimited
      text that does not name its columns; they are called 1, 2, 3 and so on.
    policy: what to do with bad rows.

  Returns:
    The log, the catalogue, and the bad rows that were skipped.

  Raises:
    FileNotFoundError: where a file is missing.
    ValueError: where columns are missing, or a bad row is not to be skipped.
  """
  names = columns
  if not isinstance(names, column_names.Columns):
    names = column_names.Columns.of(names or {})
  sources = {"interactions": interactions, "items": items}
  if reviews is not None:
    sources["reviews"] = reviews
  raw_file.missing(
    path for path in sources.values() if not isinstance(path, pl.DataFrame)
  )
  tables = {
    name: raw_table.of_frame(source, f"the table of {name}")
    if isinstance(source, pl.DataFrame)
    else raw_table.open_table(source, has_header=name not in no_header)
    for name, source in sources.items()
  }
  names.check(tables)
  found = histories.find(tables["interactions"], names.interactions)
  names = dataclasses.replace(names, interactions=found)
  bad = bad_rows.BadRows(policy)
  for name, table in tables.items():
    bad.notes += column_names.unread(table, getattr(names, name))
  items_table, log_table = tables["items"], tables["interactions"]
  frame = items_table.read(column_names.wanted(names.items))
  catalogue = items_from(frame, items_table, names.items, bad)
  frame = log_table.read(column_names.wanted(names.interactions))
  log = log_from(frame, log_table, names.interactions, catalogue, bad)
  if reviews is not None:
    log = _join_reviews(log, tables["reviews"], names.reviews, bad)
  return log, catalogue, bad
