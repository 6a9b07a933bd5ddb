"""RecBole's atomic files: `<name>.inter` and `<name>.item`.

Tab-separated, with a typed header such as `user_id:token rating:float`.
"""

import difflib
import pathlib

import polars as pl

from instructrec.data import bad_rows, catalog, interaction, table

_TITLES = ("title", "movie_title", "item_name", "name", "app_name")
_CATEGORIES = ("categories", "category", "genre", "genres", "class")
_YEARS = ("release_year", "year", "release_date")


def _read(path: pathlib.Path) -> pl.DataFrame:
  frame = table.read_text(path, separator="\t")
  untyped = [n for n in frame.columns[1:] if ":" not in n]
  if untyped:
    raise ValueError(
      f"{path}: the header field {untyped[0]!r} has no type; expected "
      "RecBole's form, such as 'user_id:token'"
    )
  return frame.rename({name: name.split(":")[0] for name in frame.columns[1:]})


def _one_of(
  frame: pl.DataFrame, names: tuple[str, ...], path: pathlib.Path
) -> str:
  for name in names:
    if name in frame.columns:
      return name
  close = difflib.get_close_matches(names[0], frame.columns, n=1)
  raise ValueError(
    f"{path} has none of the fields {names}; found {frame.columns[1:]}"
    + (f", of which {close[0]!r} is nearest" if close else "")
  )


def load(
  directory: pathlib.Path, *, policy: bad_rows.Policy = "error"
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads a folder with one `.inter` and one `.item` file.

  Args:
    directory: the folder.
    policy: what to do with bad rows.

  Returns:
    The log, the catalogue, and the bad rows that were skipped.

  Raises:
    FileNotFoundError: where one of the files is missing.
    ValueError: where a header is not RecBole's, or a field is missing.
  """
  paths = {}
  for suffix in ("inter", "item"):
    found = sorted(pathlib.Path(directory).glob(f"*.{suffix}"))
    if len(found) != 1:
      raise FileNotFoundError(
        f"{directory} has {len(found)} *.{suffix} files, expected one"
      )
    paths[suffix] = found[0]
  bad = bad_rows.BadRows(policy)
  items_frame = _read(paths["item"])
  categories = [name for name in _CATEGORIES if name in items_frame.columns]
  years = [name for name in _YEARS if name in items_frame.columns]
  columns = table.Columns(
    year=years[0] if years else None,
    title=_one_of(items_frame, _TITLES, paths["item"]),
    categories=categories[0] if categories else None,
    # A token_seq is separated by spaces, or by commas in newer files.
    category_separator="," if _has_commas(items_frame, categories) else " ",
    review="review" if "review" in items_frame.columns else "review_text",
  )
  items = table.items_from(items_frame, paths["item"], columns, bad)
  log = table.log_from(
    _read(paths["inter"]), paths["inter"], columns, items, bad
  )
  return log, items, bad


def _has_commas(frame: pl.DataFrame, categories: list[str]) -> bool:
  if not categories:
    return False
  return bool(frame[categories[0]].str.contains(",", literal=True).any())
