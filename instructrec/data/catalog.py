"""The catalogue: what can be recommended, by id and by title."""

import dataclasses
import difflib
import html
from collections.abc import Mapping, Sequence
from functools import cached_property

import polars as pl

from instructrec.data import interaction

SCHEMA: dict[str, pl.DataType] = {
  "item_id": pl.String(),
  "title": pl.String(),
  "categories": pl.List(pl.String()),
  "brand": pl.String(),
  "price": pl.Float64(),
  "description": pl.String(),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
  """One item of the catalogue.

  Attributes:
    item_id: unique id.
    title: unique title, what the model reads and writes.
    categories: from general to specific; may be empty.
    brand: maker, or None.
    price: in the source's currency, or None.
    description: text, or None.
  """

  item_id: str
  title: str
  categories: tuple[str, ...] = ()
  brand: str | None = None
  price: float | None = None
  description: str | None = None


class Catalog:
  """Items by id, with unique titles.

  HTML entities in titles are resolved. Titles that several items share get
  their brand behind them, or their number where that does not tell them apart:
  a title must name one item, for titles are what the model ranks.

  Args:
    frame: the columns of `SCHEMA`; only `item_id` and `title` are required.

  Raises:
    ValueError: where ids repeat, or titles are missing or empty.
  """

  def __init__(self, frame: pl.DataFrame) -> None:
    for name in ("item_id", "title"):
      if name not in frame.columns:
        raise ValueError(
          f"the catalogue lacks the column {name!r}; found {frame.columns}"
        )
    frame = frame.select(
      (
        pl.col(name).cast(dtype)
        if name in frame.columns
        else pl.lit(None, dtype).alias(name)
      )
      for name, dtype in SCHEMA.items()
    ).with_columns(pl.col("categories").fill_null([]))
    frame = frame.with_columns(clean_titles(frame["title"]))
    repeated = frame.filter(pl.col("item_id").is_duplicated())
    if repeated.height:
      raise ValueError(
        f"item id {repeated['item_id'][0]!r} occurs more than once in the "
        "catalogue; expected unique ids"
      )
    empty = frame.filter(pl.col("title").fill_null("") == "")
    if empty.height:
      raise ValueError(
        f"item {empty['item_id'][0]!r} has no title ({empty.height} such "
        "items); drop them or fill the titles in"
      )
    self.frame, self.num_title_collisions = _disambiguate(frame)

  def __len__(self) -> int:
    return self.frame.height

  def __contains__(self, item_id: str) -> bool:
    return item_id in self._indices

  def __getitem__(self, item_id: str) -> Item:
    row = self.frame.row(self.index(item_id), named=True)
    return Item(**{**row, "categories": tuple(row["categories"])})

  @cached_property
  def item_ids(self) -> list[str]:
    """Ids, in the order of the catalogue."""
    return self.frame["item_id"].to_list()

  @cached_property
  def titles(self) -> list[str]:
    """Titles, aligned with `item_ids`."""
    return self.frame["title"].to_list()

  @cached_property
  def _indices(self) -> Mapping[str, int]:
    return {item_id: i for i, item_id in enumerate(self.item_ids)}

  @cached_property
  def _by_title(self) -> Mapping[str, int]:
    return {title: i for i, title in enumerate(self.titles)}

  @cached_property
  def _by_folded_title(self) -> Mapping[str, int]:
    return {title.casefold(): i for i, title in enumerate(self.titles)}

  def index(self, item_id: str) -> int:
    """Position of an item in the catalogue.

    Args:
      item_id: the id.

    Returns:
      The position.

    Raises:
      KeyError: for an unknown id, naming the nearest known ones.
    """
    try:
      return self._indices[item_id]
    except KeyError:
      raise KeyError(
        f"no item has the id {item_id!r}{_nearest(item_id, self.item_ids)}"
      ) from None

  def title(self, item_id: str) -> str:
    """Title of an item; raises as `index` does."""
    return self.titles[self.index(item_id)]

  def find_title(self, text: str) -> str:
    """Id of the item with a title, by exact match, then ignoring case.

    Args:
      text: the title.

    Returns:
      The item id.

    Raises:
      ValueError: where no title matches, naming the nearest ones.
    """
    text = " ".join(text.split())
    found = self._by_title.get(text)
    if found is None:
      found = self._by_folded_title.get(text.casefold())
    if found is None:
      raise ValueError(
        f"no item is called {text!r}{_nearest(text, self.titles)}"
      )
    return self.item_ids[found]

  def fingerprint(self) -> str:
    """SHA-256 over all items, as "sha256:<hex>"."""
    return interaction.frame_fingerprint(self.frame)


def clean_titles(titles: pl.Series) -> pl.Series:
  """Titles as the catalogue has them.

  Args:
    titles: text; web shops leave "&amp;" behind.

  Returns:
    The same on one line with single spaces, for titles are joined into lists;
    empty where nothing is left.
  """
  return (
    titles.map_elements(html.unescape, return_dtype=pl.String())
    .str.replace_all(r"\s+", " ")
    .str.strip_chars()
  )


def _nearest(text: str, known: Sequence[str]) -> str:
  close = difflib.get_close_matches(text, known, n=3, cutoff=0.4)
  quoted = ", ".join(repr(name) for name in close)
  return f"; the nearest are {quoted}" if close else "; none is similar"


def _disambiguate(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
  """Makes titles unique; returns the table and how many titles changed."""
  titles = frame["title"].to_list()
  shared = frame["title"].is_duplicated().to_list()
  if not any(shared):
    return frame, 0
  brands = frame["brand"].to_list()
  taken = {t for t, again in zip(titles, shared, strict=True) if not again}
  changed = 0
  for i, title in enumerate(titles):
    if not shared[i]:
      continue
    wanted, number = title, 1
    if title in taken and brands[i]:
      wanted = f"{title} ({brands[i]})"
    while wanted in taken:
      number += 1
      wanted = f"{title} (#{number})"
    changed += wanted != title
    titles[i] = wanted
    taken.add(wanted)
  return frame.with_columns(pl.Series("title", titles)), changed
