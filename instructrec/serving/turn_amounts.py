"""What a message says of prices, and of how many items it wants of a kind."""

import functools
import math

import numpy as np

from instructrec.serving import conversation_cues, turn_draft
from instructrec.serving.conversation_cues import Cue
from instructrec.serving.turn_acts import Do

_NO_PRICES = "this catalogue has no prices"
_LISTED = conversation_cues.NOUNS | conversation_cues.COUNTED - {
  "of",
  "one",
  "ones",
}
_OWN = frozenset(("by", "from", "with"))
_LONGEST = 12
"""More items of a list are not counted by what they have: "20 by Oakline"."""


class TurnAmounts:
  """Reads the amounts of a message; what is read is taken from its draft.

  Each method is given where its cue begins and ends, and gives where what it
  took ends, or 0 where it took nothing.

  Args:
    draft: of the message.
  """

  def __init__(self, draft: turn_draft.TurnDraft) -> None:
    self._draft = draft
    self._message, self._before = draft.message, draft.before
    self._shelf = draft.shelf

  def _price(self, do: Do, value: float, start: int, stop: int) -> int:
    if not self._shelf.has_prices:
      return self._draft.unknown(start, stop, _NO_PRICES)
    return self._draft.add(do, start, stop, number=value)

  def bound(self, cue: Cue, start: int, stop: int) -> int:
    """A highest or lowest price: "under 20 dollars", "not to cost over 20".

    What is denied may also count items: "I don't want more than two kites".
    """
    denial = self._denial(cue, start)
    is_most = (cue is Cue.MAX) == (denial is None)
    first = start if denial is None else self._denial_start(denial, start)
    if denial is not None and is_most and (end := self.count(first, stop)):
      return end
    found = self._message.amount(stop)
    if found is None or not self._message.is_price(start, found[1], found[2]):
      return 0
    if denial is not None:
      things = [f for f in self._message.things if denial < f < start]
      until = min(things, default=start)
      self._draft.taken[denial:until] = [True] * (until - denial)
    do = Do.MAX_PRICE if is_most else Do.MIN_PRICE
    return self._price(do, found[0], first, found[1])

  def _denial(self, cue: Cue, start: int) -> int | None:
    """Where a bound is denied: "it should not cost" more than 20.

    "No puzzles over 20 dollars" wants cheaper ones; "no puzzles under 20
    dollars" may be two wishes as well, and is read so.
    """
    place = start - 1
    ends = {end: first for first, (end, _) in self._message.things.items()}
    while not self._message.is_end(place):
      word = self._message.word(place)
      if word in conversation_cues.DENIALS:
        return place
      if cue is Cue.MIN and place + 1 in ends:
        place = ends[place + 1]
      elif word not in conversation_cues.PAYING:
        return None
      place -= 1
    return None

  def _denial_start(self, denial: int, start: int) -> int:
    """Where a denied bound begins: behind the things that it speaks of."""
    between = range(denial, start)
    return denial if self._message.things.keys().isdisjoint(between) else start

  def between(self, start: int, stop: int) -> int:
    """Two bounds on the price: "between 10 and 20"."""
    found = self._message.span(stop, ("and", "to"))
    if found is None:
      return 0
    (low, middle), (high, end), has_currency = found
    if not self._message.is_price(start, end, has_currency):
      return 0
    if not self._shelf.has_prices:
      return self._draft.unknown(start, end, _NO_PRICES)
    self._price(Do.MIN_PRICE, low, start, middle)
    return self._price(Do.MAX_PRICE, high, middle, end)

  def _range(self, start: int) -> int:
    """Two amounts of money that no word announces: "5 to 10 dollars"."""
    found = self._message.span(start, ("to",))
    if found is None:
      return 0
    _, (_, end), has_currency = found
    said = {self._message.words[i] for i in self._message.clause(start)}
    of_price = (
      said & conversation_cues.ABOUT_PRICE
      and not said & conversation_cues.NO_PRICE
      and self._message.is_loose(end)
    )
    # "5-10" alone may be ages.
    return self.between(start, start) if has_currency or of_price else 0

  def counted_or_priced(self, place: int) -> int:
    """What begins with a number: "20 or less", "two puzzles at most"."""
    if end := self._range(place):
      return end
    number, amount = self._message.number(place), self._message.amount(place)
    if number is not None:
      count, percent, end = number
      if end in self._message.things:
        end, attribute = self._message.things[end]
        for size, cue in conversation_cues.at(self._message.words, end):
          if cue is Cue.MAX_AFTER:
            return self._at_most(place, end + size, count, percent, attribute)
        if not count:
          return self._draft.add(Do.UNWANT, place, end, attribute=attribute)
        return 0
    if self._message.clause(place).start == place and (
      end := self.listed_at_most(place, place)  # "Five films, please."
    ):
      return end
    if amount is None:
      return 0
    value, end, has_currency = amount
    has_unit = self._message.word(end) in conversation_cues.NO_PRICE
    for size, cue in conversation_cues.at(self._message.words, end + has_unit):
      if cue not in (Cue.MAX_AFTER, Cue.MIN_AFTER):
        continue
      stop = end + has_unit + size
      # "Ages 3 or less" is no price, and refuses nothing either.
      if not has_currency and (has_unit or not self._message.may_cost(place)):
        return self._draft.unknown(place, stop, "")
      do = Do.MAX_PRICE if cue is Cue.MAX_AFTER else Do.MIN_PRICE
      return self._price(do, value, place, stop)
    return 0

  def count(self, start: int, stop: int, *, less: bool = False) -> int:
    """How many of a kind at most: "at most two puzzles", "20% puzzles".

    Args:
      start: of the cue.
      stop: likewise.
      less: whether it says that there are to be fewer.
    """
    number = self._message.number(stop)
    if number is None:
      return 0
    count, percent, end = number
    span = self._message.span(stop, ("or", "to"))
    if span is not None and not span[2] and span[1][0].is_integer():
      count, end = int(span[1][0]), span[1][1]  # "At most two or three".
    is_price = count > _LONGEST or self._message.word(start - 1) == "for"
    if is_price and not percent and self._message.word(end) in _OWN:
      return 0  # "A gift for at most 10 with robots".
    thing = self._counted(start, end)
    if thing is None or (less and (percent or not count)):
      return 0
    return self._at_most(start, thing[0], count - less, percent, thing[1])

  def listed(self, start: int, stop: int, *, less: bool = False) -> int:
    """How many items there are to be in all: "top three", "give me 5 kites".

    Args:
      start: of the cue.
      stop: likewise.
      less: whether it says that there are to be fewer.
    """
    message = self._message
    found = self._whole(stop)
    if found is None or self._draft.named(stop) is not None:
      return 0  # "12 Monkeys" is a title.
    count, end = found
    clause = message.clause(start)
    # "3 puzzles and 2 kites" has no number of all.
    if any(
      at in clause and not start <= at < end for at in self._counting_things
    ):
      return 0
    is_called, is_thing = message.word(end) in _LISTED, end in message.things
    # "I want one" says of what, and not how many.
    is_alone = message.is_loose(end) and message.word(stop) != "one"
    if not (is_called or is_thing or is_alone) or count <= less:
      return 0
    end += is_called and not is_thing
    return self._draft.add(Do.PLACES, start, end, number=float(count - less))

  @functools.cached_property
  def _counting_things(self) -> list[int]:
    """Places of the numbers that stand before things."""
    found = map(self._whole, range(len(self._message.words)))
    return [
      place
      for place, whole in enumerate(found)
      if whole is not None and whole[1] in self._message.things
    ]

  def listed_at_most(self, start: int, stop: int, *, less: bool = False) -> int:
    """The same of "at most five films"; without a noun it is a price."""
    found = self._whole(stop)
    if found is None or self._message.word(found[1]) not in _LISTED:
      return 0
    return self.listed(start, stop, less=less)

  def _whole(self, place: int) -> tuple[int, int] | None:
    """A number of items at a place, from 1, and its end."""
    number = self._message.number(place)
    if number is None or number[1] or not number[0]:
      return None
    count, _, end = number
    # "For 4 players", "5 stars".
    other = self._message.word(end) in conversation_cues.NO_PRICE
    amount = self._message.amount(place)
    if other or (amount is not None and amount[2]):
      return None
    return count, end

  def _at_most(
    self, start: int, stop: int, count: int, percent: bool, attribute: int
  ) -> int:
    if percent and count > 100:
      return 0
    return self._draft.add(
      Do.AT_MOST,
      *(start, stop),
      number=float(count),
      percent=percent,
      attribute=attribute,
    )

  def _counted(self, start: int, place: int) -> tuple[int, int] | None:
    """Where what a number counts ends, and its attribute.

    It is what follows the number, or what the list is said to have of it: "two
    of them should be kites"; and what was named before it, "kites, two of
    them".
    """
    message = self._message
    if message.word(place) == "for":  # "At most 20 for a kite" is a price.
      return None
    if message.word(place) == "(" and message.word(place + 2) == ")":
      place += 3  # "Two (2) kites".
    thing, first = self._draft.thing(place), place
    while thing is None and self._is_of_list(place):
      place += 1
      thing = self._draft.thing(place)
    if thing is not None or message.word(first) != "of":
      return thing
    before = [at for at in message.things if at < start]
    return (place, message.things[max(before)][1]) if before else None

  def _is_of_list(self, place: int) -> bool:
    word = self._message.word(place)
    known = word in conversation_cues.OF_LIST
    return known or conversation_cues.count(word) is not None

  def fewer(self, start: int, stop: int) -> int:
    """Half as many of a kind as were shown: "fewer puzzles".

    "Fewer of those" is said of what alone is wanted and was shown.
    """
    thing = self._draft.thing(stop)
    if thing is None and self._message.word(stop) == "of":
      end = stop + 1
      while self._message.word(end) in conversation_cues.OF_LIST:
        end += 1
      thing = self._draft.thing(end) if end > stop + 1 else None
      if thing is None and self._before.shown and self._message.is_loose(end):
        wanted = self._before.kept - self._before.unwanted
        found = [number for number in wanted if self._num_shown(number)]
        if len(found) != 1:
          return self._draft.unknown(start, end, "of what is not said")
        thing = end, found[0]
    if thing is None or not (shown := self._num_shown(thing[1])):
      return 0
    return self._at_most(start, thing[0], shown // 2, False, thing[1])

  def _num_shown(self, attribute: int) -> int:
    """How many items of the last answer have an attribute."""
    shelf = self._shelf
    return sum(
      attribute in shelf.attributes.of_item(shelf.catalog.index(item))
      for item in self._before.shown
    )

  def relative(self, cue: Cue, start: int, stop: int) -> int:
    """Cheaper than an item, or than the middle of what was shown."""
    if self._message.word(start - 1) in conversation_cues.DENIALS:
      return 0  # "Not too expensive" is a wish.
    items, end = self._before.shown, stop
    if self._message.word(stop) == "than":
      if self._message.amount(stop + 1) is not None:
        return 0  # Longer cues have it.
      found = self._draft.named(stop + 1)
      if found is not None:
        items, end = found
    else:
      for place in range(self._message.clause(start).start, start):
        found = self._draft.named(place)
        if found is not None and found[1] <= start:
          items, start = found[0], place
          break
    shelf = self._shelf
    prices = [shelf.prices[shelf.catalog.index(item)] for item in items]
    known = [price for price in prices if not np.isnan(price)]
    if not known:
      why = "no price to compare with is known"
      if not self._shelf.has_prices:
        why = _NO_PRICES
      return self._draft.unknown(start, end, why)
    cents = float(np.median(known)) * 100
    if cue is Cue.CHEAPER:
      below = (math.ceil(round(cents, 6)) - 1) / 100
      most = min(below, self._before.max_price)
      return self._price(Do.MAX_PRICE, most, start, end)
    above = (math.floor(round(cents, 6)) + 1) / 100
    least = max(above, self._before.min_price)
    return self._price(Do.MIN_PRICE, least, start, end)
