"""MovieLens in its three layouts.

| layout | files | form |
|---|---|---|
| latest, 20M, 25M, 32M | ratings.csv, movies.csv | CSV with header |
| 1M, 10M | ratings.dat, movies.dat | fields between `::` |
| 100K | u.data, u.item | tabs and `|`, no header |
"""

import pathlib

import polars as pl

from instructrec.data import bad_rows, catalog, interaction, table

_COLUMNS = table.Columns(categories="genres", category_separator="|")
_RATINGS = ["user_id", "item_id", "rating", "timestamp"]
_GENRES_100K = (
  "unknown Action Adventure Animation Children's Comedy Crime Documentary "
  "Drama Fantasy Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller "
  "War Western"
).split()


def _read(path: pathlib.Path) -> tuple[str, str]:
  """Text and encoding: UTF-8 from 10M on; 100K and 1M are in Latin-1."""
  try:
    return path.read_text(encoding="utf-8"), "utf-8"
  except UnicodeDecodeError:
    return path.read_text(encoding="latin-1"), "latin-1"


def _double_colon(path: pathlib.Path, names: list[str]) -> pl.DataFrame:
  """Reads fields between `::`, which no CSV reader splits."""
  text, _ = _read(path)
  # Not `splitlines`, for which a title may hold an end of line.
  lines = text.removesuffix("\n").split("\n")
  parts = pl.Series("line", lines).str.split("::")
  frame = pl.DataFrame(
    {name: parts.list.get(i, null_on_oob=True) for i, name in enumerate(names)}
  )
  return frame.with_row_index("_line", offset=1)


def _items_100k(path: pathlib.Path) -> pl.DataFrame:
  names = ["item_id", "title", "released", "video", "url", *_GENRES_100K]
  _, encoding = _read(path)
  frame = table.read_text(
    path,
    separator="|",
    has_header=False,
    new_columns=names,
    encoding=encoding,
  )
  genres = pl.concat_list(
    pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K
  ).list.drop_nulls()
  return frame.select("_line", "item_id", "title", genres.alias("genres"))


def load(
  directory: pathlib.Path, *, policy: bad_rows.Policy = "error"
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
  folder = pathlib.Path(directory)
  bad = bad_rows.BadRows(policy)
  if (folder / "ratings.csv").is_file():
    names = {"movieId": "item_id", "userId": "user_id"}
    paths = folder / "ratings.csv", folder / "movies.csv"
    ratings, movies = (
      table.read_text(path).rename(names, strict=False) for path in paths
    )
  elif (folder / "ratings.dat").is_file():
    paths = folder / "ratings.dat", folder / "movies.dat"
    ratings = _double_colon(paths[0], _RATINGS)
    movies = _double_colon(paths[1], ["item_id", "title", "genres"])
  elif (folder / "u.data").is_file():
    paths = folder / "u.data", folder / "u.item"
    ratings = table.read_text(
      paths[0], separator="\t", has_header=False, new_columns=_RATINGS
    )
    movies = _items_100k(paths[1])
  else:
    raise FileNotFoundError(
      f"{folder} has none of ratings.csv, ratings.dat and u.data; expected an "
      "unpacked MovieLens data set"
    )
  if not isinstance(movies["genres"].dtype, pl.List):
    movies = movies.with_columns(
      pl.col("genres").str.replace("(no genres listed)", "", literal=True)
    )
  items = table.items_from(movies, paths[1], _COLUMNS, bad)
  log = table.log_from(ratings, paths[0], _COLUMNS, items, bad)
  return log, items, bad
