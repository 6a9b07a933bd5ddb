"""What somebody asks of items, one thing at a time, and how it is said.

Some kinds only move an item up or down, by what the run has learnt; others
bind, and keep items out. Which items meet it, `item_shelf` knows.
"""

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from instructrec.instructions import attributes as attributes_lib

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
  MAX_YEAR = "max_year"
  MIN_YEAR = "min_year"
  YEAR = "year"
  EXCLUDED = "excluded"
  PLACES = "places"


_SOFT = frozenset((Kind.WANTED, Kind.LIKE))
"""Kinds that do not bind."""
BOUNDS = {
  Kind.MAX_PRICE: _Attribute.PRICE,
  Kind.MIN_PRICE: _Attribute.PRICE,
  Kind.MAX_YEAR: _Attribute.DECADE,
  Kind.MIN_YEAR: _Attribute.DECADE,
  Kind.YEAR: _Attribute.DECADE,
}
"""Kinds that bound a number of an item, and the attribute it is behind."""
_OF_LISTS = frozenset((Kind.AT_MOST, Kind.PLACES))
_HIGHEST = frozenset((Kind.MAX_PRICE, Kind.MAX_YEAR))


@dataclasses.dataclass(frozen=True, slots=True)
class Constraint:
  """One thing that is asked of items.

  Attributes:
    kind: what is asked.
    attribute: what an item is to have, or not; None for prices, years and
      items.
    number: of a price, in the catalogue's currency, a year, or how many items.
    percent: of `AT_MOST`, whether the number is in percent of the list.
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
  percent: bool = False

  def __post_init__(self) -> None:
    """Checks the number."""
    if self.number is not None and not math.isfinite(self.number):
      raise ValueError(f"{self.kind} is {self.number}, expected a number")

  @property
  def binds(self) -> bool:
    """Whether no item may break it."""
    return self.kind not in _SOFT

  @property
  def about(self) -> attributes_lib.Kind | None:
    """What it is about, in kinds of attributes: a bound on years, decades."""
    if self.kind in BOUNDS:
      return BOUNDS[self.kind]
    return None if self.attribute is None else self.attribute.kind

  @property
  def bounds_price(self) -> bool:
    """Whether it is a bound on prices."""
    return BOUNDS.get(self.kind) is _Attribute.PRICE

  @property
  def bounds_year(self) -> bool:
    """Whether it is a bound on years."""
    return BOUNDS.get(self.kind) is _Attribute.DECADE

  def within(
    self, values: Float[np.ndarray, " items"]
  ) -> Bool[np.ndarray, " items"]:
    """Which prices, or years, its bound allows; not those unknown (NaN)."""
    assert self.number is not None
    if self.kind is Kind.YEAR:
      return values == self.number
    if self.kind in _HIGHEST:
      return values <= self.number
    return values >= self.number

  def excludes(self, other: "Constraint") -> bool:
    """Whether another bound leaves nothing of this one: under 5, over 10."""
    value = other.number
    return value is not None and not self.within(np.array(value))

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
      Kind.AT_MOST: f"at most {amount}{'%' * self.percent} of {name}",
      Kind.MAX_PRICE: f"a price of at most {amount}",
      Kind.MIN_PRICE: f"a price of at least {amount}",
      Kind.MAX_YEAR: f"from {amount} or earlier",
      Kind.MIN_YEAR: f"from {amount} or later",
      Kind.YEAR: f"from {amount}",
      Kind.EXCLUDED: f"not {name}",
      Kind.PLACES: f"{amount} item{'s' * (self.number != 1)}",
    }[self.kind]

  def count(self, k: int) -> int:
    """How many of k items the number stands for; 0 where there is none.

    A share is rounded down: "at most" stays true.
    """
    number = int(self.number or 0)
    return number * k // 100 if self.percent else number

  def to_json(self) -> dict[str, Any]:
    """As structure: text and numbers alone."""
    attribute = self.attribute
    return {
      "kind": self.kind.value,
      "attribute": attribute
      and {"kind": attribute.kind.value, "name": attribute.name},
      "number": self.number,
      "percent": self.percent,
      "item_id": self.item_id,
      "title": self.title,
      "text": self.text,
      "binds": self.binds,
    }


def places(constraints: Sequence[Constraint], k: int) -> tuple[int, list[str]]:
  """How many items a list has of which somebody may say how many.

  Args:
    constraints: what is asked.
    k: how many at most.

  Returns:
    The number, and a note where more are asked for.
  """
  asked = [one.number for one in constraints if one.kind is Kind.PLACES]
  most = int(asked[-1] or k) if asked else k
  if most <= k:
    return most, []
  return k, [f"{most} items are asked for, and at most {k} given"]


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
  of_list = [one.text for one in binding if one.kind in _OF_LISTS]
  texts = [one.text for one in binding if one.kind not in _OF_LISTS]
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
