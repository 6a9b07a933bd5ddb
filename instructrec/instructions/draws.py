"""Draws that are a pure function of a key: no state, no order."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_MASK = (1 << 64) - 1


def mix(key: int, salt: int) -> int:
  """64 bits from a key and a number (splitmix64)."""
  x = (key + (salt + 1) * 0x9E3779B97F4A7C15) & _MASK
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
  return x ^ (x >> 31)


class Draws:
  """A sequence of draws: the same key gives the same ones.

  Args:
    key: 64 bits.
  """

  def __init__(self, key: int) -> None:
    self._key = key
    self._count = 0

  def bits(self) -> int:
    """The next 64 bits."""
    self._count += 1
    return mix(self._key, self._count)

  def chance(self, share: float) -> bool:
    """Whether something happens that happens in a share of cases."""
    return self.bits() < share * (_MASK + 1)

  def pick(self, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[self.bits() % len(options)]

  def shuffled(self, options: Sequence[T]) -> list[T]:
    """The options in another order."""
    keyed = sorted((self.bits(), i) for i in range(len(options)))
    return [options[i] for _, i in keyed]

  def sample(self, options: Sequence[T], count: int) -> list[T]:
    """Some of the options, without replacement; cheap where few of many.

    Args:
      options: what is drawn from.
      count: how many, no more than there are.

    Returns:
      The drawn ones, in the order drawn.
    """
    moved: dict[int, int] = {}
    found = []
    for place in range(count):
      other = place + self.bits() % (len(options) - place)
      found.append(options[moved.get(other, other)])
      moved[other] = moved.get(place, place)
    return found
