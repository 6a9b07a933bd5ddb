"""What is asked of a list: items of an attribute, all, none or so many."""

import dataclasses
import enum
import re
from typing import Self

from instructrec.instructions.attributes import Attribute, Kind


class Direction(enum.StrEnum):
  """How many items of a list are to have an attribute."""

  WANTED = "wanted"
  """All."""
  UNWANTED = "unwanted"
  """None."""
  AT_MOST = "at_most"
  AT_LEAST = "at_least"
  ABOUT = "about"

  @property
  def is_proportion(self) -> bool:
    """Whether it goes with a number."""
    return self in PROPORTIONS


PROPORTIONS = (Direction.AT_MOST, Direction.AT_LEAST, Direction.ABOUT)
_WRITTEN = re.compile(
  rf"(?P<direction>{'|'.join(Direction)}) "
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
    if (self.count is not None) != self.direction.is_proportion:
      raise ValueError(
        f"a constraint of direction {self.direction} has the number "
        f"{self.count}; expected one of {[*PROPORTIONS]} with a number, or "
        "another without"
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
    return f"{self.direction} {number}{kind}:{name}"

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
      Direction(found["direction"]),
      None if count is None else int(count),
      percent=bool(found["percent"]),
    )

  def is_met(self, having: int, length: int) -> bool:
    """Whether a list does as it is asked, to the letter.

    Args:
      having: how many of its items have the attribute.
      length: how many items it has.

    Returns:
      Whether it does.
    """
    if self.count is None:
      return having == (length if self.direction is Direction.WANTED else 0)
    # Without division: 30% of 10 are 3, and no less.
    found, asked = having, self.count
    if self.percent:
      found, asked = 100 * having, self.count * length
    if self.direction is Direction.AT_MOST:
      return found <= asked
    if self.direction is Direction.AT_LEAST:
      return found >= asked
    return found == asked
