"""The items of a catalogue, asked for what they meet."""

import dataclasses
import functools
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.data import catalog as catalog_lib
from instructrec.instructions import attributes as attributes_lib
from instructrec.instructions import spoken, wish_reader
from instructrec.serving.constraints import Constraint, Kind
from instructrec.serving.list_limits import Limit


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
  def has_prices(self) -> bool:
    """Whether any price is known."""
    return bool(np.isfinite(self.prices).any())

  @functools.cached_property
  def years(self) -> Float[np.ndarray, " items"]:
    """Not a number where a year is not known."""
    return np.array(attributes_lib.years(self.catalog), np.float64)

  @functools.cached_property
  def has_years(self) -> bool:
    """Whether those of half of the items are known: else nobody asks for them.

    Of toys some titles end in a year, and "2000" is rather one of pieces.
    """
    return bool(np.isfinite(self.years).mean() >= 0.5)

  def _bounded(self, one: Constraint) -> Float[np.ndarray, " items"] | None:
    """What a constraint bounds; None where it is no bound."""
    if one.bounds_price:
      return self.prices
    return self.years if one.bounds_year else None

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
    listed = self._listed.get(spoken.key(name))
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
      spoken.key(attribute.name): attribute
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
      Truth where it is known: an item without attributes, without a price or
      without a year may have any. None of what is asked of a list, or of
      likeness.
    """
    kind = constraint.kind
    if kind is Kind.EXCLUDED:
      return self.catalog.item_ids[index] != constraint.item_id
    bounded = self._bounded(constraint)
    if bounded is not None:
      value = bounded[index]
      return None if np.isnan(value) else bool(constraint.within(value))
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
        a price or a year where one is asked, of those without any attribute
        where `AMONG` asks for one.

    Returns:
      A truth value for each item of the catalogue.
    """
    kept = np.ones(len(self.catalog), bool)
    for one in constraints:
      if one.kind is Kind.EXCLUDED:
        assert one.item_id is not None
        kept[self.catalog.index(one.item_id)] = False
      elif (bounded := self._bounded(one)) is not None:
        kept &= one.within(bounded) | np.isnan(bounded) & unknown
      elif one.kind is Kind.UNWANTED:
        kept &= ~self._having(one)
    among = [self._having(one) for one in constraints if one.kind is Kind.AMONG]
    if among:
      kept &= np.any(among, axis=0) | self._bare & unknown
    return kept

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

  def limits(self, constraints: Sequence[Constraint], k: int) -> list[Limit]:
    """Which items at most so many may have, of constraints on a list.

    Args:
      constraints: what is asked.
      k: how many items are asked for, of which a percentage is a share.
    """
    return [
      Limit(self._having(one), one.count(k))
      for one in constraints
      if one.kind is Kind.AT_MOST
    ]
