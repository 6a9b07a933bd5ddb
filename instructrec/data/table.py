"""Plain tables: TSV, CSV, JSONL, Parquet, gzipped or not.

Everything is read as text first and then converted column by column, so that a
value that does not convert can be named with its line.
"""

import dataclasses
import gzip
import pathlib
from collections.abc import Mapping

import polars as pl

from instructrec.data import bad_rows, catalog, interaction

_LINE = "_line"
_TEXT_NULLS = ("", "null", "NULL", "None")
_YEAR = r"(?:^|\D)((?:18|19|20)\d\d)(?:\D|$)"


@dataclasses.dataclass(frozen=True)
class Columns:
  """Names of the columns in the files; None where there is no such column.

  Attributes:
    user_id: in interactions and reviews.
    item_id: in all three tables.
    timestamp: in interactions, Unix seconds.
    position: in interactions: place in the user's sequence; used as order
      where there is no timestamp.
    rating: in interactions, else in reviews.
    review: in interactions, else in reviews.
    summary: in reviews: heading, put before the review.
    title: in items.
    categories: in items: a list, or text split at `category_separator`.
    category_separator: between categories.
    brand: in items.
    price: in items.
    description: in items.
    year: in items: of release, or a date that has it.
  """

  user_id: str = "user_id"
  item_id: str = "item_id"
  timestamp: str | None = "timestamp"
  position: str | None = "position"
  rating: str | None = "rating"
  review: str | None = "text"
  summary: str | None = "summary"
  title: str = "title"
  categories: str | None = "categories"
  category_separator: str = " > "
  brand: str | None = "brand"
  price: str | None = "price"
  description: str | None = "description"
  year: str | None = "year"


