"""What one message of a conversation asks to be done."""

import dataclasses
import enum
import math


class Do(enum.Enum):
  """What a message asks for."""

  START_OVER = "nothing holds that was said before"
  UNDO = "what was said last does not hold"
  PRICE_OFF = "no bound on prices holds"
  MAX_PRICE = "a highest price"
  MIN_PRICE = "a lowest price"
  YEAR_OFF = "no bound on years holds"
  MAX_YEAR = "a latest year"
  MIN_YEAR = "an earliest year"
  YEAR = "a year"
  AT_MOST = "at most so many items that have an attribute"
  PLACES = "so many items in all"
  LIKE = "more like an item"
  EXCLUDE = "not an item"
  TOOK = "an item was taken"
  RELEASE = "an attribute is not unwanted"
  FORGET = "an attribute is neither wanted nor unwanted"
  WANT = "an attribute is wanted"
  UNWANT = "an attribute is not wanted"
  ONLY = "no item without an attribute, or another of these, is wanted"
  NOT_ONLY = "other items are wanted as well"
  INSTEAD = "what is wanted here stands for what was wanted before"
  ALSO = "what is wanted here comes to what was wanted before"
  UNKNOWN = "words that are not understood"


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
  """One thing that a message asks for.

  Attributes:
    do: what.
    words: of the message.
    start: of its first letter.
    attribute: the number of one.
    number: a price, a year, or how many.
    percent: whether it is in percent of the list.
    item_id: an item.
    why: of words that are not understood, where it can be said.
  """

  do: Do
  words: str
  start: int
  attribute: int | None = None
  number: float | None = None
  percent: bool = False
  item_id: str | None = None
  why: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
  """What a message may refer to.

  Attributes:
    shown: ids of the items of the last answer, in its order.
    known: ids of items that were shown or taken, whose titles may be named.
    kept: attributes that something holds of.
    unwanted: those of them that are not wanted, or not often.
    max_price: the most to pay; infinite where nothing was said.
    min_price: the least.
  """

  shown: tuple[str, ...] = ()
  known: tuple[str, ...] = ()
  kept: frozenset[int] = frozenset()
  unwanted: frozenset[int] = frozenset()
  max_price: float = math.inf
  min_price: float = 0.0
