"""What items have, as people say it.

An attribute is something that a person can ask for, or ask to be spared, and
that several items of the catalogue have: a category, a brand, a price band, a
decade, or words that several titles share.

| kind | made from |
|---|---|
| category | each level of an item's categories; `Games > Puzzles` is two |
| brand | the brand |
| price | terciles of the prices that there are: cheap, middling, expensive |
| decade | a year at the end of the title, `Heat (1995)`, or of release |
| keyphrase | words of titles: `Xbox 360`, `Dinosaur` |

What fewer than a handful of items have names an item, and what more than half
of them have says nothing; neither is an attribute. No two attributes are said
alike: a category goes before a brand, and a keyphrase comes last.
"""

import collections
import dataclasses
import enum
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Int

from instructrec.data.catalog import Catalog
from instructrec.instructions import (
  keyphrases,
  spoken,
  title_words,
  wish_cues,
)

MIN_ITEMS = 5
MIN_SHARE = 1 / 5000
MAX_SHARE = 0.5
PRICE_BANDS = ("cheap", "middling", "expensive")
_FRAGMENT = 0.8
"""Words that are this often part of longer ones are a piece of a name."""
_MIN_PRICES = 15
_LONG = 7
"""Letters that a name has which may be written in one word."""
_YEAR = re.compile(r"\(((?:19|20)\d\d)\)\s*$")
_SAYS_NOTHING = (
  title_words.NO_TASTE
  | keyphrases.STOP_WORDS
  | wish_cues.ORDINARY
  | wish_cues.CONTINUES
  | wish_cues.ENDS
  | wish_cues.FILLERS
  | {word for (word, *more) in wish_cues.CUES if not more}
)
_SAYS_NOTHING |= {spoken.singular(word) for word in _SAYS_NOTHING}
_PARTS = re.compile(r"\s*(?:,|&|/|;|\band\b)\s*")


class Kind(enum.StrEnum):
  """What an attribute is made from, the preferred one first."""

  CATEGORY = "category"
  BRAND = "brand"
  PRICE = "price"
  DECADE = "decade"
  KEYPHRASE = "keyphrase"


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
  """Something that several items have.

  Attributes:
    kind: what it is made from.
    name: as it is said.
  """

  kind: Kind
  name: str


class Attributes:
  """The attributes of a catalogue, and which items have them.

  Args:
    attributes: each said in its own way.
    items: of each, the positions of its items in the catalogue, ascending.
    num_items: size of the catalogue.
    words: of its titles, which are no misspellings of others.
    said: numbers by other words for attributes; see `spoken.key`.
  """

  def __init__(
    self,
    attributes: Sequence[Attribute],
    items: Sequence[Int[np.ndarray, " having"]],
    num_items: int,
    words: frozenset[str] = frozenset(),
    said: Mapping[tuple[str, ...], int] = types.MappingProxyType({}),
  ) -> None:
    self.attributes = tuple(attributes)
    self.num_items = num_items
    self.words = words
    self._items = tuple(items)
    found: list[list[int]] = [[] for _ in range(num_items)]
    for number, having in enumerate(self._items):
      for item in having.tolist():
        found[item].append(number)
    self._of_item = [tuple(numbers) for numbers in found]
    self.spoken = _spoken(self.attributes, said)
    """Numbers by what is said: see `spoken.key`."""

  @classmethod
  def of(cls, catalog: Catalog, *, min_items: int = MIN_ITEMS) -> Self:
    """Finds the attributes of a catalogue.

    Args:
      catalog: the items.
      min_items: that an attribute must have, and at least 1 in 5,000.

    Returns:
      The attributes, by kind and then by name.
    """
    fewest = max(min_items, math.ceil(len(catalog) * MIN_SHARE))
    most = len(catalog) * MAX_SHARE
    found: dict[tuple[str, ...], tuple[Attribute, list[int]]] = {}
    makers: Sequence[Callable[[Catalog, int], Mapping[str, Sequence[int]]]] = (
      categories,
      brands,
      _prices,
      _decades,
      _keyphrases,
    )
    for kind, make in zip(Kind, makers, strict=True):
      for name, items in sorted(make(catalog, fewest).items()):
        key = spoken.key(name)
        unique = sorted(set(items))
        if key and key not in found and fewest <= len(unique) <= most:
          found[key] = Attribute(kind, name), unique
    same = _said_of_others(catalog, found)
    for key in same:
      found.pop(key, None)
    numbers = {key: number for number, key in enumerate(found)}
    return cls(
      [attribute for attribute, _ in found.values()],
      [np.array(items, np.int64) for _, items in found.values()],
      len(catalog),
      _title_words(catalog),
      {key: numbers[meant] for key, meant in same.items()},
    )

  def __len__(self) -> int:
    return len(self.attributes)

  def find(self, name: str) -> int | None:
    """The attribute of a spoken name, in singular or plural.

    Args:
      name: such as "Board game".

    Returns:
      Its number, or None.
    """
    return self.spoken.get(spoken.key(name))

  def of_item(self, index: int) -> tuple[int, ...]:
    """Numbers of an item's attributes, ascending.

    Args:
      index: position of the item in the catalogue.

    Returns:
      The numbers.
    """
    return self._of_item[index]

  def items(self, number: int) -> Int[np.ndarray, " having"]:
    """Positions of the items that have an attribute, ascending.

    Args:
      number: of the attribute.

    Returns:
      The positions.
    """
    return self._items[number]

  def mask(self, number: int) -> Bool[np.ndarray, " items"]:
    """Which items of the catalogue have an attribute.

    Args:
      number: of the attribute.

    Returns:
      A truth value for each item.
    """
    result = np.zeros(self.num_items, bool)
    result[self._items[number]] = True
    return result

  def bits(self, numbers: Iterable[int], unwanted: Iterable[int] = ()) -> float:
    """What a wish for attributes says of the item that is wanted.

    Args:
      numbers: attributes that it has, all of them.
      unwanted: attributes of which it has none.

    Returns:
      log2(items of the catalogue / items that fit); infinite where none fits.
    """
    fits = np.ones(self.num_items, bool)
    for number in numbers:
      fits &= self.mask(number)
    for number in unwanted:
      fits[self._items[number]] = False
    count = int(fits.sum())
    return math.log2(self.num_items / count) if count else math.inf