def read_text(
  path: pathlib.Path,
  *,
  separator: str | None = None,
  has_header: bool = True,
  new_columns: list[str] | None = None,
  encoding: str = "utf8",
) -> pl.DataFrame:
  """Reads a table; delimited values stay text, and `_line` is the line.

  Args:
    path: .tsv, .csv, .jsonl (or .json with a row a line) or .parquet; the
      first three also with .gz.
    separator: of delimited text; None to go by the name.
    has_header: whether the first line of delimited text names the columns.
    new_columns: their names where it does not.
    encoding: of delimited text.

  Returns:
    The table.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: for other kinds of file, and for files that do not parse.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no such file: {path}")
  kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
  separators = {"tsv": "\t", "csv": ","}
  try:
    if kind == "parquet":
      frame = pl.read_parquet(path)
    elif kind in ("jsonl", "json") and separator is None:
      frame = pl.read_ndjson(path, infer_schema_length=None)
    elif separator is not None or kind in separators:
      delimiter = separator or separators[kind]
      frame = pl.read_csv(
        path,
        separator=delimiter,
        has_header=has_header,
        new_columns=new_columns,
        infer_schema=False,
        # Titles hold stray quotes; only CSV quotes its fields.
        quote_char='"' if delimiter == "," else None,
        encoding=encoding,
      )
    else:
      raise ValueError(
        f"{path} is no .tsv, .csv, .jsonl or .parquet file (or .gz of one)"
      )
  except pl.exceptions.PolarsError as error:
    if "utf-8" in str(error).lower():
      _require_utf8(path)
    raise ValueError(f"{path} does not parse as {kind}: {error}") from error
  first = 2 if has_header and kind not in ("jsonl", "json", "parquet") else 1
  return frame.with_row_index(_LINE, offset=first)


def _require_utf8(path: pathlib.Path) -> None:
  """Raises a ValueError that names the first line that is no UTF-8."""
  with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
    for number, line in enumerate(file, 1):
      try:
        line.decode()
      except UnicodeDecodeError as error:
        found = line[max(error.start - 20, 0) : error.start + 1]
        raise ValueError(
          f"{path}, line {number}: found {found!r}, expected UTF-8; convert "
          "the file, for example with `iconv -f LATIN1 -t UTF-8` if Latin-1 is "
          "what it was written in"
        ) from error


def require(
  frame: pl.DataFrame,
  column: str,
  path: pathlib.Path,
  bad: bad_rows.BadRows,
  *,
  dtype: pl.DataType | None = None,
  expected: str = "a value",
  optional: bool = False,
) -> pl.DataFrame:
  """Converts a column; rows whose value does not convert are bad rows.

  Args:
    frame: with `_line`.
    column: which column.
    path: the file, for messages.
    bad: takes the bad rows.
    dtype: type to convert to; None for text.
    expected: what should stand there, for messages.
    optional: whether nothing is fine, too.

  Returns:
    The table without its bad rows.

  Raises:
    ValueError: where there is no such column.
    BadRowError: for a bad row, unless they are skipped.
  """
  if column not in frame.columns:
    names = [name for name in frame.columns if name != _LINE]
    raise ValueError(
      f"{path} has the columns {names}, but not {column!r}; name the right "
      "one in the column mapping"
    )
  text = pl.col(column).cast(pl.String).str.strip_chars()
  value = pl.when(text.is_in(_TEXT_NULLS)).then(None).otherwise(text)
  target = dtype or pl.String()
  if target.is_integer():
    # 1.26e9 and 1260759144.0 are whole numbers, too.
    converted = value.cast(pl.Float64, strict=False).cast(target, strict=False)
  else:
    converted = value.cast(target, strict=False)
  if target.is_numeric():
    number = value.cast(pl.Float64, strict=False)
    converted = pl.when(number.is_finite()).then(converted).otherwise(None)
  wrong = converted.is_null()
  if optional:
    wrong &= value.is_not_null()
  found = frame.filter(wrong)
  if found.height:
    shown = found[column][0]
    bad.add(
      bad_rows.BadRow(
        path=str(path),
        line=int(found[_LINE][0]),
        field=column,
        found="nothing" if shown in (None, "") else repr(shown),
        expected=expected,
      ),
      found.height,
    )
  return frame.filter(~wrong).with_columns(converted.alias(column))


def items_from(
  frame: pl.DataFrame,
  path: pathlib.Path,
  columns: Columns,
  bad: bad_rows.BadRows,
) -> catalog.Catalog:
  """A catalogue from a table of items.

  Args:
    frame: with `_line`.
    path: the file, for messages.
    columns: names of the columns.
    bad: takes the bad rows.

  Returns:
    The catalogue; of items that occur twice, the first.
  """
  frame = require(frame, columns.item_id, path, bad, expected="an item id")
  frame = require(frame, columns.title, path, bad, expected="a title")
  selected = {
    "item_id": pl.col(columns.item_id),
    "title": pl.col(columns.title),
  }
  for name in ("brand", "description"):
    column = getattr(columns, name)
    if column in frame.columns:
      text = pl.col(column).cast(pl.String).str.strip_chars()
      selected[name] = pl.when(text == "").then(None).otherwise(text)
  if columns.price in frame.columns:
    frame = require(
      frame,
      columns.price,
      path,
      bad,
      dtype=pl.Float64(),
      expected="a number",
      optional=True,
    )
    selected["price"] = pl.col(columns.price)
  if columns.year in frame.columns:
    date = pl.col(columns.year).cast(pl.String)
    selected["year"] = date.str.extract(_YEAR).cast(pl.Int64)
  if columns.categories in frame.columns:
    value = pl.col(columns.categories)
    if not isinstance(frame[columns.categories].dtype, pl.List):
      value = value.fill_null("").str.split(columns.category_separator)
    selected["categories"] = value.list.eval(
      pl.element().str.strip_chars()
    ).list.eval(pl.element().filter(pl.element() != ""))
  table = frame.select(**selected).unique(
    "item_id", keep="first", maintain_order=True
  )
  return catalog.Catalog(table)


def log_from(
  frame: pl.DataFrame,
  path: pathlib.Path,
  columns: Columns,
  items: catalog.Catalog,
  bad: bad_rows.BadRows,
) -> interaction.InteractionLog:
  """A log from a table of interactions.

  Args:
    frame: with `_line`.
    path: the file, for messages.
    columns: names of the columns.
    items: interactions with other items are bad rows.
    bad: takes the bad rows.

  Returns:
    The log, ordered by timestamp, else by position, else as in the file.
  """
  frame = require(frame, columns.user_id, path, bad, expected="a user id")
  frame = require(frame, columns.item_id, path, bad, expected="an item id")
  selected = {
    "user_id": pl.col(columns.user_id),
    "item_id": pl.col(columns.item_id),
    "order": pl.col(_LINE).cast(pl.Int64),
  }
  if columns.position in frame.columns:
    frame = require(
      frame,
      columns.position,
      path,
      bad,
      dtype=pl.Int64(),
      expected="a whole number",
    )
    selected["order"] = pl.col(columns.position)
  if columns.timestamp in frame.columns:
    frame = require(
      frame,
      columns.timestamp,
      path,
      bad,
      dtype=pl.Int64(),
      expected="a whole number (Unix seconds)",
    )
    selected["timestamp"] = pl.col(columns.timestamp)
    selected["order"] = pl.col(columns.timestamp)
  if columns.rating in frame.columns:
    frame = require(
      frame,
      columns.rating,
      path,
      bad,
      dtype=pl.Float64(),
      expected="a number",
      optional=True,
    )
    selected["rating"] = pl.col(columns.rating)
  if columns.review in frame.columns:
    selected["review"] = _review(frame, columns)
  unknown = frame.filter(~pl.col(columns.item_id).is_in(items.item_ids))
  if unknown.height:
    bad.add(
      bad_rows.BadRow(
        path=str(path),
        line=int(unknown[_LINE][0]),
        field=columns.item_id,
        found=repr(unknown[columns.item_id][0]),
        expected="an item of the catalogue",
      ),
      unknown.height,
    )
    frame = frame.filter(pl.col(columns.item_id).is_in(items.item_ids))
  return interaction.InteractionLog(frame.select(**selected))


def _review(frame: pl.DataFrame, columns: Columns) -> pl.Expr:
  """Summary and text, joined; null where both are empty."""
  parts = [
    pl.col(name).cast(pl.String).str.strip_chars().fill_null("")
    for name in (columns.summary, columns.review)
    if name in frame.columns
  ]
  text = pl.concat_str(parts, separator=" ").str.strip_chars()
  return pl.when(text == "").then(None).otherwise(text)


def _join_reviews(
  log: interaction.InteractionLog,
  path: pathlib.Path,
  columns: Columns,
  bad: bad_rows.BadRows,
) -> interaction.InteractionLog:
  """Adds ratings and review texts by user and item; times stay the log's."""
  frame = read_text(path)
  frame = require(frame, columns.user_id, path, bad, expected="a user id")
  frame = require(frame, columns.item_id, path, bad, expected="an item id")
  if columns.review not in frame.columns:
    raise ValueError(
      f"{path} has no column {columns.review!r} with the text of reviews; "
      f"found {frame.columns[1:]}"
    )
  selected = {
    "user_id": pl.col(columns.user_id),
    "item_id": pl.col(columns.item_id),
    "new_review": _review(frame, columns),
  }
  if columns.rating in frame.columns:
    rating = pl.col(columns.rating).cast(pl.Float64, strict=False)
    selected["new_rating"] = rating
  reviews = frame.select(**selected).unique(
    ["user_id", "item_id"], keep="first", maintain_order=True
  )
  joined = log.frame.join(
    reviews, on=["user_id", "item_id"], how="left", maintain_order="left"
  ).with_columns(pl.coalesce("review", "new_review").alias("review"))
  if "new_rating" in joined.columns:
    joined = joined.with_columns(
      pl.coalesce("rating", "new_rating").alias("rating")
    )
  return interaction.InteractionLog(joined)


def load(
  interactions: pathlib.Path,
  items: pathlib.Path,
  reviews: pathlib.Path | None = None,
  *,
  columns: Columns | Mapping[str, str] | None = None,
  policy: bad_rows.Policy = "error",
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads a log and a catalogue from plain tables.

  Args:
    interactions: a row an interaction.
    items: a row an item.
    reviews: texts joined by user and item, or None.
    columns: names of the columns, or those that differ from the default.
    policy: what to do with bad rows.

  Returns:
    The log, the catalogue, and the bad rows that were skipped.

  Raises:
    FileNotFoundError: where a file is missing.
    ValueError: where a column is missing, or a bad row is not to be skipped.
  """
  names = columns if isinstance(columns, Columns) else Columns(**columns or {})
  bad = bad_rows.BadRows(policy)
  found_items = items_from(read_text(items), items, names, bad)
  log = log_from(read_text(interactions), interactions, names, found_items, bad)
  if reviews is not None:
    log = _join_reviews(log, reviews, names, bad)
  return log, found_items, bad
