"""What stands around a word of a wish: what `wish_polarity` asks of its text.

Nothing here knows what is wanted and what is not. A clause is told by the place
where it starts; it ends at the word that is asked about.
"""

import itertools
from collections.abc import Iterable, Sequence

from instructrec.instructions import wish_cues
from instructrec.instructions.wish_cues import Cue
from instructrec.instructions.wish_pieces import Piece

_FAR_NEXT = 2
"""So many words may lie between "not so much" and what it is about."""
_FAR_OUT = 4
"""So many may lie between "anything" and "but"."""
WITHIN = (Cue.LAST_ONLY, Cue.AT_START, Cue.BAD, Cue.CONTINUES, Cue.SOUR)
"""Cues that do not part the things around them."""

Pieces = Sequence[Piece]


def things(pieces: Pieces, places: Iterable[int]) -> list[int]:
  """Things since the last cue within some places."""
  found: list[int] = []
  for place in places:
    piece = pieces[place]
    if piece.thing is not None:
      found.append(place)
    elif (
      piece.cue not in (None, *WITHIN) and piece.text not in wish_cues.EMPHASIS
    ):
      found = []
  return found


def says_nothing(pieces: Iterable[Piece]) -> bool:
  """Whether all are words that may stand beside any cue: "oh, please"."""
  words = wish_cues.FILLERS | wish_cues.ENDS | wish_cues.JOINERS
  return all(piece.text in words for piece in pieces)


def is_thing_alone(pieces: Iterable[Piece]) -> bool:
  """Whether a thing is all that is said until the sentence ends."""
  rest = itertools.takewhile(lambda piece: not piece.is_stop, pieces)
  kept = [p for p in rest if p.text not in wish_cues.CONTINUES]
  return len(kept) == 1 and kept[0].thing is not None


def names_next(pieces: Pieces, place: int) -> bool:
  """Whether it is "What I hate: puzzles." or "What I hate, it is ..."."""
  after = pieces[place + 1 : place + 2]
  text = pieces[place].text
  return text == ":" or (
    text == "," and any(piece.text in wish_cues.ITS for piece in after)
  )


def takes_out(pieces: Pieces, place: int) -> bool:
  """Whether "but" stands behind "any colour" or "everyone"."""
  for piece in reversed(pieces[max(0, place - _FAR_OUT) : place]):
    if piece.text in wish_cues.UNIVERSAL:
      return True
    if piece.thing is not None or piece.cue is not None or piece.is_mark:
      return False
  return False


def exempts_from(pieces: Pieces, place: int) -> int | None:
  """The thing that "except" is about in "no kites, except dragon kites"."""
  if pieces[place].text.split()[0] not in wish_cues.EXEMPTING:
    return None
  for before in range(place - 1, -1, -1):
    piece = pieces[before]
    if piece.thing is not None:
      return before
    if piece.cue is not None or piece.is_stop:
      return None
    if piece.text in wish_cues.UNIVERSAL:
      return None  # "No kites, all toys except dolls."
  return None


def asks(pieces: Pieces, place: int) -> bool:
  """Whether a question begins here: "Wouldn't a kite be nice?"."""
  if pieces[place].text not in wish_cues.QUESTIONS:
    return False
  before = pieces[place - 1 : place]
  if before and not before[0].is_mark:
    return False
  stops = (piece.text for piece in pieces[place:] if piece.is_stop)
  return next(stops, "") == "?"


def is_order(pieces: Pieces, place: int, start: int) -> bool:
  """Whether "hide" and the like begin their clause."""
  if not all(piece.text in wish_cues.POLITE for piece in pieces[start:place]):
    return False
  if pieces[place].text not in wish_cues.BESIDE_THING:
    return True
  # "Over puzzles by now", but "over the weekend I want puzzles".
  after = pieces[place + 1 : place + 2]
  return any(piece.thing is not None for piece in after)


def is_joined(pieces: Pieces, cue: int, place: int) -> bool:
  """Whether "hate and despise" say one thing twice."""
  between = pieces[cue + 1 : place]
  same = pieces[cue].text == pieces[place].text
  return same or (
    bool(between) and all(p.text in wish_cues.JOINERS for p in between)
  )


def is_about_next(pieces: Pieces, place: int, start: int) -> bool:
  """Whether "not so much" begins "not so much kites"."""
  text = pieces[place].text
  open_ended = text.endswith((" not", " dont")) or " no " in text
  if not (open_ended or text.startswith("not ")):
    return False
  if things(pieces, range(start, place)):
    return False
  gap = 0
  rest = pieces[place + 1 :]
  if [piece.text for piece in rest[:1]] == [","] and is_thing_alone(rest[1:]):
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


def is_heading(pieces: Pieces, place: int, start: int) -> bool:
  """Whether it is "Unwanted: kites."."""
  after = pieces[place + 1 : place + 2]
  return start == place and any(piece.text == ":" for piece in after)


