"""RecBole's atomic files: `<name>.inter` and `<name>.item`.

Tab-separated, with a header such as `user_id:token rating:float`.
"""

import dataclasses
import os
import pathlib

from instructrec.data import (
  bad_rows,
  catalog,
  column_names,
  histories,
  interaction,
  raw_table,
  table,
)

_IDS = ("user_id", "item_id")
_TITLES = ("title", "movie_title", "item_name", "name", "app_name")
_CATEGORIES = ("categories", "category", "genre", "genres", "class")
_YEARS = ("release_year", "year", "release_date")
_REVIEWS = ("review_text", "review")


def load(
  directory: str | os.PathLike[str], *, policy: bad_rows.Policy = "error"
) -> tuple[interaction.InteractionLog, catalog.Catalog, bad_rows.BadRows]:
  """Reads a folder with one `.inter` and one `.item` file.

  Args:
    directory: the folder.
    policy: what to do with bad rows.

  Returns:
    The log, the catalogue, and the bad rows that were skipped.

  Raises:
    FileNotFoundError: where one of the files is missing.
    ValueError: where there are several, or a field is missing.
  """
  folder = pathlib.Path(directory).expanduser()
  log_table = raw_table.open_table(_only(folder, "inter"), separator="\t")
  items_table = raw_table.open_table(_only(folder, "item"), separator="\t")
  categories = _first(_CATEGORIES, items_table)
  items_names = column_names.ItemColumns(
    title=_needed(_TITLES, items_table),
    categories=categories,
    year=_first(_YEARS, items_table),
  )
  log_names = histories.find(
    log_table,
    column_names.InteractionColumns(review=_first(_REVIEWS, log_table)),
  )
  for opened, names in ((items_table, ("item_id",)), (log_table, _IDS)):
    for name in names:
      _needed((name,), opened)
  bad = bad_rows.BadRows(policy)
  frame = items_table.read(column_names.wanted(items_names))
  if categories is not None:
    # A token_seq is separated by spaces, or by commas in newer files.
    commas = frame[categories].str.contains(",", literal=True).any()
    items_names = dataclasses.replace(
      items_names, category_separator="," if commas else " "
    )
  items = table.items_from(frame, items_table, items_names, bad)
  frame = log_table.read(column_names.wanted(log_names))
  log = table.log_from(frame, log_table, log_names, items, bad)
  return log, items, bad


def _only(folder: pathlib.Path, suffix: str) -> pathlib.Path:
  """The one file with a suffix."""
  if not folder.is_dir():
    raise FileNotFoundError(f"no such folder: {folder}")
  found = sorted(folder.glob(f"*.{suffix}"))
  if not found:
    raise FileNotFoundError(
      f"{folder} has 0 *.{suffix} files, expected one of RecBole's atomic files"
    )
  if len(found) > 1:
    raise ValueError(
      f"{folder} has {len(found)} *.{suffix} files, expected one: "
      f"{', '.join(path.name for path in found)}; --source=table reads single "
      "ones, as --input and --items"
    )
  return found[0]


def _first(names: tuple[str, ...], opened: raw_table.RawTable) -> str | None:
  return next((name for name in names if name in opened.columns), None)


def _needed(names: tuple[str, ...], opened: raw_table.RawTable) -> str:
  found = _first(names, opened)
  if found is None:
    raise ValueError(
      f"{opened.name} has none of the fields {', '.join(names)}, but "
      f"{column_names.listed(opened.columns)}; --source=table reads tables by "
      "the names that they have"
    )
  return found
