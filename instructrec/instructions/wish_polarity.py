"""Which things of a wish are turned around: the rules of `wish_reader`.

A walk over the text that remembers the last negation: how far it is back, and
whether it has its thing. What it asks of the words around is `wish_syntax`.
"""

from collections.abc import Iterable, Sequence

from instructrec.instructions import wish_cues, wish_syntax
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
      if self._is_waiting() and wish_syntax.names_next(self._pieces, place):
        continue
      if piece.text == "but" and wish_syntax.takes_out(self._pieces, place):
        self._take(place, Cue.NEGATES)
      elif piece.text == "," and self._is_interjected(place):
        continue  # "Yuck, puzzles."
      elif piece.is_mark or piece.cue is Cue.BREAKS:
        self._clause = range(start, place)
        self._end_of_clause(place)
        start = place + 1
      elif piece.thing is not None:
        before = self._pieces[max(0, place - 1) : place]
        only = any(one.cue is Cue.NEXT_ONLY for one in before)
        self._turned[place] = only or self._negative
        self._heard, self._gap = True, 0
        after = self._pieces[place + 1 : place + 2]
        if only and any(one.thing is not None for one in after):
          self._negative = False  # "Not too expensive kites."
      else:
        self._clause = range(start, place)
        if piece.cue is not None:
          self._take(place, piece.cue)
        else:
          self._pass(place)
    self._clause = range(start, len(self._pieces))
    self._turn_unfollowed()
    return self._turned

  def _of(self, places: range) -> Sequence[Piece]:
    return self._pieces[places.start : places.stop]

  def _turn(self, places: Iterable[int], turned: bool = True) -> None:
    for place in places:
      self._turned[place] = turned

  def _is_waiting(self) -> bool:
    """Whether a negation just came, and its thing has not."""
    return self._negative and not self._heard and not self._gap

  def _is_interjected(self, comma: int) -> bool:
    if not self._is_waiting() or self._cue != comma - 1:
      return False
    denies = self._pieces[self._cue].cue is Cue.BACKWARD
    return self._is_disgust() or (
      denies and wish_syntax.is_thing_alone(self._pieces[comma + 1 :])
    )

  def _is_disgust(self) -> bool:
    return self._pieces[self._cue].text in wish_cues.INTERJECTIONS

  def _begin(self, place: int, negative: bool) -> None:
    """What follows is turned around, or is said anew."""
    self._negative = negative
    self._heard, self._gap, self._cue, self._commas = False, 0, place, 0

  def _take(self, place: int, cue: Cue) -> None:
    """A cue: what it does to what follows, and to what was named."""
    governed = self._negative and not self._heard
    match cue:
      case Cue.NEGATES | Cue.EXCEPTS | Cue.DISLIKES:
        self._take_negation(place, cue, governed)
      case Cue.AT_START:
        self._take_at_start(place, governed)
      case Cue.BACKWARD:
        self._take_backward(place, governed)
      case Cue.POSITIVE:
        self._take_positive(place, governed)
      case Cue.BAD:
        if not governed:
          self._take_bad(place)
        self._negative = False
      case Cue.LAST_ONLY:
        self._turn(wish_syntax.compounded(self._pieces, place))
      case Cue.CONTINUES:
        self._gap = 0
      case Cue.SOUR:
        self._turn_sour()
      case Cue.NEUTRAL:
        self._negative = False

  def _take_negation(self, place: int, cue: Cue, governed: bool) -> None:
    text = self._pieces[place].text
    if governed and text == "than":
      self._begin(place, False)  # "Nothing is better than kites."
    elif not wish_syntax.compares(self._pieces, place):
      self._pass(place)
    elif cue is not Cue.NEGATES or not wish_syntax.asks(self._pieces, place):
      undoes = cue in (Cue.DISLIKES, Cue.EXCEPTS) or text == "without"
      refused = None
      if cue is Cue.EXCEPTS:
        refused = wish_syntax.exempts_from(self._pieces, place)
      exempted = refused is not None and self._turned[refused]
      self._negate(place, (governed and undoes) or exempted)

  def _negate(self, place: int, undone: bool) -> None:
    """Turns around what follows, unless it undoes a negation before."""
    joined = wish_syntax.is_joined(self._pieces, self._cue, place)
    self._begin(place, joined or not undone)

  def _take_at_start(self, place: int, governed: bool) -> None:
    text = self._pieces[place].text
    if wish_syntax.is_order(self._pieces, place, self._clause.start):
      self._negate(place, governed and text == "without")
    elif text in wish_cues.CONDITIONAL:
      self._take(place, Cue.NEGATES)
    else:
      self._pass(place)

  def _take_backward(self, place: int, governed: bool) -> None:
    text, around = self._pieces[place].text, (place, self._clause.start)
    if wish_syntax.is_about_next(
      self._pieces, *around
    ) or wish_syntax.is_heading(self._pieces, *around):
      self._begin(place, True)
      return
    found = governed or self._turn_back(place)
    self._negative = False
    alone = text in wish_cues.INTERJECTIONS and not place
    denies = text.split()[0] in wish_cues.DENIALS
    if alone or (denies and not found):
      self._begin(place, True)  # "Never again puzzles."

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

  def _take_bad(self, place: int) -> None:
    """Turns around what something bad is said of."""
    start = self._clause.start
    named = wish_syntax.things(self._pieces, self._clause)
    lacks = self._pieces[self._cue].text == "without"
    if named and lacks and self._cue in self._clause:
      self._turn(named, False)  # "Without kites it is no fun."
    elif start == place:
      after = self._pieces[place + 1 : place + 2]
      if not after or after[0].is_mark:
        self._turn_back(place)  # "Puzzles? Boring."
    else:
      self._turn(wish_syntax.subjects(self._pieces, place, start))

  def _turn_sour(self) -> None:
    """Turns around what was named in a clause without another cue."""
    clause = self._of(self._clause)
    if all(piece.cue in (None, *wish_syntax.WITHIN) for piece in clause):
      named = (p for p in self._clause if self._pieces[p].thing is not None)
      self._turn(named)

  def _pass(self, place: int) -> None:
    """A word that is neither cue nor thing may end a negation."""
    word = self._pieces[place].text
    if word in wish_cues.PARTICLES:
      self._turn_enclosed(place, wish_cues.SEPARABLE)
    elif word == "already":
      self._turn_enclosed(place, wish_cues.HAVING)
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

  def _turn_enclosed(self, place: int, verbs: frozenset[str]) -> None:
    """Turns around what stands between a verb and its end: "leave ... out"."""
    named, verb = wish_syntax.enclosed(
      self._pieces, place, self._clause.start, verbs
    )
    if verb is not None:
      twice = self._negative and self._cue < verb
      self._turn(named, not twice)

  def _end_of_clause(self, place: int) -> None:
    """A mark or a break, which ends a negation unless a list goes on."""
    self._turn_unfollowed()
    if not wish_syntax.says_nothing(self._of(self._clause)):
      self._before = self._clause  # "Puzzles? Oh, no."
    goes_on = self._pieces[place].text == "," and self._heard
    self._negative &= goes_on and wish_syntax.list_goes_on(
      self._pieces, place, is_first=not self._commas
    )
    self._commas += 1

  def _turn_unfollowed(self) -> None:
    """A negation with nothing behind it is about what was named before."""
    if not self._negative or self._heard or self._cue not in self._clause:
      return
    rest = self._pieces[self._cue + 1 : self._clause.stop]
    if not rest and any(self._turned[place] for place in self._before):
      return  # "Puzzles bore me, kites don't."
    denied = wish_syntax.has_denied_subject(
      self._pieces, self._cue, self._clause.start
    )
    if denied or all(
      piece.cue is Cue.POSITIVE or piece.text in wish_cues.FILLERS
      for piece in rest
    ):
      self._turn_back(self._cue)

  def _turn_back(self, place: int) -> bool:
    """Turns around what was named before a place: in its clause or before.

    Returns:
      Whether something was.
    """
    own = range(self._clause.start, place)
    named, turned = wish_syntax.things(self._pieces, own), True
    if not named:
      between = [p for p in self._of(own) if p.cue is not Cue.POSITIVE]
      if not wish_syntax.says_nothing(between):
        return False
      named = wish_syntax.things(self._pieces, self._before)
      condition = wish_syntax.condition(self._of(self._before))
      if condition is not None:
        # "If it is not a kite, I do not want it."
        named, turned = named if condition == "unless" else [], False
    self._turn(named, turned)
    return bool(named)
