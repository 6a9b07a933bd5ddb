"""Reads what is asked of a list from the words of a request alone.

What is wanted and what is not is read by `instructions.wish_reader`. A number
with words such as "at most", "or more" or "about" beside it says how many are
to have what its sentence names behind it or, where nothing is, before it; a
number without such words is the length of the list. It claims no more than
these words: what is not in the table below is not read.
"""

import re

from instructrec.alignment.constraint import Constraint
from instructrec.evaluation.control import Direction
from instructrec.instructions import spoken
from instructrec.instructions.attributes import Attributes
from instructrec.instructions.wish_reader import WishReader

_COUNT = rf"(?:\d{{1,3}}|{'|'.join(spoken.COUNTS)})(?!\w)"
_NUMBER = rf"(?P<count>{_COUNT})(?:\s*(?P<percent>%|per ?cent\b))?"
_BETWEEN = r"(?: [\w&'-]+){0,5},? "
"""What may stand between a number and the words behind it, such as "games"."""
_BEFORE_NUMBER = {
  Direction.AT_MOST: (
    r"(?:at (?:the )?(?:very )?most|no more than|not more than|up to|"
    r"a maximum of|(?:limit|restrict|keep)\b[^.;:!?]*? to)"
  ),
  Direction.AT_LEAST: (
    r"(?:at (?:the )?(?:very )?least|(?:no|not) (?:less|fewer) than|"
    r"a minimum of)"
  ),
  Direction.ABOUT: r"(?:about|around|roughly|approximately|close to|aim for)",
}
_BEHIND_NUMBER = {
  Direction.AT_MOST: r"(?:or (?:fewer|less)|at (?:the )?most|as a maximum)",
  Direction.AT_LEAST: r"(?:or more|at (?:the )?least|as a minimum)",
  Direction.ABOUT: r"(?:more or less|or so|or thereabouts|give or take)",
}
_AMOUNTS = [
  (direction, re.compile(pattern, re.IGNORECASE))
  for direction, before in _BEFORE_NUMBER.items()
  for pattern in (
    rf"\b{before} {_NUMBER}",
    rf"\b{_NUMBER}{_BETWEEN}{_BEHIND_NUMBER[direction]}\b(?! {_COUNT})",
  )
]
_SENTENCE_END = re.compile(r"[.;!?\n]")


class ConstraintReader:
  """Reads requests.

  Args:
    attributes: of the catalogue.
  """

  def __init__(self, attributes: Attributes) -> None:
    self._attributes = attributes.attributes
    self._wishes = WishReader(attributes)

  def read(self, text: str) -> tuple[Constraint, ...]:
    """What a request asks of its list.

    Args:
      text: in the words of a person, without the titles of a history.

    Returns:
      One proportion, or what is wanted and what is not; none where nothing was
      read.
    """
    if (proportion := self._proportion(text)) is not None:
      return (proportion,)
    found = self._wishes.read(text)
    return (
      *(
        Constraint(self._attributes[n], Direction.WANTED) for n in found.wanted
      ),
      *(
        Constraint(self._attributes[n], Direction.UNWANTED)
        for n in found.unwanted
      ),
    )

  def _proportion(self, text: str) -> Constraint | None:
    """The first number of something; None where there is none."""
    amounts = sorted(
      (
        (direction, found)
        for direction, pattern in _AMOUNTS
        for found in pattern.finditer(text)
      ),
      key=lambda amount: amount[1].start("count"),
    )
    for direction, found in amounts:
      count, percent = _count(found["count"]), bool(found["percent"])
      named = self._named_beside(text, found)
      if named is not None and not (percent and count > 100):
        attribute = self._attributes[named]
        return Constraint(attribute, direction, count, percent=percent)
    return None

  def _named_beside(self, text: str, amount: re.Match[str]) -> int | None:
    """What the sentence of a number names."""
    ends = [end.start() for end in _SENTENCE_END.finditer(text)]
    number = amount.end("count")
    start = max((end for end in ends if end < number), default=0)
    stop = min((end for end in ends if end >= number), default=len(text))
    things = [
      piece
      for piece in self._wishes.pieces(text[start:stop])
      if piece.thing is not None
    ]
    behind = [piece for piece in things if start + piece.start >= number]
    nearest = [*behind, *reversed(things)]
    return nearest[0].thing if nearest else None


def _count(text: str) -> int:
  """A number in digits or as a word."""
  word = text.lower()
  return spoken.COUNTS.index(word) + 1 if word in spoken.COUNTS else int(text)
