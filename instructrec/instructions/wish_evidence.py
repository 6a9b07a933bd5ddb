"""Whether a sentence that names things is a wish at all.

Where a catalogue is large, ordinary words are names of its attributes, and most
sentences name something: "the light in the kitchen is broken" has a kitchen.
There a sentence is a wish

* where a name is more than an ordinary word, or called things: "lego", "wooden
  trains", "train things";
* where it asks, refuses or says what someone likes;
* where it begins with a thing and says nothing of it: "a train with lights";
* where hardly anything else is said: what was named, and the cues beside it,
  are at least half of the words that say something.

Where names are rarely ordinary words, as those of genres, every sentence is.
"""

import functools
from collections.abc import Collection, Iterator, Sequence

from instructrec.instructions import spoken, topics, wish_cues
from instructrec.instructions.wish_cues import Cue
from instructrec.instructions.wish_pieces import Piece

_BY_CHANCE = 0.01
"""Share of ordinary words that may be names without more being asked."""
_LEAST = 0.5
_LEAST_PLAIN = 0.3
"""The share that is to be understood; the lower one where plain words of
negation turned something around."""
_THINGS = frozenset(
  (
    "album albums article articles book books film films gear item items "
    "movie movies product products stuff thing things toy toys"
  ).split()
)
"""What is called so has no other name in its sentence."""
_SENTENCE_ENDS = frozenset(".!?\n")
_STRONG = frozenset((Cue.EXCEPTS, Cue.DISLIKES, Cue.BACKWARD, Cue.AT_START))
"""Cues that people use of what they want or not, and hardly otherwise."""
_WEAK = frozenset(
  (
    "after all about bring definitely hello instead into just let like likes "
    "maybe miss missing more only otherwise perhaps rock rocks then try "
    "welcome yes"
  ).split()
)
"""Wishes that are as well something else."""
_ASKING = frozenset(
  (
    "any anything anybody available buy everything for gift gifts got idea "
    "ideas occasion pls please present presents something stuff thanks thx"
  ).split()
)
_ARTICLES = frozenset("a an another more new nice good some".split())
_EMPTY = (
  wish_cues.CONTINUES
  | wish_cues.ENDS
  | wish_cues.FILLERS
  | wish_cues.EMPHASIS
  | frozenset(
    (
      "above after also among because before beside between but down during "
      "into might must nor off onto or out over per shall should since than "
      "then there through too under until up upon very via what whatever "
      "while whose why"
    ).split()
  )
)
"""Words that say nothing alone."""


@functools.cache
def _ordinary() -> frozenset[str]:
  """Ordinary words in singular and plural."""
  words = topics.ordinary()
  return words | {spoken.plural(word) for word in words}


def is_needed(names: Collection[tuple[str, ...]]) -> bool:
  """Whether sentences name things by chance.

  Args:
    names: of attributes, as `spoken.key` gives them.

  Returns:
    Whether more than one in a hundred ordinary words is a name.
  """
  ordinary = topics.ordinary()
  named = sum((spoken.singular(word),) in names for word in ordinary)
  return named > _BY_CHANCE * len(ordinary)


def of_wishes(
  pieces: Sequence[Piece], unwanted: Sequence[bool]
) -> Iterator[bool]:
  """Decides of each piece whether its sentence is a wish.

  Args:
    pieces: of a text, in order, words joined to cues and things.
    unwanted: for each piece whether it is a thing that is not wanted.

  Yields:
    Whether what the piece names counts.
  """
  start = 0
  for place in range(len(pieces) + 1):
    if place < len(pieces) and pieces[place].text not in _SENTENCE_ENDS:
      continue
    stop = min(place + 1, len(pieces))
    found = _is_wish(pieces[start:stop], any(unwanted[start:stop]))
    yield from [found] * (stop - start)
    start = stop


def _is_wish(sentence: Sequence[Piece], refuses: bool) -> bool:
  if any(piece.cue in _STRONG for piece in sentence) and refuses:
    return True
  for place, piece in enumerate(sentence):
    if piece.thing is not None and piece.text not in _ordinary():
      return True
    after = sentence[place + 1 : place + 2]
    if piece.thing is not None and any(p.text in _THINGS for p in after):
      return True
    if piece.cue is Cue.POSITIVE and piece.text not in _WEAK:
      return True
    if piece.text in _ASKING:
      return True
  if _begins_with_thing(sentence):
    return True
  understood = other = 0
  for piece in sentence:
    words = piece.text.split()
    if piece.thing is not None or piece.cue is not None:
      understood += 1
    elif not piece.is_mark and not wish_cues.EMPHASIS.issuperset(words):
      other += piece.text not in _EMPTY
  least = _LEAST_PLAIN if refuses else _LEAST
  return understood >= least * (understood + other)


def _begins_with_thing(sentence: Sequence[Piece]) -> bool:
  """Whether it is "a train with lights", and not "a train is late"."""
  rest = list(sentence)
  while rest and rest[0].text in _ARTICLES:
    rest = rest[1:]
  if not rest or rest[0].thing is None:
    return False
  while rest and (
    rest[0].thing is not None or rest[0].text in wish_cues.CONTINUES
  ):
    rest = rest[1:]
  return not rest or rest[0].text not in wish_cues.LINKS | wish_cues.AUXILIARIES
