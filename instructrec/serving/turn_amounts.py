"""What a message says of prices, and of how many items it wants of a kind."""

import math

import numpy as np

from instructrec.serving import conversation_cues, turn_draft
from instructrec.serving.conversation_cues import Cue
from instructrec.serving.turn_acts import Do

_NO_PRICES = "this catalogue has no prices"


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
    """A highest or lowest price: "under 20 dollars", "not to cost over 20"."""
    found = self._message.amount(stop)
    if found is None or not self._message.is_price(start, found[1], found[2]):
      return 0
    denial = self._denial(cue, start)
    is_most = (cue is Cue.MAX) == (denial is None)
    if denial is not None:
      start = self._take_denial(denial, start)
    do = Do.MAX_PRICE if is_most else Do.MIN_PRICE
    return self._price(do, found[0], start, found[1])

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

  def _take_denial(self, place: int, start: int) -> int:
    """Takes the words that deny a bound, and no things; where they begin."""
    things = [f for f in self._message.things if place < f < start]
    stop = min(things, default=start)
    self._draft.taken[place:stop] = [True] * (stop - place)
    return start if things else place

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
    found = self._message.amount(place)
    if found is None:
      return 0
    if end := self._range(place):
      return end
    thing = self._message.things.get(found[1])
    end = found[1] if thing is None else thing[0]
    for size, cue in conversation_cues.at(self._message.words, end):
      if cue not in (Cue.MAX_AFTER, Cue.MIN_AFTER):
        continue
      if thing is None:
        do = Do.MAX_PRICE if cue is Cue.MAX_AFTER else Do.MIN_PRICE
        return self._price(do, found[0], place, end + size)
      if cue is Cue.MAX_AFTER and found[0].is_integer():
        return self._draft.add(
          Do.AT_MOST, place, end + size, number=found[0], attribute=thing[1]
        )
    return 0

  def count(self, start: int, stop: int) -> int:
    """How many of a kind at most: "at most two puzzles"."""
    number = conversation_cues.count(self._message.word(stop))
    thing = self._draft.thing(stop + 1)
    if number is None or thing is None:
      return 0
    return self._draft.add(
      Do.AT_MOST, start, thing[0], number=float(number), attribute=thing[1]
    )

  def fewer(self, start: int, stop: int) -> int:
    """Half as many of a kind as were shown: "fewer puzzles"."""
    thing = self._draft.thing(stop)
    if thing is None:
      return 0
    shelf = self._shelf
    having = [
      item
      for item in self._before.shown
      if thing[1] in shelf.attributes.of_item(shelf.catalog.index(item))
    ]
    if not having:
      return 0
    number = float(len(having) // 2)
    return self._draft.add(
      Do.AT_MOST, start, thing[0], number=number, attribute=thing[1]
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
