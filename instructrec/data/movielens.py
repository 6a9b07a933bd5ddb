"""MovieLens in its three layouts.

| layout | files | form |
|---|---|---|
| latest, 20M, 25M, 32M | ratings.csv, movies.csv | CSV with header |
| 1M, 10M | ratings.dat, movies.dat | fields between `::` |
| 100K | u.data, u.item | tabs and `|`, no header |

100K and 1M are in Latin-1, the others in UTF-8.
"""

import dataclasses
import os
import pathlib

import polars as pl

from instructrec.data import (
  bad_rows,
  catalog,
  column_names,
  interaction,
  raw_file,
  raw_table,
  table,
)

_RATINGS = column_names.InteractionColumns(
  position=None, review=None, summary=None, history=None
)
_MOVIES = column_names.ItemColumns(
  categories="genres",
  category_separator="|",
  brand=None,
  price=None,
  description=None,
  year=None,
)
_RATING_FIELDS = ["user_id", "item_id", "rating", "timestamp"]
_GENRES_100K = (
  "unknown Action Adventure Animation Children's Comedy Crime Documentary "
  "Drama Fantasy Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller "
  "War Western"
).split()
_ITEM_FIELDS_100K = [
  "item_id", "title", "released", "video", "url", *_GENRES_100K
]  # fmt: skip


def load(
  directory: str | os.PathLike[str], *, policy: bad_rows.Policy = "error"
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads a MovieLens folder; which layout it has is seen from its files.

  Args:
    directory: the unpacked data set.
    policy: what to do with bad rows.

  Returns:
    The log, the catalogue (genres as categories), and the bad rows skipped.

  Raises:
    FileNotFoundError: where the files of no layout are there.
    ValueError: where a field is wrong, or a bad row is not to be skipped.
  """
  ratings, movies = _open(pathlib.Path(directory).expanduser())
  ratings_names, movies_names = _RATINGS, _MOVIES
  if "movieId" in movies.columns:
    ratings_names = dataclasses.replace(
      _RATINGS, user_id="userId", item_id="movieId"
    )
    movies_names = dataclasses.replace(_MOVIES, item_id="movieId")
  bad = bad_rows.BadRows(policy)
  if "url" in movies.columns:
    frame = movies.read(_ITEM_FIELDS_100K).with_columns(
      pl.concat_list(
        pl.when(pl.col(genre) == "1").then(pl.lit(genre))
        for genre in _GENRES_100K
      )
      .list.drop_nulls()
      .alias("genres")
    )
  else:
    frame = movies.read(column_names.wanted(movies_names)).with_columns(
      pl.col("genres").str.replace("(no genres listed)", "", literal=True)
    )
  items = table.items_from(frame, movies, movies_names, bad)
  frame = ratings.read(column_names.wanted(ratings_names))
  log = table.log_from(frame, ratings, ratings_names, items, bad)
  return log, items, bad


def _open(
  folder: pathlib.Path,
) -> tuple[raw_table.RawTable, raw_table.RawTable]:
  """Ratings and movies of whichever layout there is."""
  if not folder.is_dir():
    raise FileNotFoundError(f"no such folder: {folder}")
  fields: tuple[list[str] | None, list[str] | None] = None, None
  if (folder / "ratings.csv").is_file():
    paths = folder / "ratings.csv", folder / "movies.csv"
    separators = ",", ","
  elif (folder / "ratings.dat").is_file():
    paths = folder / "ratings.dat", folder / "movies.dat"
    fields = _RATING_FIELDS, ["item_id", "title", "genres"]
    separators = "::", "::"
  elif (folder / "u.data").is_file():
    paths = folder / "u.data", folder / "u.item"
    fields = _RATING_FIELDS, _ITEM_FIELDS_100K
    separators = "\t", "|"
  else:
    raise FileNotFoundError(
      f"{folder} has none of ratings.csv, ratings.dat and u.data; expected an "
      "unpacked MovieLens data set"
    )
  raw_file.missing(paths)
  return (
    raw_table.open_table(paths[0], names=fields[0], separator=separators[0]),
    raw_table.open_table(
      paths[1], names=fields[1], separator=separators[1], latin1=True
    ),
  )
