"""Which things of a wish are turned around: the rules of `wish_reader`."""

from collections.abc import Sequence

from instructrec.instructions import wish_cues
from instructrec.instructions.wish_cues import Cue
from instructrec.instructions.wish_pieces import Piece

_FAR = 6
"""So many words may lie between a negation and what it is about."""
_FAR_NEXT = 2
"""So many words that say nothing may lie within what is turned around."""


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
      if piece.text == ":" and self._is_waiting():
        continue  # "I do not want: puzzles."
      if piece.text == "but" and self._takes_out(place):
        self._take(place, Cue.NEGATES)
      elif piece.is_mark or piece.cue is Cue.BREAKS:
        self._clause = range(start, place)
        self._end_of_clause()
        start = place + 1
        self._before = self._clause
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
        self._pass(piece.text)
    self._clause = range(start, len(self._pieces))
    self._end_of_clause()
    return self._turned

  def _is_waiting(self) -> bool:
    """Whether a negation just came, and its thing has not."""
    return self._negative and not self._heard and not self._gap

  def _takes_out(self, place: int) -> bool:
    """Whether "but" stands behind "any colour" or "everyone"."""
    for piece in reversed(self._pieces[max(0, place - _FAR_NEXT) : place]):
      if piece.text in wish_cues.UNIVERSAL:
        return True
      if piece.thing is not None or piece.cue is not None or piece.is_mark:
        return False
    return False

  def _is_next_only(self, place: int) -> bool:
    return place > 0 and self._pieces[place - 1].cue is Cue.NEXT_ONLY

  def _take(self, place: int, cue: Cue) -> None:
    governed = self._negative and not self._heard
    if cue is Cue.AT_START and place > self._clause.start:
      self._pass(self._pieces[place].text)
    elif cue is Cue.BAD:
      if not governed:
        self._turn_subject(place)
      self._negative = False
    elif cue is Cue.LAST_ONLY:
      if place and self._pieces[place - 1].thing is not None:
        self._turned[place - 1] = True
    elif cue in (Cue.NEGATES, Cue.DISLIKES, Cue.AT_START):
      twice = governed and (
        cue is Cue.DISLIKES or self._pieces[place].text == "without"
      )
      if not self._holds(place):
        self._pass(self._pieces[place].text)
        return
      self._negative = not twice
      self._heard, self._gap, self._cue, self._commas = False, 0, place, 0
    elif cue is Cue.BACKWARD:
      if not governed:
        self._turn_back(place)
      self._negative = False
    elif cue is Cue.NEUTRAL or (cue is Cue.POSITIVE and not governed):
      self._negative = False
    elif cue is Cue.POSITIVE and self._pieces[place].text == "more":
      # "Less noise, more kites", whatever noise is.
      self._negative = self._pieces[self._cue].text not in ("less", "fewer")

  def _holds(self, place: int) -> bool:
    """Whether "than", "over" and "to" compare here."""
    text = self._pieces[place].text
    if text not in wish_cues.CONDITIONAL:
      return True
    around = self._pieces[max(place - 1, 0) : place + 2 : 2]
    between = [piece.thing is not None for piece in around] == [True, True]
    if text == "over" and between:
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

  def _pass(self, word: str) -> None:
    """A word that is neither cue nor thing may end a negation."""
    if not self._negative:
      return
    if not self._heard:
      self._gap += 1
      self._negative = self._gap <= _FAR
    elif word in wish_cues.ENDS:
      self._negative = False
    elif word not in wish_cues.CONTINUES | wish_cues.FILLERS:
      self._gap += 1
      self._negative = self._gap <= _FAR_NEXT

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

  def _turn_back(self, place: int) -> None:
    """Turns around what was named before a place: in its clause or before."""
    own = self._things(range(self._clause.start, place))
    if not own:
      between = self._pieces[self._clause.start : place]
      if not all(p.cue is Cue.POSITIVE or _is_filler(p) for p in between):
        return
      own = self._things(self._before)
    for thing in own:
      self._turned[thing] = True

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
        piece.cue not in (None, Cue.LAST_ONLY, Cue.AT_START, Cue.BAD) and found
      ):
        found = []
    return found


def _is_filler(piece: Piece) -> bool:
  return piece.text in wish_cues.FILLERS | wish_cues.ENDS | wish_cues.JOINERS
