"""The catalogue: what can be recommended, by id and by title."""

import collections
import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping
from functools import cached_property

import polars as pl

from instructrec.data import distinct_titles, frames, interaction, item_text

SCHEMA: dict[str, pl.DataType] = {
  "item_id": pl.String(),
  "title": pl.String(),
  "categories": pl.List(pl.String()),
  "brand": pl.String(),
  "price": pl.Float64(),
  "description": pl.String(),
  "year": pl.Int64(),
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
    year: of release, or None.
  """

  item_id: str
  title: str
  categories: tuple[str, ...] = ()
  brand: str | None = None
  price: float | None = None
  description: str | None = None
  year: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Cleaning:
  """What was done to brands and categories that had markup, links or worse.

  Attributes:
    num_cleaned: names that can be said without it.
    num_left_out: names of which nothing is left, or that are no names.
    example: the first item that had one, and the name; None where none had.
  """

  num_cleaned: int = 0
  num_left_out: int = 0
  example: tuple[str, str] | None = None

  def remarks(self) -> list[str]:
    """What was done, in words; nothing where nothing was."""
    if self.example is None:
      return []
    item, name = self.example
    shown = name if len(name) <= 60 else f"{name[:57]}..."
    return [
      f"{self.num_cleaned:,} brands and categories were cleaned of markup and "
      f"links, {self.num_left_out:,} left out, of which nothing can be said; "
      f"the first is {shown!r} of item {item!r}"
    ]


class Catalog:
  """Items by id, with titles that can be told apart.

  Entities in texts are resolved, markup and links of brands and categories
  taken out. Titles that several items share, or that only look different to a
  program (a Roman numeral that is one character, or two letters), get their
  brand behind them, or the year of release, or a number where these do not tell
  them apart: a title must name one item, for titles are what the model ranks.

  Args:
    frame: the columns of `SCHEMA`; only `item_id` and `title` are required.
    looks: what else must tell titles apart, such as the tokens of a
      vocabulary; `item_text.look` always does.

  Raises:
    ValueError: where ids repeat, or titles are missing or empty.
  """

  def __init__(
    self, frame: pl.DataFrame, looks: distinct_titles.Looks | None = None
  ) -> None:
    for name in ("item_id", "title"):
      if name not in frame.columns:
        raise ValueError(
          f"the catalogue lacks the column {name!r}; found {frame.columns}"
        )
    frame = frames.of_schema(frame, SCHEMA)
    self._given, self.cleaning = _cleaned(frame)
    self._looks = looks
    repeated = frame.filter(pl.col("item_id").is_duplicated())
    if repeated.height:
      raise ValueError(
        f"item id {repeated['item_id'][0]!r} occurs more than once in the "
        "catalogue; expected unique ids"
      )
    empty = [
      item_id
      for item_id, title in self._given.select("item_id", "title").iter_rows()
      if not item_text.look(title)
    ]
    if empty:
      raise ValueError(
        f"item {empty[0]!r} has no title ({len(empty)} such items); drop them "
        "or fill the titles in"
      )
    titles = distinct_titles.of(self._given, looks)
    self.num_title_collisions = int((titles != self._given["title"]).sum())
    frame = self._given.with_columns(titles)
    has_years = frame["year"].null_count() < frame.height
    # Tables of catalogues without years have the fingerprint they always had.
    self.frame = frame if has_years else frame.drop("year")

  def remade(
    self,
    *,
    kept: Collection[str] | None = None,
    retitled: Callable[[str], str] | None = None,
    looks: distinct_titles.Looks | None = None,
  ) -> "Catalog":
    """Another catalogue of these items; titles are told apart anew.

    Args:
      kept: ids of the items that stay; None for all.
      retitled: a title's new form; None for the titles as they are.
      looks: see the class; None for those of this catalogue.

    Returns:
      The catalogue, with the `cleaning` of this one; this one itself where
      nothing is asked for.
    """
    if kept is retitled is looks is None:
      return self
    frame = self._given
    if kept is not None:
      frame = frame.filter(pl.col("item_id").is_in(list(kept)))
    if retitled is not None:
      titles = [retitled(title) for title in frame["title"]]
      frame = frame.with_columns(pl.Series("title", titles, pl.String))
    result = Catalog(frame, looks or self._looks)
    result.cleaning = self.cleaning
    return result

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
  def years(self) -> list[int | None]:
    """Years of release, aligned with `item_ids`."""
    return self._given["year"].to_list()

  @cached_property
  def _indices(self) -> Mapping[str, int]:
    return {item_id: i for i, item_id in enumerate(self.item_ids)}

  @cached_property
  def _by_title(self) -> Mapping[str, int]:
    return {title: i for i, title in enumerate(self.titles)}

  @cached_property
  def _by_folded_title(self) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = collections.defaultdict(list)
    for i, title in enumerate(self.titles):
      found[_folded(title)].append(i)
    return dict(found)

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
      near = _nearest(item_id, self.frame["item_id"])
      raise KeyError(f"no item has the id {item_id!r}{near}") from None

  def title(self, item_id: str) -> str:
    """Title of an item; raises as `index` does."""
    return self.titles[self.index(item_id)]

  def named(self, text: str) -> str | None:
    """Id of the one item that has a text for its title, whatever its case.

    Args:
      text: any text, such as one that may be no title.

    Returns:
      The item id; None where no item, or more than one, is called so.
    """
    text = " ".join(text.split())
    exact = self._by_title.get(text)
    if exact is not None:
      return self.item_ids[exact]
    found = self._by_folded_title.get(_folded(text), [])
    return self.item_ids[found[0]] if len(found) == 1 else None

  def find_title(self, text: str) -> str:
    """Id of the item with a title, by exact match, then ignoring case.

    Args:
      text: the title; letters may be composed or not.

    Returns:
      The item id.

    Raises:
      ValueError: where no title matches, naming the nearest ones, or where
        several do that differ in case alone.
    """
    text = " ".join(text.split())
    if (item := self.named(text)) is not None:
      return item
    found = self._by_folded_title.get(_folded(text), [])
    if not found:
      raise ValueError(
        f"no item is called {text!r}{_nearest(text, self.frame['title'])}"
      )
    if len(found) > 1:
      titles = ", ".join(repr(self.titles[i]) for i in found)
      raise ValueError(
        f"{len(found)} items are called {text!r} but for its case: {titles}; "
        "write it as one of these"
      )
    return self.item_ids[found[0]]

  def fingerprint(self) -> str:
    """SHA-256 over all items, as "sha256:<hex>"."""
    return interaction.frame_fingerprint(self.frame)


_COMPARED, _PIECES = 200, 64
"""Names that a text is compared with letter by letter, which takes long; and
pieces of three letters by which these are chosen."""


def _nearest(text: str, known: pl.Series) -> str:
  """The nearest names, in words; of many, those that share most with a text."""
  if text and len(known) > _COMPARED:
    every = [text[i : i + 3] for i in range(max(len(text) - 2, 1))]
    pieces = every[:: -(-len(every) // _PIECES)]
    shared = known.str.extract_many(
      pieces, ascii_case_insensitive=True, overlapping=True
    ).list.n_unique()
    table = pl.DataFrame({"name": known, "shared": shared})
    table = table.sort("shared", descending=True, maintain_order=True)
    known = table["name"].head(_COMPARED)
  close = difflib.get_close_matches(text, known.to_list(), n=3, cutoff=0.4)
  quoted = ", ".join(repr(name) for name in close)
  return f"; the nearest are {quoted}" if close else "; none is similar"


def _folded(title: str) -> str:
  return item_text.look(title).casefold()


def _cleaned(frame: pl.DataFrame) -> tuple[pl.DataFrame, Cleaning]:
  """Texts in one line, names that can be said; and what was done to names."""
  names = pl.concat(
    [frame["brand"], frame["categories"].explode()]
  ).drop_nulls()
  said = {name: item_text.name(name) for name in names.unique()}
  changed = {name: found for name, found in said.items() if found != name}
  marked = {
    name
    for name, found in changed.items()
    if name.strip() and (found is None or item_text.MARKUP.search(name))
  }
  frame = frame.with_columns(
    pl.Series(
      "title", [item_text.plain(t or "") for t in frame["title"]], pl.String
    ),
    pl.col("categories").fill_null([]),
    pl.Series(
      "description",
      [text and item_text.plain(text) for text in frame["description"]],
      pl.String,
    ),
  )
  cleaning = _counted(frame, marked, said) if marked else Cleaning()
  if changed:
    replaced = {"old": list(changed), "new": list(changed.values())}
    frame = frame.with_columns(
      pl.col("brand").replace(**replaced),
      pl.col("categories").list.eval(
        pl.element().replace(**replaced).drop_nulls()
      ),
    )
  return frame, cleaning


def _counted(
  frame: pl.DataFrame, marked: Collection[str], said: Mapping[str, str | None]
) -> Cleaning:
  """How many brands and categories have one of the names in `marked`."""
  found = [
    (item, name)
    for item, brand, entries in frame.select(
      "item_id", "brand", "categories"
    ).iter_rows()
    for name in (brand, *entries)
    if name in marked
  ]
  num_left_out = sum(said[name] is None for _, name in found)
  return Cleaning(len(found) - num_left_out, num_left_out, found[0])
