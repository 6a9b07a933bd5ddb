"""Which things of a wish are turned around: the rules of `wish_reader`."""

import itertools
from collections.abc import Sequence

from instructrec.instructions import wish_cues
from instructrec.instructions.wish_cues import Cue
from instructrec.instructions.wish_pieces import Piece

_FAR = 6
"""So many words may lie between a negation and what it is about."""
_FAR_NEXT = 2
"""So many words that say nothing may lie within what is turned around."""
_FAR_OUT = 4
"""So many may lie between "anything" and "but"."""
_WITHIN = (Cue.LAST_ONLY, Cue.AT_START, Cue.BAD, Cue.CONTINUES, Cue.SOUR)
"""Cues that do not part the things around them."""


def unwanted(pieces: Sequence[Piece]) -> list[bool]:
  """Decides what is turned around.

  Args:
    pieces: of a wish, in order, words joined to cues and things.

  Returns:
    For each piece whether it is a thing that is not wanted.
  """
  return _Polarity(pieces).unwanted()


class _Polarity:
  """Goes through the pieces of a wish and decides what is turned around."""

  def __init__(self, pieces: Sequence[Piece]) -> None:
    self._pieces = pieces
    self._turned = [False] * len(pieces)
    self._negative = False
    self._heard = False  # Whether the negation has its thing.
    self._cue = 0  # Place of the last negation.
    self._gap = 0
    self._commas = 0
    self._clause = self._before = range(0)  # This clause, and the one before.

  def unwanted(self) -> list[bool]:
    """For each piece whether it is a thing that is not wanted."""
    start = 0
    for place, piece in enumerate(self._pieces):
      if self._is_waiting() and self._names_it(place):
        continue
      if piece.text == "but" and self._takes_out(place):
        self._take(place, Cue.NEGATES)
      elif piece.text == "," and self._is_interjected(place):
        continue  # "Yuck, puzzles."
      elif piece.is_mark or piece.cue is Cue.BREAKS:
        self._clause = range(start, place)
        self._end_of_clause()
        start = place + 1
        if not self._says_nothing(self._clause):
          self._before = self._clause  # "Puzzles? Oh, no."
        if piece.text != "," or not self._list_goes_on(place):
          self._negative = False
        self._commas += 1
      elif piece.thing is not None:
        if self._is_next_only(place):
          self._turned[place] = True
        else:
          self._turned[place] = self._negative
        self._heard, self._gap = True, 0
      elif piece.cue is not None:
        self._clause = range(start, place)
        self._take(place, piece.cue)
      else:
        self._clause = range(start, place)
        self._pass(place)
    self._clause = range(start, len(self._pieces))
    self._end_of_clause()
    return self._turned

  def _says_nothing(self, clause: range) -> bool:
    return all(_is_filler(self._pieces[place]) for place in clause)

  def _is_waiting(self) -> bool:
    """Whether a negation just came, and its thing has not."""
    return self._negative and not self._heard and not self._gap

  def _names_it(self, place: int) -> bool:
    """Whether it is "What I hate: puzzles." or "What I hate, it is ..."."""
    after = self._pieces[place + 1 : place + 2]
    text = self._pieces[place].text
    return text == ":" or (
      text == "," and any(piece.text in wish_cues.ITS for piece in after)
    )

  def _takes_out(self, place: int) -> bool:
    """Whether "but" stands behind "any colour" or "everyone"."""
    for piece in reversed(self._pieces[max(0, place - _FAR_OUT) : place]):
      if piece.text in wish_cues.UNIVERSAL:
        return True
      if piece.thing is not None or piece.cue is not None or piece.is_mark:
        return False
    return False

  def _is_next_only(self, place: int) -> bool:
    return place > 0 and self._pieces[place - 1].cue is Cue.NEXT_ONLY

  def _is_interjected(self, comma: int) -> bool:
    if not self._is_waiting() or self._cue != comma - 1:
      return False
    denies = self._pieces[self._cue].cue is Cue.BACKWARD
    return self._is_disgust() or (
      denies and _ends_with_thing(self._pieces[comma:])
    )

  def _is_disgust(self) -> bool:
    return self._pieces[self._cue].text in wish_cues.INTERJECTIONS

  def _take(self, place: int, cue: Cue) -> None:
    text = self._pieces[place].text
    governed = self._negative and not self._heard
    if cue is Cue.AT_START and not self._is_order(place):
      self._take_within(place)
    elif cue is Cue.BAD:
      if not governed:
        self._take_bad(place)
      self._negative = False
    elif cue is Cue.LAST_ONLY:
      self._turn_last(place)
    elif cue in (Cue.NEGATES, Cue.EXCEPTS, Cue.DISLIKES, Cue.AT_START):
      if governed and text == "than":
        self._begin(place, False)  # "Nothing is better than kites."
        return
      if cue is not Cue.AT_START and not self._holds(place):
        self._pass(place)
        return
      if cue is Cue.NEGATES and self._asks(place):
        return
      twice = (
        governed
        and (cue in (Cue.DISLIKES, Cue.EXCEPTS) or text == "without")
        and not self._is_joined(place)
      )
      self._begin(place, not twice)
    elif cue is Cue.BACKWARD:
      if self._is_about_next(place) or self._is_heading(place):
        self._begin(place, True)
        return
      found = governed or self._turn_back(place)
      self._negative = False
      alone = text in wish_cues.INTERJECTIONS and not place
      denies = text.split()[0] in wish_cues.DENIALS
      if alone or (denies and not found):
        self._begin(place, True)  # "Never again puzzles."
    elif cue is Cue.CONTINUES:
      self._gap = 0
    elif cue is Cue.SOUR:
      self._turn_sour()
    elif cue is Cue.NEUTRAL:
      self._negative = False
    elif cue is Cue.POSITIVE:
      self._take_positive(place, governed)

  def _take_bad(self, place: int) -> None:
    """Turns around what something bad is said of."""
    things = self._things(range(self._clause.start, place))
    lacks = self._pieces[self._cue].text == "without"
    if things and lacks and self._cue in self._clause:
      for thing in things:  # "Without kites it is no fun."
        self._turned[thing] = False
    elif self._clause.start == place:
      after = self._pieces[place + 1 : place + 2]
      if not after or after[0].is_mark:
        self._turn_back(place)  # "Puzzles? Boring."
    else:
      self._turn_subject(place)

  def _turn_last(self, place: int) -> None:
    """Turns around the thing of "a puzzle-free list"."""
    place -= 1
    while place >= 0 and self._pieces[place].text in wish_cues.CONTINUES:
      place -= 1
    if place >= 0 and self._pieces[place].thing is not None:
      self._turned[place] = True

  def _asks(self, place: int) -> bool:
    """Whether a question begins here: "Wouldn't a kite be nice?"."""
    if self._pieces[place].text not in wish_cues.QUESTIONS:
      return False
    before = self._pieces[place - 1 : place]
    if before and not before[0].is_mark:
      return False
    stops = (piece.text for piece in self._pieces[place:] if piece.is_stop)
    return next(stops, "") == "?"

  def _turn_sour(self) -> None:
    """Turns around what was named in a clause without another cue."""
    places = self._clause
    cues = {self._pieces[place].cue for place in places}
    if not cues - {None, *_WITHIN}:
      for place in places:
        self._turned[place] |= self._pieces[place].thing is not None

  def _begin(self, place: int, negative: bool) -> None:
    """What follows is turned around, or is said anew."""
    self._negative = negative
    self._heard, self._gap, self._cue, self._commas = False, 0, place, 0

  def _take_within(self, place: int) -> None:
    """A cue for the beginning of clauses that stands within one."""
    if self._pieces[place].text in wish_cues.CONDITIONAL:
      self._take(place, Cue.NEGATES)
    else:
      self._pass(place)

  def _take_positive(self, place: int, governed: bool) -> None:
    text = self._pieces[place].text
    before = self._pieces[self._cue].text
    # "Skip the talk and show me kites."
    governed &= self._pieces[place - 1].text != "and"
    if text == "and with" and before.endswith(" with"):
      return  # "I am done with puzzles and with kites."
    if not governed or self._is_disgust():
      self._negative = False
    elif text == "more":
      # "Less noise, more kites", whatever noise is.
      self._negative = before not in ("less", "fewer")

  def _is_order(self, place: int) -> bool:
    """Whether "hide" and the like begin their clause."""
    before = self._pieces[self._clause.start : place]
    if not all(piece.text in wish_cues.POLITE for piece in before):
      return False
    if self._pieces[place].text not in wish_cues.BESIDE_THING:
      return True
    # "Over puzzles by now", but "over the weekend I want puzzles".
    after = self._pieces[place + 1 : place + 2]
    return any(piece.thing is not None for piece in after)

  def _is_joined(self, place: int) -> bool:
    """Whether "hate and despise" say one thing twice."""
    between = self._pieces[self._cue + 1 : place]
    same = self._pieces[self._cue].text == self._pieces[place].text
    return same or (
      bool(between) and all(p.text in wish_cues.JOINERS for p in between)
    )

  def _is_about_next(self, place: int) -> bool:
    """Whether "not so much" begins "not so much kites"."""
    text = self._pieces[place].text
    open_ended = text.endswith((" not", " dont")) or " no " in text
    if not (open_ended or text.startswith("not ")):
      return False
    if self._things(range(self._clause.start, place)):
      return False
    gap = 0
    rest = self._pieces[place + 1 :]
    if [piece.text for piece in rest[:1]] == [","] and _ends_with_thing(rest):
      return True  # "Not today, kites."
    for piece in rest:
      if piece.thing is not None:
        return True
      gap += piece.text not in wish_cues.CONTINUES
      if piece.is_mark:
        return False
      if not open_ended and (piece.cue is not None or gap > _FAR_NEXT):
        return False
    return False

  def _is_heading(self, place: int) -> bool:
    """Whether it is "Unwanted: kites."."""
    after = self._pieces[place + 1 : place + 2]
    alone = self._clause.start == place
    return alone and any(piece.text == ":" for piece in after)

  def _holds(self, place: int) -> bool:
    """Whether "than", "over" and "to" compare here."""
    text = self._pieces[place].text
    if text not in wish_cues.CONDITIONAL:
      return True
    if text == "than" and self._pieces[max(place - 1, 0)].text == "more":
      return False  # "More than puzzles."
    around = self._pieces[max(place - 1, 0) : place + 2 : 2]
    between = [piece.thing is not None for piece in around] == [True, True]
    if between and text in wish_cues.BEATS:
      return True  # "Kites over puzzles any day."
    return self._after(place, wish_cues.CONDITIONAL[text])

  def _after(self, place: int, words: frozenset[str]) -> bool:
    """Whether one of some words came before in the sentence."""
    for piece in reversed(self._pieces[:place]):
      if piece.is_stop:
        return False
      if not words.isdisjoint(piece.text.split()):
        return True
    return False

  def _pass(self, place: int) -> None:
    """A word that is neither cue nor thing may end a negation."""
    word = self._pieces[place].text
    if word in wish_cues.PARTICLES:
      self._part(place, wish_cues.SEPARABLE)
    elif word == "already":
      self._part(place, wish_cues.HAVING)
    if not self._negative:
      return
    if not self._heard:
      self._gap += word not in wish_cues.CONTINUES
      self._negative = self._gap <= _FAR
    elif word in wish_cues.ENDS or self._is_exchange(word):
      self._negative = False
    elif word not in wish_cues.CONTINUES | wish_cues.FILLERS:
      self._gap += 1
      self._negative = self._gap <= _FAR_NEXT

  def _is_exchange(self, word: str) -> bool:
    """Whether "for" stands in "swap puzzles for kites"."""
    if word not in wish_cues.FOR:
      return False
    first, *_ = self._pieces[self._cue].text.split()
    return first in wish_cues.EXCHANGES

  def _part(self, place: int, verbs: frozenset[str]) -> None:
    """Turns around what stands between a verb and its end: "leave ... out"."""
    things = []
    for before in range(place - 1, self._clause.start - 1, -1):
      piece = self._pieces[before]
      if piece.thing is not None:
        things.append(before)
      elif piece.text in verbs:
        twice = self._negative and self._cue < before
        for thing in things:
          self._turned[thing] = not twice
        return

  def _list_goes_on(self, comma: int) -> bool:
    """Whether "no kites, puzzles or dolls" is one list."""
    if not (self._negative and self._heard):
      return False
    joined = False
    things = 0
    for place in range(comma + 1, len(self._pieces)):
      piece = self._pieces[place]
      if piece.thing is not None:
        things += 1
        if joined:
          return not self._wish_follows(place)
        continue
      if piece.cue is Cue.CONTINUES:
        joined = True
        continue
      if piece.cue is not None or piece.is_stop:
        return False
      if piece.text == ",":
        continue
      if piece.text in wish_cues.JOINERS:
        first = place == comma + 1
        if first and piece.text == "and" and not self._commas:
          return False  # "No puzzles, and a kite please."
        joined = True
      elif piece.text in wish_cues.ENDS:
        return False
    return False

  def _wish_follows(self, place: int) -> bool:
    """Whether "..., kites or dolls instead" is what is wanted."""
    for piece in self._pieces[place + 1 :]:
      if piece.is_mark:
        return False
      if piece.cue is not None:
        return piece.cue is Cue.POSITIVE
    return False

  def _end_of_clause(self) -> None:
    """A negation with nothing behind it is about what was named before."""
    if not self._negative or self._heard or self._cue not in self._clause:
      return
    rest = self._pieces[self._cue + 1 : self._clause.stop]
    if not rest and any(self._turned[place] for place in self._before):
      return  # "Puzzles bore me, kites don't."
    if self._is_subject() or all(
      piece.cue is Cue.POSITIVE or piece.text in wish_cues.FILLERS
      for piece in rest
    ):
      self._turn_back(self._cue)

  def _is_subject(self) -> bool:
    """Whether the clause begins "Puzzles do not ..." or "Kites never ..."."""
    start = self._clause.start
    before = self._pieces[start : self._cue]
    while before and _is_filler(before[0]):
      before = before[1:]
    things = [piece for piece in before if piece.thing is not None]
    return bool(things) and all(
      piece.text in wish_cues.AUXILIARIES | wish_cues.CONTINUES
      for piece in before
      if piece.thing is None
    )

  def _turn_back(self, place: int) -> bool:
    """Turns around what was named before a place: in its clause or before.

    Returns:
      Whether something was.
    """
    own, turned = self._things(range(self._clause.start, place)), True
    if not own:
      between = self._pieces[self._clause.start : place]
      if not all(p.cue is Cue.POSITIVE or _is_filler(p) for p in between):
        return False
      own = self._things(self._before)
      condition = self._condition()
      if condition is not None:
        # "If it is not a kite, I do not want it."
        own, turned = own if condition == "unless" else [], False
    for thing in own:
      self._turned[thing] = turned
    return bool(own)

  def _condition(self) -> str | None:
    """The word of "unless it is a kite, ..." and "if it is not a kite, ..."."""
    for piece in self._pieces[self._before.start : self._before.stop]:
      if piece.cue in (Cue.EXCEPTS, Cue.NEUTRAL):
        word = piece.text.split()[0]
        return word if word in ("if", "unless") else None
    return None

  def _turn_subject(self, place: int) -> None:
    """Turns around what a clause says something bad of."""
    place -= 1
    linked = False
    while place >= self._clause.start:
      piece = self._pieces[place]
      if piece.thing is not None:
        break
      linked |= not wish_cues.LINKS.isdisjoint(piece.text.split())
      place -= 1
    before = self._pieces[self._clause.start : max(place, 0)]
    linked |= any(piece.text in wish_cues.FINDS for piece in before)
    while linked and place >= self._clause.start:
      piece = self._pieces[place]
      if piece.thing is not None:
        self._turned[place] = True
      elif piece.text not in wish_cues.JOINERS:
        break
      place -= 1

  def _things(self, places: range) -> list[int]:
    """Things since the last cue within some pieces."""
    found: list[int] = []
    for place in places:
      piece = self._pieces[place]
      if piece.thing is not None:
        found.append(place)
      elif (
        piece.cue not in (None, *_WITHIN)
        and piece.text not in wish_cues.EMPHASIS
      ):
        found = []
    return found


def _ends_with_thing(pieces: Sequence[Piece]) -> bool:
  """Whether a thing is all that is said behind a comma."""
  rest = itertools.takewhile(lambda piece: not piece.is_stop, pieces[1:])
  kept = [p for p in rest if p.text not in wish_cues.CONTINUES]
  return len(kept) == 1 and kept[0].thing is not None


def _is_filler(piece: Piece) -> bool:
  return piece.text in wish_cues.FILLERS | wish_cues.ENDS | wish_cues.JOINERS
