"""What is asked of a list: items of an attribute, all, none or so many."""

import dataclasses
import re
from typing import Self

import numpy as np

from instructrec.evaluation import control
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attribute, Kind

PROPORTIONS = (Direction.AT_MOST, Direction.AT_LEAST, Direction.ABOUT)
"""Those that go with a number."""
DIRECTIONS = {
  direction.name.lower(): direction
  for direction in (Direction.WANTED, Direction.UNWANTED, *PROPORTIONS)
}
"""By what they are called in texts."""
_WRITTEN = re.compile(
  rf"(?P<direction>{'|'.join(DIRECTIONS)}) "
  r"(?:(?P<count>\d+)(?P<percent>%?) )?"
  rf"(?P<kind>{'|'.join(Kind)}):(?P<name>.+)"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Constraint:
  """One thing that is asked of a list.

  As text it is direction, number and attribute, `wanted category:puzzles` or
  `at_most 30% brand:Oakline`, which `parse` reads.

  Attributes:
    attribute: what items have.
    direction: how many are to have it.
    count: the number of a proportion, in items or percent; None of others.
    percent: whether it is in percent of the list.

  Raises:
    ValueError: where the number is missing, is one too many, or is out of
      range.
  """

  attribute: Attribute
  direction: Direction
  count: int | None = None
  percent: bool = False

  def __post_init__(self) -> None:
    """Checks that a number stands where one belongs."""
    name = self.direction.name.lower()
    numbered = self.direction in PROPORTIONS
    if name not in DIRECTIONS or (self.count is not None) != numbered:
      raise ValueError(
        f"a constraint of direction {name} has the number {self.count}; "
        "expected at_most, at_least or about with a number, or wanted or "
        "unwanted without"
      )
    number = self.count or 0
    if number < 0 or (self.percent and number > 100):
      raise ValueError(
        f"a constraint has the number {self.count}{'%' * self.percent}; "
        "expected 0 or more items, or 0 to 100 percent"
      )

  def __str__(self) -> str:
    """The constraint as text; see the class."""
    number = "" if self.count is None else f"{self.count}{'%' * self.percent} "
    kind, name = self.attribute.kind, self.attribute.name
    return f"{self.direction.name.lower()} {number}{kind}:{name}"

  @classmethod
  def parse(cls, text: str) -> Self:
    """Reads a constraint.

    Args:
      text: as `str` writes it.

    Returns:
      The constraint.

    Raises:
      ValueError: where it is none.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
      raise ValueError(
        f"{text!r} is no constraint; expected one such as "
        "'wanted category:puzzles' or 'at_most 30% brand:Oakline'"
      )
    count = found["count"]
    return cls(
      Attribute(Kind(found["kind"]), found["name"]),
      DIRECTIONS[found["direction"]],
      None if count is None else int(count),
      percent=bool(found["percent"]),
    )

  def number(self, k: int) -> int:
    """How many items of k the number stands for; 0 of others."""
    if self.count is None or not self.percent:
      return self.count or 0
    return control.count_of_percent(self.count, k, self.direction)

  def is_met(self, having: int, k: int) -> bool:
    """Whether a list does as it is asked, to the letter.

    Args:
      having: how many of its items have the attribute.
      k: how many items it has.

    Returns:
      Whether it does, however many items of the catalogue have it.
    """
    direction, count, length = np.array([self.direction, self.number(k), k])
    wish = control.Wish(direction, count, length, length)
    low, high = control.bounds(wish, length)
    return bool(low <= having <= high)