def compares(pieces: Pieces, place: int) -> bool:
  """Whether "than", "over" and "to" compare here; any other word may stand."""
  text = pieces[place].text
  if text not in wish_cues.CONDITIONAL:
    return True
  if text == "than" and pieces[max(place - 1, 0)].text == "more":
    return False  # "More than puzzles."
  around = pieces[max(place - 1, 0) : place + 2 : 2]
  between = [piece.thing is not None for piece in around] == [True, True]
  if between and text in wish_cues.BEATS:
    return True  # "Kites over puzzles any day."
  return _comes_after(pieces, place, wish_cues.CONDITIONAL[text])


def _comes_after(pieces: Pieces, place: int, words: frozenset[str]) -> bool:
  """Whether one of some words came before in the sentence."""
  for piece in reversed(pieces[:place]):
    if piece.is_stop:
      return False
    if not words.isdisjoint(piece.text.split()):
      return True
  return False


def list_goes_on(pieces: Pieces, comma: int, *, is_first: bool) -> bool:
  """Whether "no kites, puzzles or dolls" is one list.

  Args:
    pieces: of the wish.
    comma: place of a comma behind a thing.
    is_first: whether it is the first one of the list.
  """
  joined = False
  for place in range(comma + 1, len(pieces)):
    piece = pieces[place]
    if piece.thing is not None:
      if joined:
        return not _wish_follows(pieces, place)
      continue
    if piece.cue is Cue.CONTINUES:
      joined = True
      continue
    if piece.cue is not None or piece.is_stop:
      return False
    if piece.text in wish_cues.JOINERS:
      if is_first and place == comma + 1 and piece.text == "and":
        return False  # "No puzzles, and a kite please."
      joined = True
    elif piece.text in wish_cues.ENDS:
      return False
  return False


def _wish_follows(pieces: Pieces, place: int) -> bool:
  """Whether "..., kites or dolls instead" is what is wanted."""
  for piece in pieces[place + 1 :]:
    if piece.is_mark:
      return False
    if piece.cue is not None:
      return piece.cue is Cue.POSITIVE
  return False


def compounded(pieces: Pieces, place: int) -> list[int]:
  """The thing of "a puzzle-free list", before the place of "-free"."""
  place -= 1
  while place >= 0 and pieces[place].text in wish_cues.CONTINUES:
    place -= 1
  return [place] if place >= 0 and pieces[place].thing is not None else []


def enclosed(
  pieces: Pieces, place: int, start: int, verbs: frozenset[str]
) -> tuple[list[int], int | None]:
  """What stands between a verb and its end: "leave ... out".

  Args:
    pieces: of the wish.
    place: of the end.
    start: of the clause.
    verbs: that may belong to it.

  Returns:
    The things, and the place of the verb; none without a verb.
  """
  found: list[int] = []
  for before in range(place - 1, start - 1, -1):
    if pieces[before].thing is not None:
      found.append(before)
    elif pieces[before].text in verbs:
      return found, before
  return [], None


def has_denied_subject(pieces: Pieces, cue: int, start: int) -> bool:
  """Whether the clause begins "Puzzles do not ..." or "Kites never ...".

  What "puzzles without small parts" and "a kite that is not pink" deny is no
  wish of the catalogue's, and the thing stays wanted.
  """
  before = pieces[start:cue]
  while before and says_nothing(before[:1]):
    before = before[1:]
  named = [place for place, p in enumerate(before) if p.thing is not None]
  if not named or not _denies(pieces[cue], before[named[-1] :]):
    return False
  for one, other in itertools.pairwise(before[named[0] :]):
    is_noun = one.thing is not None or one.text in wish_cues.ANYTHING
    if is_noun and other.text in wish_cues.RELATIVES:
      return False
  return all(
    piece.text in wish_cues.AUXILIARIES | wish_cues.CONTINUES
    for piece in before
    if piece.thing is None
  )


def _denies(cue: Piece, between: Pieces) -> bool:
  """Whether a cue denies what its subject does: "are not", "never"."""
  verbs = wish_cues.AUXILIARIES - wish_cues.EMPHASIS
  first = cue.text.split()[:1]
  return not wish_cues.DENY_VERBS.isdisjoint((*first, cue.text)) or any(
    piece.text in verbs for piece in between
  )


def subjects(pieces: Pieces, place: int, start: int) -> list[int]:
  """The things that a clause says something of: "Kites and dolls are dull".

  Args:
    pieces: of the wish.
    place: of what is said.
    start: of the clause.
  """
  place -= 1
  linked = False
  while place >= start and pieces[place].thing is None:
    linked |= not wish_cues.LINKS.isdisjoint(pieces[place].text.split())
    place -= 1
  before = pieces[start : max(place, 0)]
  linked |= any(piece.text in wish_cues.FINDS for piece in before)
  found: list[int] = []
  while linked and place >= start:
    if pieces[place].thing is not None:
      found.append(place)
    elif pieces[place].text not in wish_cues.JOINERS:
      break
    place -= 1
  return found


def condition(clause: Pieces) -> str | None:
  """The word of "unless it is a kite, ..." and "if it is not a kite, ..."."""
  for piece in clause:
    if piece.cue in (Cue.EXCEPTS, Cue.NEUTRAL):
      word = piece.text.split()[0]
      return word if word in ("if", "unless") else None
  return None
