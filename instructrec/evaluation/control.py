r"""Metrics of lists that were asked for with a wish, one formula each.

A list has k places that were asked for, best first. At a place stands an item,
a text that is no title (`generated.INVALID`), an entry without text (`BLANK`)
or no entry (`generated.EMPTY`); what stands behind the k-th place is too many
and counts nowhere else. An entry is *good* where nothing is wrong with it: it
is an item, of no earlier place and not of the history. Of the good ones `has`
have what the wish speaks of, and `lacks` have it not.

A wish says between which two numbers of items are to have it (`bounds`):

| direction | low | high |
|---|---|---|
| plain | 0 | k |
| wanted | k | k |
| unwanted | 0 | 0 |
| at most n | 0 | n |
| at least n | n | k |
| about n | n | n |

    shortfall = max(0, min(low, pool) - has)
              + max(0, min(k - high, others) - lacks)

where `pool` items of the catalogue have it and `others` have it not, those of
the history left out. So many good items are still missing for the wish; of a
list without mistakes it is the distance of `has` from what was asked for. A
list obeys where it is 0: an empty list, invented titles or one item k times
do not obey "at most 2", for what is not there lacks nothing.

The formulas are operators and functions of the arrays' own namespace, so that
rewards take them inside a compiled program (`alignment.rewards`).
"""

import enum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from instructrec.evaluation import generated

BLANK = -3
"""What stands at a place with an entry that has no text."""


class Direction(enum.IntEnum):
  """How many items of a list are to have what a wish speaks of."""

  PLAIN = 0
  """As many as it happens."""
  WANTED = 1
  """All."""
  UNWANTED = 2
  """None."""
  AT_MOST = 3
  AT_LEAST = 4
  ABOUT = 5


class Wish(NamedTuple):
  """What is asked of lists, one entry each.

  Attributes:
    direction: a `Direction`.
    count: the number n, of the directions that have one.
    pool: items of the catalogue that have what is spoken of, those of the
      history left out.
    others: items that have it not, likewise.
  """

  direction: Int[Any, "*lists"]
  count: Int[Any, "*lists"]
  pool: Int[Any, "*lists"]
  others: Int[Any, "*lists"]


class Errors(NamedTuple):
  """What is wrong at each place; several may be at one.

  Attributes:
    too_many: an entry behind the k-th.
    invalid: a text that is no title, or an entry without text.
    blank: an entry without text.
    repeated: an item of an earlier place.
    in_history: an item of the history.
  """

  too_many: Bool[Any, "*lists places"]
  invalid: Bool[Any, "*lists places"]
  blank: Bool[Any, "*lists places"]
  repeated: Bool[Any, "*lists places"]
  in_history: Bool[Any, "*lists places"]

  @property
  def any(self) -> Bool[Any, "*lists places"]:
    """Where something is wrong."""
    return self.too_many | self.invalid | self.repeated | self.in_history


def within(
  items: Int[Any, "*lists places"], k: Int[Any, "*lists"]
) -> Bool[Any, "*lists places"]:
  """Which places were asked for, whatever stands there."""
  return np.arange(items.shape[-1]) < k[..., None]


def errors(
  items: Int[Any, "*lists places"],
  k: Int[Any, "*lists"],
  history: Int[Any, "*lists seen"],
) -> Errors:
  """What is wrong at each place; see the module.

  Args:
    items: of each place, or what stands there instead.
    k: how many were asked for.
    history: items of the history; -1 where it has fewer.

  Returns:
    The errors.
  """
  inside = within(items, k)
  is_item = inside & (items >= 0)
  known = (items[..., :, None] == history[..., None, :]).any(-1)
  blank = items == BLANK
  return Errors(
    too_many=~inside & (items != generated.EMPTY),
    invalid=inside & ((items == generated.INVALID) | blank),
    blank=inside & blank,
    repeated=is_item & generated.repeated(items),
    in_history=is_item & known,
  )


def good(
  items: Int[Any, "*lists places"],
  k: Int[Any, "*lists"],
  history: Int[Any, "*lists seen"],
) -> Bool[Any, "*lists places"]:
  """Which places hold an item with which nothing is wrong."""
  return (items >= 0) & ~errors(items, k, history).any


def num_entries(items: Int[Any, "*lists places"]) -> Int[Any, "*lists"]:
  """How many entries each list has, whatever they are."""
  return (items != generated.EMPTY).sum(-1)


def bounds(
  wish: Wish, k: Int[Any, "*lists"]
) -> tuple[Int[Any, "*lists"], Int[Any, "*lists"]]:
  """How many of k items are to have it, at least and at most."""
  asked, n = wish.direction, wish.count
  about = asked == Direction.ABOUT
  low = (asked == Direction.WANTED) * k + (
    (asked == Direction.AT_LEAST) | about
  ) * n
  below = (asked == Direction.AT_MOST) | about
  free = ~(below | (asked == Direction.UNWANTED))
  return low, below * n + free * k


