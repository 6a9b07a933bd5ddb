"""What somebody asks of items, one thing at a time, and which items meet it.

Some kinds only move an item up or down, by what the run has learnt; others
bind, and keep items out.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.data import catalog as catalog_lib
from instructrec.instructions import attributes as attributes_lib
from instructrec.instructions import spoken as spoken_lib
from instructrec.instructions import wish_reader

_Attribute = attributes_lib.Kind


class Kind(enum.StrEnum):
  """What is asked."""

  WANTED = "wanted"
  LIKE = "like"
  AMONG = "among"
  UNWANTED = "unwanted"
  AT_MOST = "at_most"
  MAX_PRICE = "max_price"
  MIN_PRICE = "min_price"
  EXCLUDED = "excluded"


_SOFT = frozenset((Kind.WANTED, Kind.LIKE))
"""Kinds that do not bind."""


@dataclasses.dataclass(frozen=True, slots=True)
class Constraint:
  """One thing that is asked of items.

  Attributes:
    kind: what is asked.
    attribute: what an item is to have, or not; None for prices and items.
    number: of a price, in the catalogue's currency, or how many items.
    item_id: of an item, for `LIKE` and `EXCLUDED`.
    title: of that item.

  Raises:
    ValueError: where the number is none.
  """

  kind: Kind
  attribute: attributes_lib.Attribute | None = None
  number: float | None = None
  item_id: str | None = None
  title: str | None = None

  def __post_init__(self) -> None:
    """Checks the number."""
    if self.number is not None and not math.isfinite(self.number):
      raise ValueError(f"{self.kind} is {self.number}, expected a number")

  @property
  def binds(self) -> bool:
    """Whether no item may break it."""
    return self.kind not in _SOFT

  @property
  def bounds_price(self) -> bool:
    """Whether it is a bound on prices."""
    return self.kind in (Kind.MAX_PRICE, Kind.MIN_PRICE)

  @property
  def text(self) -> str:
    """It in words: "no puzzles", "at most 20"."""
    name = self.attribute.name if self.attribute else repr(self.title)
    amount = "" if self.number is None else f"{self.number:g}"
    return {
      Kind.WANTED: name,
      Kind.LIKE: f"like {name}",
      Kind.AMONG: f"among {name}",
      Kind.UNWANTED: f"no {name}",
      Kind.AT_MOST: f"at most {amount} of {name}",
      Kind.MAX_PRICE: f"a price of at most {amount}",
      Kind.MIN_PRICE: f"a price of at least {amount}",
      Kind.EXCLUDED: f"not {name}",
    }[self.kind]

  def to_json(self) -> dict[str, Any]:
    """As structure: text and numbers alone."""
    attribute = self.attribute
    return {
      "kind": self.kind.value,
      "attribute": attribute
      and {"kind": attribute.kind.value, "name": attribute.name},
      "number": self.number,
      "item_id": self.item_id,
      "title": self.title,
      "text": self.text,
      "binds": self.binds,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Limit:
  """How many items of a list may have something.

  Attributes:
    having: which items of the catalogue have it.
    most: how many.
  """

  having: Bool[np.ndarray, " items"]
  most: int


@dataclasses.dataclass(frozen=True, eq=False)
class Shelf:
  """A catalogue's items, asked for what they meet.

  Attributes:
    catalog: the items.
    attributes: what they have.
  """

  catalog: catalog_lib.Catalog
  attributes: attributes_lib.Attributes

  @functools.cached_property
  def prices(self) -> Float[np.ndarray, " items"]:
    """Not a number where a price is not known."""
    return self.catalog.frame["price"].fill_null(float("nan")).to_numpy()

  @functools.cached_property
  def _numbers(self) -> dict[attributes_lib.Attribute, int]:
    every = self.attributes.attributes
    return {attribute: number for number, attribute in enumerate(every)}

  def number(self, attribute: attributes_lib.Attribute) -> int:
    """The number of an attribute."""
    return self._numbers[attribute]

  def named(self, kind: Kind, name: str) -> Constraint:
    """A constraint on an attribute that is named.

    Args:
      kind: what is asked of it.
      name: as it is said, in singular or plural.

    Returns:
      The constraint.

    Raises:
      ValueError: where the catalogue has no such attribute.
    """
    listed = self._listed.get(spoken_lib.key(name))
    if listed is not None:
      return Constraint(kind, listed)
    number = self.attributes.find(name)
    if number is None:
      raise ValueError(
        f"no items are known as {name!r}; expected a category, a brand or "
        "words that several titles of the catalogue share"
      )
    return Constraint(kind, self.attributes.attributes[number])

  @functools.cached_property
  def _listed(self) -> dict[tuple[str, ...], attributes_lib.Attribute]:
    """Categories and brands by name, those that are no attributes as well."""
    return {
      spoken_lib.key(attribute.name): attribute
      for attribute in reversed(self._items_of)
    }

  @functools.cached_property
  def _items_of(
    self,
  ) -> dict[attributes_lib.Attribute, Int[np.ndarray, " having"]]:
    found = {
      attributes_lib.Attribute(kind, name): np.unique(items)
      for kind, make in (
        (attributes_lib.Kind.CATEGORY, attributes_lib.categories),
        (attributes_lib.Kind.BRAND, attributes_lib.brands),
      )
      for name, items in make(self.catalog).items()
    }
    every = enumerate(self.attributes.attributes)
    return found | {one: self.attributes.items(n) for n, one in every}

  def of_item(self, kind: Kind, item_id: str) -> Constraint:
    """A constraint on one item; raises KeyError for an unknown one."""
    title = self.catalog.title(item_id)
    return Constraint(kind, item_id=item_id, title=title)

  def of_reading(self, read: wish_reader.ReadWish) -> list[Constraint]:
    """What was read in a wish, as constraints that do not filter by it."""
    every = self.attributes.attributes
    return [
      *(Constraint(Kind.WANTED, every[number]) for number in read.wanted),
      *(Constraint(Kind.UNWANTED, every[number]) for number in read.unwanted),
    ]

  def meets(self, constraint: Constraint, index: int) -> bool | None:
    """Whether an item meets a constraint by itself.

    Args:
      constraint: what is asked.
      index: position of the item in the catalogue.

    Returns:
      Truth where it is known: an item without attributes, or without a price,
      may have any. None of what is asked of a list, or of likeness.
    """
    kind = constraint.kind
    if kind is Kind.EXCLUDED:
      return self.catalog.item_ids[index] != constraint.item_id
    if constraint.bounds_price:
      price = float(self.prices[index])
      if np.isnan(price):
        return None
      assert constraint.number is not None
      if kind is Kind.MAX_PRICE:
        return price <= constraint.number
      return price >= constraint.number
    if constraint.attribute is None or kind is Kind.AT_MOST:
      return None
    found = bool(np.isin(index, self._items_of[constraint.attribute]))
    if not found and not self.attributes.of_item(index):
      return None
    return found != (kind is Kind.UNWANTED)

  def allowed(
    self, constraints: Sequence[Constraint], *, unknown: bool = False
  ) -> Bool[np.ndarray, " items"]:
    """The items that break nothing that binds.

    Items of which nothing is known are not kept out by what is unwanted. Where
    several things are asked for by `AMONG`, an item must have one of them.

    Args:
      constraints: what is asked.
      unknown: what is said of items of which it is not known: of those without
        a price where a price is asked, of those without any attribute where
        `AMONG` asks for one.

    Returns:
      A truth value for each item of the catalogue.
    """
    kept = np.ones(len(self.catalog), bool)
    for one in constraints:
      if one.kind is Kind.EXCLUDED:
        assert one.item_id is not None
        kept[self.catalog.index(one.item_id)] = False
      elif one.kind is Kind.MAX_PRICE:
        kept &= (self.prices <= one.number) | self._no_price & unknown
      elif one.kind is Kind.MIN_PRICE:
        kept &= (self.prices >= one.number) | self._no_price & unknown
      elif one.kind is Kind.UNWANTED:
        kept &= ~self._having(one)
    among = [self._having(one) for one in constraints if one.kind is Kind.AMONG]
    if among:
      kept &= np.any(among, axis=0) | self._bare & unknown
    return kept

  @functools.cached_property
  def _no_price(self) -> Bool[np.ndarray, " items"]:
    return np.isnan(self.prices)

  @functools.cached_property
  def _bare(self) -> Bool[np.ndarray, " items"]:
    """Items without any attribute."""
    having = np.zeros(len(self.catalog), bool)
    for items in self._items_of.values():
      having[items] = True
    return ~having

  def allows_text(
    self, constraints: Sequence[Constraint], named: Collection[int]
  ) -> bool:
    """Whether a text that is no item breaks nothing that binds.

    What it names it has; of what it costs nothing is known.

    Args:
      constraints: what is asked.
      named: numbers of the attributes that it names.

    Returns:
      Whether it is not known to break anything.
    """
    binding = (Kind.UNWANTED, Kind.AMONG)
    found = {
      kind: {
        self.number(one.attribute)
        for one in constraints
        if one.kind is kind and one.attribute is not None
      }
      for kind in binding
    }
    among = found[Kind.AMONG]
    if among and named and among.isdisjoint(named):
      return False
    return found[Kind.UNWANTED].isdisjoint(named)

  def _having(self, one: Constraint) -> Bool[np.ndarray, " items"]:
    assert one.attribute is not None
    found = np.zeros(len(self.catalog), bool)
    found[self._items_of[one.attribute]] = True
    return found

  def limits(self, constraints: Sequence[Constraint]) -> list[Limit]:
    """Which items at most so many may have, of constraints on a list."""
    return [
      Limit(self._having(one), int(one.number or 0))
      for one in constraints
      if one.kind is Kind.AT_MOST
    ]


def first(
  order: Int[np.ndarray, " places"], limits: Sequence[Limit], k: int | None
) -> Int[np.ndarray, " first"]:
  """The first items of an order that exceed no limit.

  Args:
    order: positions in the catalogue, the best first.
    limits: of the list.
    k: how many items; None for all.

  Returns:
    The positions, in the same order.
  """
  if not limits:
    return order[:k]
  kept, left = list[int](), [limit.most for limit in limits]
  for place in order.tolist():
    if len(kept) == k:
      break
    touched = [i for i, limit in enumerate(limits) if limit.having[place]]
    if all(left[i] for i in touched):
      kept.append(place)
      for i in touched:
        left[i] -= 1
  return np.array(kept, np.int64)


def told(
  constraints: Sequence[Constraint],
  breaking: Bool[np.ndarray, " candidates"],
  what: str,
) -> list[str]:
  """What is done with candidates that all have a place, in words.

  Args:
    constraints: what a wish asks.
    breaking: which candidates break something that binds.
    what: the candidates are called.

  Returns:
    Notes; none where nothing was done.
  """
  binding = [one for one in constraints if one.binds]
  of_list = [one.text for one in binding if one.kind is Kind.AT_MOST]
  texts = [one.text for one in binding if one.kind is not Kind.AT_MOST]
  notes = []
  if count := int(breaking.sum()):
    notes.append(
      f"{count} of {len(breaking)} {what} break what the wish asks "
      f"({', '.join(texts)}) and stand behind the others"
    )
  if of_list:
    notes.append(
      f"all {what} are ranked, so that this does not hold: {', '.join(of_list)}"
    )
  return notes


def spoken(constraints: Sequence[Constraint]) -> str | None:
  """What is wanted and what is not, as a wish that `wish_reader` reads.

  Args:
    constraints: some; those of other kinds are left out.

  Returns:
    The wish; None where nothing is wanted and nothing unwanted.
  """
  names: dict[Kind, list[str]] = {
    Kind.WANTED: [],
    Kind.AMONG: [],
    Kind.UNWANTED: [],
  }
  for one in constraints:
    if one.kind in names and one.attribute is not None:
      # "Cheap" and "Robot" are no things; "cheap things" are.
      called = one.attribute.kind in (_Attribute.PRICE, _Attribute.KEYPHRASE)
      name = one.attribute.name
      names[one.kind].append(f"{name} things" if called else name)
  sentences = []
  if names[Kind.WANTED]:
    sentences.append(f"I would like {_joined(names[Kind.WANTED], 'and')}.")
  if names[Kind.AMONG]:
    sentences.append(f"Only {_joined(names[Kind.AMONG], 'or')}.")
  if names[Kind.UNWANTED]:
    sentences.append(f"No {_joined(names[Kind.UNWANTED], 'or')}.")
  return " ".join(sentences) or None


def _joined(names: Sequence[str], word: str) -> str:
  *most, last = names
  return f"{', '.join(most)} {word} {last}" if most else last
