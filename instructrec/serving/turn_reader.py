"""Reads one message of a conversation into what it asks to be done.

What is said of prices, of numbers, of items that were shown and of what was
said before goes by `conversation_cues.yaml`; the rest is a wish, and
`wish_reader` reads it. Words that neither takes are told as not understood.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from instructrec.instructions import wish_reader
from instructrec.serving import (
  constraints,
  conversation_cues,
  item_names,
  message_words,
)
from instructrec.serving.conversation_cues import Cue
from instructrec.serving.turn_acts import Act, Before, Do

_SKIPPED = frozenset(
  "the a an your my our any of to for about me more no".split()
)
_SAID_OF = frozenset("is are was were looks seems".split())
_LISTED = frozenset(("and", "or", "nor", ","))


@dataclasses.dataclass(frozen=True, eq=False)
class TurnReader:
  """Reads messages about the items of a catalogue.

  Attributes:
    shelf: the items.
    wishes: reads wishes for what they have.
  """

  shelf: constraints.Shelf
  wishes: wish_reader.WishReader

  @functools.cached_property
  def names(self) -> item_names.ItemNames:
    """The items' names."""
    return item_names.ItemNames(self.shelf.catalog)

  def read(self, text: str, before: Before) -> list[Act]:
    """Reads a message.

    Args:
      text: of the message.
      before: what it may refer to.

    Returns:
      What it asks for, in the order of its words.
    """
    return _Message(self, text, before).acts()


