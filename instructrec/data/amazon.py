"""Amazon's raw reviews and metadata, of 2014, of 2018 and of 2023.

They differ in names: a row of 2023 says `user_id`, the older ones `reviewerID`.
Timestamps of 2023 are in milliseconds. Metadata of 2014 have lists of paths of
categories, and a Python literal a line or JSON. Prices are text such as
"$12.99"; ranges and other text count as no price.
"""

import dataclasses
import os

import polars as pl

from instructrec.data import (
  bad_rows,
  catalog,
  column_names,
  histories,
  interaction,
  raw_file,
  raw_table,
  table,
  values,
)


@dataclasses.dataclass(frozen=True)
class _Schema:
  """Names of the fields, and how many ticks a second has."""

  name: str
  interactions: column_names.InteractionColumns
  items: column_names.ItemColumns
  ticks: int


_2018 = _Schema(
  "2014 or 2018",
  column_names.InteractionColumns(
    user_id="reviewerID",
    item_id="asin",
    rating="overall",
    timestamp="unixReviewTime",
    position=None,
    review="reviewText",
    summary="summary",
  ),
  column_names.ItemColumns(item_id="asin", categories="category"),
  ticks=1,
)
_2023 = _Schema(
  "2023",
  column_names.InteractionColumns(
    user_id="user_id",
    item_id="parent_asin",
    rating="rating",
    timestamp="timestamp",
    position=None,
    review="text",
    summary="title",
  ),
  column_names.ItemColumns(item_id="parent_asin", brand="store"),
  ticks=1000,
)


def load(
  reviews: str | os.PathLike[str],
  metadata: str | os.PathLike[str],
  *,
  policy: bad_rows.Policy = "error",
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads reviews and metadata, a row a line, gzipped or not.

  Of both only the fields that are used are read: metadata have thousands.

  Args:
    reviews: the review file.
    metadata: the metadata file.
    policy: what to do with bad rows; raw metadata do have some (items without
      a title), so "skip" is common here.

  Returns:
    The log, the catalogue, and the bad rows that were skipped.

  Raises:
    FileNotFoundError: where a file is missing.
    ValueError: where the schema is none, or a bad row is not to be skipped.
  """
  raw_file.missing([reviews, metadata])
  review_table = raw_table.open_table(reviews, python=True)
  meta_table = raw_table.open_table(metadata, python=True)
  schema = _schema_of(review_table)
  names = schema.items
  if "category" not in meta_table.columns:
    names = dataclasses.replace(names, categories="categories")
  for name in (names.title, names.item_id):
    if name not in meta_table.columns:
      raise ValueError(
        f"{meta_table.name} has no field {name!r} (the reviews are of "
        f"{schema.name}), but {column_names.listed(meta_table.columns)}"
      )
  bad = bad_rows.BadRows(policy)
  frame = _cleaned(meta_table.read(column_names.wanted(names)))
  items = table.items_from(frame, meta_table, names, bad)
  log_names = histories.find(review_table, schema.interactions)
  frame = review_table.read(column_names.wanted(log_names))
  log = table.log_from(
    frame, review_table, log_names, items, bad, ticks=schema.ticks
  )
  return log, items, bad


def _schema_of(reviews: raw_table.RawTable) -> _Schema:
  for schema in (_2018, _2023):
    names = schema.interactions
    if {names.user_id, names.item_id, names.rating} <= {*reviews.columns}:
      return schema
  raise ValueError(
    f"{reviews.name} has the fields {column_names.listed(reviews.columns)}; "
    "expected those of 2014 or 2018 (reviewerID, asin, overall, ...) or of "
    "2023 (user_id, parent_asin, rating, ...)"
  )


def _cleaned(frame: pl.DataFrame) -> pl.DataFrame:
  """Descriptions as one text, titles without markup."""
  frame = frame.with_columns(
    pl.col("title").cast(pl.String).str.replace_all(r"<[^>]*>", "")
  )
  if "description" not in frame.columns:
    return frame
  description = frame["description"]
  is_list = description.str.starts_with("[").fill_null(False)
  joined = values.strings(description.set(~is_list, None), " ").list.join(" ")
  return frame.with_columns(description.zip_with(~is_list, joined))