def _said_of_others(
  catalog: Catalog,
  found: Mapping[tuple[str, ...], tuple[Attribute, list[int]]],
) -> dict[tuple[str, ...], tuple[str, ...]]:
  """Words that say a whole category or brand: "dice" of dice games."""
  names: dict[str, list[tuple[str, ...]]] = collections.defaultdict(list)
  for key, (attribute, _) in found.items():
    if attribute.kind in (Kind.CATEGORY, Kind.BRAND) and len(key) > 1:
      for word in set(key) - _SAYS_NOTHING:
        names[word].append(key)
  having: dict[str, set[int]] = collections.defaultdict(set)
  for item, title in enumerate(catalog.titles):
    for word in names.keys() & set(spoken.key(title)):
      having[word].add(item)
  result: dict[tuple[str, ...], tuple[str, ...]] = {}
  for word, keys in names.items():
    taken = found.get((word,))
    if taken is not None and taken[0].kind is not Kind.KEYPHRASE:
      continue
    for key in keys:
      items = set(found[key][1])
      both = len(having[word] & items)
      if both and both >= _FRAGMENT * len(having[word] | items):
        result[word,] = key
  return result


def _spoken(
  attributes: Sequence[Attribute], said: Mapping[tuple[str, ...], int]
) -> dict[tuple[str, ...], int]:
  """What is said for each attribute: its name, other words, its parts."""
  found: dict[tuple[str, ...], int] = {}
  for number, attribute in enumerate(attributes):
    found.setdefault(spoken.key(attribute.name), number)
  for name, synonyms in spoken.SYNONYMS.items():
    meant = found.get(spoken.key(name))
    if meant is not None:
      for synonym in synonyms:
        found.setdefault(spoken.key(synonym), meant)
  for number, attribute in enumerate(attributes):
    if attribute.kind is Kind.CATEGORY:
      for part in _said_parts(attribute.name):
        found.setdefault(part, number)
  for key, number in said.items():
    found.setdefault(key, number)
  for key, number in list(found.items()):
    if len(key) == 2 and len("".join(key)) >= _LONG:  # "boardgames"
      found.setdefault(("".join(key),), number)
  return found


def _said_parts(name: str) -> list[tuple[str, ...]]:
  """Dolls, for example, for "Dolls & Accessories"."""
  parts = [spoken.key(part) for part in _PARTS.split(name.casefold())]
  if len(parts) < 2:
    return []
  return [part for part in parts if part and not _SAYS_NOTHING.issuperset(part)]