class _Message:
  """One message, its tokens, and which of them were taken."""

  def __init__(self, reader: TurnReader, text: str, before: Before) -> None:
    self._reader, self._before = reader, before
    self._message = message_words.MessageWords(text, reader.wishes)
    self._taken = [False] * len(self._message.tokens)
    self._acts: list[Act] = []
    self._items_at: dict[int, item_names.Named | None] = {}
    self._binding: set[int] = set()  # First letters of things.

  def acts(self) -> list[Act]:
    place = 0
    while place < len(self._message.words):
      place = max(self._take(place), place + 1)
    self._tell_unused_items()
    self._read_wishes()
    return sorted(self._acts, key=lambda act: act.start)

  def _take(self, place: int) -> int:
    """Takes what begins at a token; where that ends, or 0."""
    if end := self._counted_or_priced(place):
      return end
    for size, cue in conversation_cues.at(self._message.words, place):
      if end := self._take_cue(cue, place, place + size):
        return end
    return 0

  def _take_cue(self, cue: Cue, start: int, stop: int) -> int:
    if cue in (Cue.START_OVER, Cue.PRICE_OFF):
      return self._add(Do[cue.name], start, stop)
    if cue is Cue.UNDO:
      return self._message.is_alone(start, stop) and self._add(
        Do.UNDO, start, stop
      )
    if cue is Cue.OTHERS:
      if not (self._before.shown and self._message.is_alone(start, stop)):
        return 0
      return self._of_items(Do.EXCLUDE, start, stop, self._before.shown)
    if cue in (Cue.CHEAPER, Cue.PRICIER):
      return self._relative(cue, start, stop)
    if cue in (Cue.MAX, Cue.MIN):
      return self._bound(cue, start, stop)
    if cue is Cue.BETWEEN:
      return self._between(start, stop)
    if cue is Cue.COUNT:
      return self._count(start, stop)
    if cue is Cue.FEWER:
      return self._fewer(start, stop)
    if cue in (Cue.LIKE, Cue.EXCLUDE, Cue.TOOK):
      return self._items(Do[cue.name], start, stop)
    if cue is Cue.FORGET:
      return self._forget(start, stop)
    if cue in (Cue.RELEASE_BEFORE, Cue.RELEASE_AFTER):
      return self._release(cue, start, stop)
    if cue is Cue.NOT_ONLY:
      return self._add(Do.NOT_ONLY, start, stop)
    if cue in (Cue.ONLY, Cue.ONLY_AFTER):
      return self._only(cue, start, stop)
    if cue in (Cue.INSTEAD, Cue.RATHER, Cue.ALSO):
      if self._message.word(stop) in ("of", "than", "not"):
        return 0
      do = Do.ALSO if cue is Cue.ALSO else Do.INSTEAD
      self._acts.append(self._act(do, start, stop))
      if cue is Cue.INSTEAD:
        places = set(self._message.clause(start))
        self._bind(min(places & set(self._message.things), default=start))
    return 0

  def _act(self, do: Do, start: int, stop: int, **values: object) -> Act:
    words, letter = (
      self._message.said(start, stop),
      self._message.tokens[start].start(),
    )
    return Act(do, words, letter, **values)  # type: ignore[arg-type]

  def _add(self, do: Do, start: int, stop: int, **values: object) -> int:
    self._acts.append(self._act(do, start, stop, **values))
    self._taken[start:stop] = [True] * (stop - start)
    return stop

  def _unknown(self, start: int, stop: int, why: str) -> int:
    return self._add(Do.UNKNOWN, start, stop, why=why)

  # Prices and numbers.

  def _price(self, do: Do, value: float, start: int, stop: int) -> int:
    if np.isnan(self._reader.shelf.prices).all():
      return self._unknown(start, stop, "no price of an item is known")
    return self._add(do, start, stop, number=value)

  def _bound(self, cue: Cue, start: int, stop: int) -> int:
    found = self._message.amount(stop)
    if found is None or not self._message.is_price(start, found[1], found[2]):
      return 0
    do = Do.MAX_PRICE if cue is Cue.MAX else Do.MIN_PRICE
    return self._price(do, found[0], start, found[1])

  def _between(self, start: int, stop: int) -> int:
    found = self._message.span(stop, ("and", "to"))
    if found is None:
      return 0
    (low, middle), (high, end), has_currency = found
    if not self._message.is_price(start, end, has_currency):
      return 0
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
    return self._between(start, start) if has_currency or of_price else 0

  def _counted_or_priced(self, place: int) -> int:
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
        return self._add(
          Do.AT_MOST, place, end + size, number=found[0], attribute=thing[1]
        )
    return 0

  def _thing(self, place: int) -> tuple[int, int] | None:
    """The thing that is named at a place, articles and the like aside."""
    while self._message.word(place) in _SKIPPED:
      place += 1
    return self._message.things.get(place)

  def _count(self, start: int, stop: int) -> int:
    number = conversation_cues.count(self._message.word(stop))
    thing = self._thing(stop + 1)
    if number is None or thing is None:
      return 0
    return self._add(
      Do.AT_MOST, start, thing[0], number=float(number), attribute=thing[1]
    )

  def _fewer(self, start: int, stop: int) -> int:
    thing = self._thing(stop)
    if thing is None:
      return 0
    shelf = self._reader.shelf
    having = [
      item
      for item in self._before.shown
      if thing[1] in shelf.attributes.of_item(shelf.catalog.index(item))
    ]
    if not having:
      return 0
    number = float(len(having) // 2)
    return self._add(
      Do.AT_MOST, start, thing[0], number=number, attribute=thing[1]
    )

  def _relative(self, cue: Cue, start: int, stop: int) -> int:
    """Cheaper than an item, or than the middle of what was shown."""
    items, end = self._before.shown, stop
    if self._message.word(stop) == "than":
      if self._message.amount(stop + 1) is not None:
        return 0  # Longer cues have it.
      found = self._named(stop + 1)
      if found is not None:
        items, end = found
    else:
      for place in range(self._message.clause(start).start, start):
        found = self._named(place)
        if found is not None and found[1] <= start:
          items, start = found[0], place
          break
    shelf = self._reader.shelf
    prices = [shelf.prices[shelf.catalog.index(item)] for item in items]
    known = [price for price in prices if not np.isnan(price)]
    if not known:
      return self._unknown(start, end, "no price to compare with is known")
    cents = float(np.median(known)) * 100
    if cue is Cue.CHEAPER:
      below = (math.ceil(round(cents, 6)) - 1) / 100
      most = min(below, self._before.max_price)
      return self._price(Do.MAX_PRICE, most, start, end)
    above = (math.floor(round(cents, 6)) + 1) / 100
    least = max(above, self._before.min_price)
    return self._price(Do.MIN_PRICE, least, start, end)

  # Items.

  def _named(self, place: int) -> item_names.Named | None:
    if place not in self._items_at:
      shown = self._before.shown
      found = self._reader.names.at(self._message, place, shown)
      self._items_at[place] = found
    return self._items_at[place]

  def _of_items(
    self, do: Do, start: int, stop: int, items: Sequence[str]
  ) -> int:
    for item in items:
      self._add(do, start, stop, item_id=item)
    return stop

  def _items(self, do: Do, start: int, stop: int) -> int:
    found = self._named(stop)
    end = 0
    while found is not None:
      items, end = found
      if items:
        self._of_items(do, start, end, items)
      else:
        count = len(self._before.shown)
        self._unknown(start, end, f"{count} items were shown")
      start = end
      while self._message.word(start) in _LISTED:
        start += 1
      found = self._named(start) if start > end else None
    return end

  def _tell_unused_items(self) -> None:
    """Of which item is known, and not what: "the first one is odd"."""
    used = {act.item_id for act in self._acts}
    for place, word in enumerate(self._message.words):
      if self._taken[place] or conversation_cues.ordinal(word) is None:
        continue
      found = self._named(place)
      if found is None:
        continue
      items, end = found
      if items and used.issuperset(items):  # "That" was it.
        self._taken[place:end] = [True] * (end - place)
      elif end > place + 1 or self._message.word(end) in _SAID_OF:
        self._unknown(place, end, "what of it is not known")

  # What was said before.

  def _forget(self, start: int, stop: int) -> int:
    place = stop
    while self._message.word(place) in _SKIPPED:
      place += 1
    kind = conversation_cues.KINDS.get(self._message.word(place))
    every, end = self._reader.shelf.attributes.attributes, 0
    for number in sorted(self._before.kept):
      if every[number].kind is kind:
        end = self._add(Do.FORGET, start, place + 1, attribute=number)
    if end:
      return end
    thing = self._thing(stop)
    while thing is not None and thing[1] in self._before.kept:
      end = self._add(Do.FORGET, start, thing[0], attribute=thing[1])
      start = end
      listed = self._message.word(end) in _LISTED
      thing = self._thing(end + 1) if listed else None
    return end

  def _release(self, cue: Cue, start: int, stop: int) -> int:
    clause = self._message.clause(start)
    places = range(stop, clause.stop)
    if cue is Cue.RELEASE_AFTER:
      places = range(clause.start, start)
    found = [
      self._message.things[place]
      for place in places
      if place in self._message.things
      and self._message.things[place][1] in self._before.unwanted
    ]
    if not found:
      return 0
    first = start if cue is Cue.RELEASE_BEFORE else clause.start
    end = max([stop, *(end for end, _ in found)])
    for _, attribute in found:
      self._add(Do.RELEASE, first, end, attribute=attribute)
    return end

  # What alone is wanted.

  def _only(self, cue: Cue, start: int, stop: int) -> int:
    """Marks what stands beside "only"; its words are part of the wish."""
    if cue is Cue.ONLY:
      while self._message.word(stop) in _SKIPPED:
        stop += 1
      self._bind(stop)
    elif self._message.is_loose(stop):
      # "Kites only under 20 dollars" says it of the price.
      ends = {end: place for place, (end, _) in self._message.things.items()}
      while start in ends:
        start = ends[start]
        self._binding.add(self._message.tokens[start].start())
        while self._message.word(start - 1) in _LISTED:
          start -= 1
        if self._message.word(start) not in _LISTED:
          break
    return 0

  def _bind(self, place: int) -> None:
    """Marks a list of things: of "dinosaur kites or puzzles" the last words."""
    things = self._message.things
    while place in things:
      while things[place][0] in things:
        place = things[place][0]
      self._binding.add(self._message.tokens[place].start())
      place = things[place][0]
      if self._message.word(place) not in _LISTED:
        break
      while self._message.word(place) in _LISTED | _SKIPPED:
        place += 1

  # Wishes, and the rest.

  def _read_wishes(self) -> None:
    letters = list(self._message.text)
    for token, taken in zip(self._message.tokens, self._taken, strict=True):
      if taken:
        letters[token.start() : token.end()] = "_" * len(token[0])
    rest = "".join(letters)
    items = self._reader.shelf.catalog
    titles = [items.title(item) for item in self._before.known]
    read = self._reader.wishes.read(rest, titles)
    for span in read.spans:
      do = Do.ONLY if span.start in self._binding else Do.WANT
      if span.unwanted:
        do = Do.UNWANT
      words = self._clause_of(span.start)
      self._acts.append(Act(do, words, span.start, span.number))
    self._acts += self._not_understood(rest, titles, read)

  def _clause_of(self, letter: int) -> str:
    """The words around a letter up to what was taken, or the clause's ends."""
    tokens = self._message.tokens
    first = max(i for i, token in enumerate(tokens) if token.start() <= letter)
    clause = self._message.clause(first)
    last = first
    while first - 1 in clause and not self._taken[first - 1]:
      first -= 1
    while last + 1 in clause and not self._taken[last + 1]:
      last += 1
    return self._message.said(first, last + 1)

  def _not_understood(
    self,
    rest: str,
    titles: Sequence[str],
    read: wish_reader.ReadWish,
  ) -> Iterator[Act]:
    counted = {span.start for span in read.spans}
    run: list[tuple[int, int]] = []
    for piece in [*self._reader.wishes.pieces(rest, titles), None]:
      if piece is not None and not (
        piece.is_mark
        or piece.cue is not None
        or piece.start in counted
        or conversation_cues.QUIET.issuperset(piece.text.split())
      ):
        run.append((piece.start, piece.stop))
      elif run:
        start, stop = run[0][0], run[-1][1]
        yield Act(Do.UNKNOWN, self._message.text[start:stop], start)
        run = []