def attainable(
  wish: Wish, k: Int[Any, "*lists"]
) -> tuple[Int[Any, "*lists"], Int[Any, "*lists"]]:
  """How many items are to have it at least, and to have it not.

  As far as the catalogue has as many.
  """
  low, high = bounds(wish, k)
  xp = k.__array_namespace__()
  return xp.minimum(low, wish.pool), xp.minimum(k - high, wish.others)


def is_empty(wish: Wish, k: Int[Any, "*lists"]) -> Bool[Any, "*lists"]:
  """Whether nothing that may be shown is as the wish says."""
  low, high = bounds(wish, k)
  return ((low > 0) & (wish.pool == 0)) | ((k > high) & (wish.others == 0))


def room(wish: Wish) -> Int[Any, "*lists"]:
  """How many items a list may hold at most, if it is to obey.

  Those that have it where all are to, those that have it not where none is to,
  and the whole catalogue otherwise.
  """
  without = wish.direction == Direction.WANTED
  return (
    wish.pool * (wish.direction != Direction.UNWANTED) + wish.others * ~without
  )


def num_missing(
  items: Int[Any, "*lists places"], k: Int[Any, "*lists"], wish: Wish
) -> Int[Any, "*lists"]:
  """Entries that a list lacks; none where no more items can obey."""
  xp = items.__array_namespace__()
  return (xp.minimum(k, room(wish)) - num_entries(items)).clip(0)


def correct_count(
  items: Int[Any, "*lists places"], k: Int[Any, "*lists"], wish: Wish
) -> Bool[Any, "*lists"]:
  """Whether a list has as many entries as were asked for.

  Where no k items can obey, all that can are as good: any number from there to
  k.
  """
  return (num_entries(items) <= k) & (num_missing(items, k, wish) == 0)


def shortfall(
  has: Bool[Any, "*lists places"],
  good_at: Bool[Any, "*lists places"],
  k: Int[Any, "*lists"],
  wish: Wish,
) -> Int[Any, "*lists"]:
  """How many good items a list lacks for its wish; see the module.

  Args:
    has: which places hold an item that has what the wish speaks of.
    good_at: as `good` says.
    k: how many were asked for.
    wish: what was asked for.

  Returns:
    0 where the list obeys.
  """
  having, lacking = attainable(wish, k)
  has_missing = having - (good_at & has).sum(-1)
  lacks_missing = lacking - (good_at & ~has).sum(-1)
  return has_missing.clip(0) + lacks_missing.clip(0)


def count_of_percent(percent: int, k: int, direction: Direction) -> int:
  """The number that a share of k items stands for.

  Args:
    percent: 0 to 100.
    k: items.
    direction: the number is rounded so that it says the same: down of at most,
      up of at least, to the nearest of about, a half up.

  Returns:
    The number.

  Raises:
    ValueError: for a direction without number, or a percent that is none.
  """
  if not 0 <= percent <= 100:
    raise ValueError(f"percent is {percent}, expected 0 to 100")
  if direction == Direction.AT_MOST:
    return percent * k // 100
  if direction == Direction.AT_LEAST:
    return -(-percent * k // 100)
  if direction == Direction.ABOUT:
    return (2 * percent * k + 100) // 200
  raise ValueError(
    f"the direction is {direction.name}, which has no number; expected "
    "AT_MOST, AT_LEAST or ABOUT"
  )


class Case(enum.IntEnum):
  """What kind of request a wish makes; each has figures of its own."""

  ORDINARY = 0
  EMPTY_POOL = 1
  """Nothing that may be shown is as the wish says."""
  SMALL_POOL = 2
  """Something is, but less than was asked for."""
  CONFLICT = 3
  """None is wanted of what all of the history has."""


def cases(
  wish: Wish,
  k: Int[np.ndarray, " lists"],
  history: Int[np.ndarray, "lists seen"],
  history_has: Bool[np.ndarray, "lists seen"],
) -> Int[np.ndarray, " lists"]:
  """The case of each request; the first that fits.

  Args:
    wish: what was asked for.
    k: how many were asked for.
    history: items of the history; -1 where it has fewer.
    history_has: which of them have what the wish speaks of.

  Returns:
    A `Case` each.
  """
  low, high = bounds(wish, k)
  small = (low > wish.pool) | (k - high > wish.others)
  known = history >= 0
  conflict = (
    (wish.direction == Direction.UNWANTED)
    & known.any(1)
    & (history_has | ~known).all(1)
  )
  return np.select(
    [is_empty(wish, k), small, conflict],
    [Case.EMPTY_POOL, Case.SMALL_POOL, Case.CONFLICT],
    Case.ORDINARY,
  )


def at_places(table: Any, items: Int[Any, "*lists places"]) -> Any:
  """What a table has of the items of lists.

  Args:
    table: a value for each item of the catalogue, `[*lists, items]`; dimensions
      of size 1 are those of all lists.
    items: of each place, or what stands there instead.

  Returns:
    The values, `[*lists, places]`; 0 or False where there is no item.
  """
  xp = items.__array_namespace__()
  found = xp.take_along_axis(table, items.clip(0), axis=-1)
  return found * (items >= 0)
