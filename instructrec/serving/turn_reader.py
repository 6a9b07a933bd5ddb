"""Reads one message of a conversation into what it asks to be done.

What is said of prices, of years, of numbers, of items that were shown and of
what was said before goes by `conversation_cues.yaml`; the rest is a wish, and
`wish_reader` reads it. Words that neither takes are told as not understood.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

from instructrec.instructions import wish_reader
from instructrec.serving import (
  conversation_cues,
  item_names,
  item_shelf,
  turn_amounts,
  turn_draft,
  turn_years,
)
from instructrec.serving.conversation_cues import Cue
from instructrec.serving.turn_acts import Act, Before, Do

_SAID_OF = frozenset("is are was were looks seems".split())
_LISTED = frozenset(("and", "or", "nor", ","))


@dataclasses.dataclass(frozen=True, eq=False)
class TurnReader:
  """Reads messages about the items of a catalogue.

  Attributes:
    shelf: the items.
    wishes: reads wishes for what they have.
  """

  shelf: item_shelf.Shelf
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
    draft = turn_draft.TurnDraft(
      text, before, self.shelf, self.names, self.wishes
    )
    return _Message(draft, self.wishes).acts()


class _Message:
  """One message, by its cues."""

  def __init__(
    self, draft: turn_draft.TurnDraft, wishes: wish_reader.WishReader
  ) -> None:
    self._draft, self._wishes = draft, wishes
    self._message, self._before = draft.message, draft.before
    self._shelf = draft.shelf
    self._amounts = turn_amounts.TurnAmounts(draft)
    self._years = turn_years.TurnYears(draft)
    self._binding: set[int] = set()  # First letters of things.

  def acts(self) -> list[Act]:
    place = 0
    while place < len(self._message.words):
      place = max(self._take(place), place + 1)
    self._tell_unused_items()
    self._read_wishes()
    return sorted(self._draft.acts, key=lambda act: act.start)

  def _take(self, place: int) -> int:
    """Takes what begins at a token; where that ends, or 0."""
    if end := self._years.bounded(place):
      return end
    if end := self._amounts.counted_or_priced(place):
      return end
    for size, cue in conversation_cues.at(self._message.words, place):
      if end := self._take_cue(cue, place, place + size):
        return end
    return 0

  def _take_cue(self, cue: Cue, start: int, stop: int) -> int:
    if cue in (Cue.START_OVER, Cue.PRICE_OFF, Cue.YEAR_OFF):
      return self._draft.add(Do[cue.name], start, stop)
    if cue is Cue.UNDO:
      return self._message.is_alone(start, stop) and self._draft.add(
        Do.UNDO, start, stop
      )
    if cue is Cue.OTHERS:
      if not (self._before.shown and self._message.is_alone(start, stop)):
        return 0
      return self._of_items(Do.EXCLUDE, start, stop, self._before.shown)
    if cue in (Cue.CHEAPER, Cue.PRICIER):
      return self._amounts.relative(cue, start, stop)
    if cue in (Cue.MAX, Cue.MIN):
      return self._amounts.bound(cue, start, stop)
    if cue is Cue.BETWEEN:
      return self._amounts.between(start, stop)
    if cue in (Cue.COUNT, Cue.COUNT_LESS):
      less = cue is Cue.COUNT_LESS
      return self._amounts.count(
        start, stop, less=less
      ) or self._amounts.listed_at_most(start, stop, less=less)
    if cue is Cue.LISTED:
      return self._amounts.listed(start, stop)
    if cue is Cue.FEWER:
      return self._amounts.fewer(start, stop)
    if cue in (Cue.LIKE, Cue.EXCLUDE, Cue.TOOK):
      return self._items(Do[cue.name], start, stop)
    if cue is Cue.FORGET:
      return self._forget(start, stop)
    if cue in (Cue.RELEASE_BEFORE, Cue.RELEASE_AFTER):
      return self._release(cue, start, stop)
    if cue is Cue.NOT_ONLY:
      return self._draft.add(Do.NOT_ONLY, start, stop)
    if cue in (Cue.ONLY, Cue.ONLY_AFTER):
      return self._only(cue, start, stop)
    if cue in (Cue.INSTEAD, Cue.RATHER, Cue.ALSO):
      if self._message.word(stop) in ("of", "than", "not"):
        return 0
      do = Do.ALSO if cue is Cue.ALSO else Do.INSTEAD
      self._draft.note(do, start, stop)
      if cue is Cue.INSTEAD:
        places = set(self._message.clause(start))
        self._bind(min(places & set(self._message.things), default=start))
    return 0

  # Items.

  def _of_items(
    self, do: Do, start: int, stop: int, items: Sequence[str]
  ) -> int:
    for item in items:
      self._draft.add(do, start, stop, item_id=item)
    return stop

  def _items(self, do: Do, start: int, stop: int) -> int:
    found = self._draft.named(stop)
    end = 0
    while found is not None:
      items, end = found
      if items:
        self._of_items(do, start, end, items)
      else:
        count = len(self._before.shown)
        self._draft.unknown(start, end, f"{count} items were shown")
      start = end
      while self._message.word(start) in _LISTED:
        start += 1
      found = self._draft.named(start) if start > end else None
    return end

  def _tell_unused_items(self) -> None:
    """Of which item is known, and not what: "the first one is odd"."""
    used = {act.item_id for act in self._draft.acts}
    for place, word in enumerate(self._message.words):
      if self._draft.taken[place] or conversation_cues.ordinal(word) is None:
        continue
      found = self._draft.named(place)
      if found is None:
        continue
      items, end = found
      if items and used.issuperset(items):  # "That" was it.
        self._draft.taken[place:end] = [True] * (end - place)
      elif end > place + 1 or self._message.word(end) in _SAID_OF:
        self._draft.unknown(place, end, "what of it is not known")

  # What was said before.

  def _forget(self, start: int, stop: int) -> int:
    place = stop
    while self._message.word(place) in turn_draft.SKIPPED:
      place += 1
    kind = conversation_cues.KINDS.get(self._message.word(place))
    every, end = self._shelf.attributes.attributes, 0
    for number in sorted(self._before.kept):
      if every[number].kind is kind:
        end = self._draft.add(Do.FORGET, start, place + 1, attribute=number)
    if end:
      return end
    thing = self._draft.thing(stop)
    while thing is not None and thing[1] in self._before.kept:
      end = self._draft.add(Do.FORGET, start, thing[0], attribute=thing[1])
      start = end
      listed = self._message.word(end) in _LISTED
      thing = self._draft.thing(end + 1) if listed else None
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
      self._draft.add(Do.RELEASE, first, end, attribute=attribute)
    return end

  # What alone is wanted.

  def _only(self, cue: Cue, start: int, stop: int) -> int:
    """Marks what stands beside "only"; its words are part of the wish."""
    if cue is Cue.ONLY:
      while self._message.word(stop) in turn_draft.SKIPPED:
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
      while self._message.word(place) in _LISTED | turn_draft.SKIPPED:
        place += 1

  # Wishes, and the rest.

  def _read_wishes(self) -> None:
    letters, tokens = list(self._message.text), self._message.tokens
    for token, taken in zip(tokens, self._draft.taken, strict=True):
      if taken:
        letters[token.start() : token.end()] = "_" * len(token[0])
    rest = "".join(letters)
    items = self._shelf.catalog
    titles = [items.title(item) for item in self._before.known]
    read = self._wishes.read(rest, titles)
    for span in read.spans:
      do = Do.ONLY if span.start in self._binding else Do.WANT
      if span.unwanted:
        do = Do.UNWANT
      words = self._clause_of(span.start)
      self._draft.acts.append(Act(do, words, span.start, span.number))
    self._draft.acts += self._not_understood(rest, titles, read)

  def _clause_of(self, letter: int) -> str:
    """The words around a letter up to what was taken, or the clause's ends."""
    tokens = self._message.tokens
    first = max(i for i, token in enumerate(tokens) if token.start() <= letter)
    clause = self._message.clause(first)
    last = first
    while first - 1 in clause and not self._draft.taken[first - 1]:
      first -= 1
    while last + 1 in clause and not self._draft.taken[last + 1]:
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
    for piece in [*self._wishes.pieces(rest, titles), None]:
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