def _title_words(catalog: Catalog) -> frozenset[str]:
  """Whoever writes one has not mistyped another."""
  return frozenset(
    word for title in catalog.titles for word in spoken.words(title)
  )


def categories(catalog: Catalog, _: int = 0) -> dict[str, list[int]]:
  """Positions of the items of each category, of every level; any number."""
  found = collections.defaultdict(list)
  for item, entries in enumerate(catalog.frame["categories"].to_list()):
    for entry in entries:
      for level in re.split(r">|\|", entry):
        found[" ".join(level.casefold().split())].append(item)
  return found


def brands(catalog: Catalog, _: int = 0) -> dict[str, list[int]]:
  """Positions of the items of each brand; any number."""
  found = collections.defaultdict(list)
  for item, brand in enumerate(catalog.frame["brand"].to_list()):
    if brand and not title_words.NO_TASTE.issuperset(spoken.words(brand)):
      found[" ".join(brand.split())].append(item)
  return found


def price_levels(catalog: Catalog) -> tuple[float, float] | None:
  """Where cheap ends and expensive begins, by terciles.

  Args:
    catalog: the items.

  Returns:
    The highest cheap and the highest middling price; None where prices say
    nothing of taste: there are few, or most items cost the same.
  """
  prices = catalog.frame["price"].fill_null(float("nan")).to_numpy()
  known = prices[np.isfinite(prices)]
  if len(known) < _MIN_PRICES:
    return None
  low, high = map(float, np.quantile(known, [1 / 3, 2 / 3]))
  return (low, high) if known.min() < high and low < high else None


def _prices(catalog: Catalog, _: int) -> dict[str, list[int]]:
  levels = price_levels(catalog)
  if levels is None:
    return {}
  low, high = levels
  prices = catalog.frame["price"].fill_null(float("nan")).to_numpy()
  bands = (prices <= low, (prices > low) & (prices <= high), prices > high)
  return {
    name: np.flatnonzero(band).tolist()
    for name, band in zip(PRICE_BANDS, bands, strict=True)
  }


def years(catalog: Catalog) -> list[int | None]:
  """The year of each item: that at the end of its title, or of its release."""
  found = map(_YEAR.search, catalog.titles)
  return [
    int(said[1]) if said else released or None
    for said, released in zip(found, catalog.years, strict=True)
  ]


def _decades(catalog: Catalog, _: int) -> dict[str, list[int]]:
  found = collections.defaultdict(list)
  for item, year in enumerate(years(catalog)):
    if year is not None:
      found[f"{year // 10}0s"].append(item)
  return found


def _keyphrases(catalog: Catalog, fewest: int) -> dict[str, list[int]]:
  """Words that titles share and that are no piece of longer ones.

  The title of a film is a name, whatever single words it has: nobody who
  wants "Heat" wants heat.
  """
  phrases = keyphrases.of_catalog(catalog)
  dated = sum(map(bool, map(_YEAR.search, catalog.titles)))
  shortest = 2 if dated > len(catalog) / 2 else 1
  found: dict[str, list[int]] = collections.defaultdict(list)
  says: dict[str, bool] = {}
  for item, title in enumerate(catalog.titles):
    for phrase in phrases.mentioned(title):
      if phrase not in says:
        says[phrase] = not any(
          _SAYS_NOTHING.issuperset(map(spoken.singular, words(phrase)))
          for words in (keyphrases.tokens, spoken.words)
        )
      if says[phrase]:
        found[phrase].append(item)
    for word in title_words.THEMES.intersection(keyphrases.tokens(title)):
      found[word.capitalize()].append(item)
  merged: dict[tuple[str, ...], dict[str, list[int]]] = {}
  for phrase, items in found.items():
    if len(spoken.key(phrase)) >= shortest:
      merged.setdefault(spoken.key(phrase), {})[phrase] = items
  joined = {
    key: sorted(set().union(*forms.values())) for key, forms in merged.items()
  }
  counts = {key: len(items) for key, items in joined.items()}
  pieces = set()
  for key, count in counts.items():
    for size in range(1, len(key)):
      for start in range(len(key) - size + 1):
        piece = key[start : start + size]
        if count >= max(fewest, _FRAGMENT * counts.get(piece, math.inf)):
          pieces.add(piece)
  return {
    # The commonest form names them all.
    min(merged[key], key=lambda form: (-len(merged[key][form]), form)): items
    for key, items in joined.items()
    if key not in pieces
  }
