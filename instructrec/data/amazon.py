"""Amazon's raw reviews and metadata, of 2018 and of 2023.

The two differ in names: a row tells its schema by `reviewerID` (2018) or
`user_id` (2023). Timestamps of 2023 are in milliseconds. Prices are text such
as "$12.99"; ranges and other text count as no price.
"""

import dataclasses
import pathlib

import polars as pl

from instructrec.data import bad_rows, catalog, interaction, table


@dataclasses.dataclass(frozen=True)
class _Schema:
  """Names of the fields, and how many ticks a second has."""

  name: str
  user: str
  item: str
  rating: str
  time: str
  ticks: int
  text: str
  summary: str
  categories: str
  brand: str


_2018 = _Schema(
  name="2018",
  user="reviewerID",
  item="asin",
  rating="overall",
  time="unixReviewTime",
  ticks=1,
  text="reviewText",
  summary="summary",
  categories="category",
  brand="brand",
)
_2023 = _Schema(
  name="2023",
  user="user_id",
  item="parent_asin",
  rating="rating",
  time="timestamp",
  ticks=1000,
  text="text",
  summary="title",
  categories="categories",
  brand="store",
)


def schema_of(frame: pl.DataFrame, path: pathlib.Path) -> _Schema:
  """The schema of a table of reviews.

  Raises:
    ValueError: where it is neither.
  """
  for schema in (_2018, _2023):
    if {schema.user, schema.item, schema.rating} <= set(frame.columns):
      return schema
  raise ValueError(
    f"{path} has the fields {frame.columns[1:]}; expected those of 2018 "
    "(reviewerID, asin, overall, ...) or of 2023 (user_id, parent_asin, "
    "rating, ...)"
  )


def load(
  reviews: pathlib.Path,
  metadata: pathlib.Path,
  *,
  policy: bad_rows.Policy = "error",
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads reviews and metadata (`.jsonl` or `.json`, a row a line, or .gz).

  Args:
    reviews: the review file.
    metadata: the metadata file.
    policy: what to do with bad rows; raw metadata do have some (items without
      a title), so "skip" is common here.

  Returns:
    The log, the catalogue, and the bad rows that were skipped.

  Raises:
    FileNotFoundError: where a file is missing.
    ValueError: where the schema is neither, or a bad row is not to be skipped.
  """
  bad = bad_rows.BadRows(policy)
  frame = table.read_text(reviews)
  schema = schema_of(frame, reviews)
  meta = table.read_text(metadata)
  for name in ("title", schema.item):
    if name not in meta.columns:
      raise ValueError(
        f"{metadata} has no field {name!r} (the reviews are of "
        f"{schema.name}); found {meta.columns[1:]}"
      )
  meta = _clean_metadata(meta, schema)
  columns = table.Columns(
    item_id=schema.item,
    user_id=schema.user,
    rating=schema.rating,
    timestamp=schema.time,
    review=schema.text,
    summary=schema.summary,
    categories=schema.categories,
    brand=schema.brand,
  )
  items = table.items_from(meta, metadata, columns, bad)
  if schema.ticks != 1:
    frame = frame.with_columns(pl.col(schema.time) // schema.ticks)
  return table.log_from(frame, reviews, columns, items, bad), items, bad


def _clean_metadata(frame: pl.DataFrame, schema: _Schema) -> pl.DataFrame:
  """Prices as numbers, descriptions as one text, titles without markup."""
  changes = [pl.col("title").cast(pl.String).str.replace_all(r"<[^>]*>", "")]
  if "price" in frame.columns:
    text = pl.col("price").cast(pl.String).str.strip_chars()
    number = text.str.extract(r"^\$?([0-9][0-9,]*(?:\.[0-9]+)?)$")
    changes.append(
      number.str.replace_all(",", "").cast(pl.Float64).alias("price")
    )
  if "description" in frame.columns and isinstance(
    frame["description"].dtype, pl.List
  ):
    changes.append(pl.col("description").list.join(" "))
  return frame.with_columns(changes)
