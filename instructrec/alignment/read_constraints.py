"""Reads what is asked of a list from the words of a request alone.

What is wanted and what is not is read by `instructions.wish_reader`. A number
with words such as "at most", "or more" or "about" beside it says how many are
to have what its sentence names behind it or, where nothing is, before it; so do
"exactly three puzzles" and "three of them puzzles", right before the name. Half
and a quarter are numbers, too. Any other number is the length of the list, or
measures something: ages, players, money. It claims no more than these words:
what is not in the table below is not read.
"""

import re
from typing import NamedTuple

from instructrec.alignment.constraint import Constraint
from instructrec.evaluation.control import Direction
from instructrec.instructions import spoken
from instructrec.instructions.attributes import Attributes
from instructrec.instructions.wish_reader import WishReader

_WORDS = "|".join((*spoken.NUMBERS, *spoken.SHARES))
_COUNT = rf"(?<!\d[.,])(?:\d{{1,3}}|{_WORDS})(?!\w|[.,]\d)"
_NUMBER = (
  rf"(?:(?:an?|the) )?(?P<count>{_COUNT})"
  r"(?:\s*(?P<percent>%|per ?cent\b))?"
)
_FIRST = rf"(?:{_COUNT}(?: or | to | ?- ?))?"
"""Of "at most two or three" the first, which says nothing."""
_BETWEEN = r"(?: [\w&'-]+){0,5},? "
"""What may stand between a number and the words behind it, such as "games"."""
_LIMITS = r"(?:limit|restrict|keep)\b[^.;:!?]*? to"
_DENIES = r"(?:not|never|n['\u2019]?t)\b[^.,;:!?\n]{0,40}? more than"
"""As in "I do not want to see more than"."""
_BEFORE_NUMBER = {
  Direction.AT_MOST: (
    r"(?:at (?:the )?(?:very )?most|no more than|not more than|up to|"
    rf"max(?:imum)?(?: of)?|a maximum of|{_LIMITS})"
  ),
  Direction.AT_LEAST: (
    r"(?:at (?:the )?(?:very )?least|(?:no|not) (?:less|fewer) than|"
    r"a minimum of)"
  ),
  Direction.ABOUT: r"(?:about|around|roughly|approximately|close to|aim for)",
}
_BEHIND_NUMBER = {
  Direction.AT_MOST: (
    r"(?:or (?:fewer|less)|at (?:the )?most|as a maximum|"
    r"max(?:imum)?(?=\s*(?:[.,;:!?)]|$)))"
  ),
  Direction.AT_LEAST: r"(?:or more|at (?:the )?least|as a minimum)",
  Direction.ABOUT: r"(?:more or less|or so|or thereabouts|give or take)",
}
_BEYOND = (
  (Direction.AT_MOST, -1, r"(?<!no )(?<!not )(?:less|fewer) than"),
  (Direction.AT_LEAST, 1, r"(?<!no )(?<!not )more than"),
)
"""The number itself is too many, or too few."""
_OF_LIST = r"(?:them|these|those|which|the (?:list|items))"
_EXACT = (
  rf"\b(?:exactly|precisely) {_NUMBER}",
  rf"\b{_NUMBER} of {_OF_LIST}\b",
  r"\b(?P<count>half|quarter)(?P<percent>)\b",
)
_NEXT = re.compile(
  rf"(?: of| {_OF_LIST}| should| may| can| must| be| being| are| is| as| an?)*"
  " ",
  re.IGNORECASE,
)
"""What stands between a number that is exact and its name."""
_MEASURE = re.compile(
  r"[ -]?(?:an? (?:hour|dozen|year)|dollars?|bucks?|quid|usd|euros?|eur|"
  r"pounds?|cents?|pence|years?|months?|weeks?|days?|hours?|minutes?|players?|"
  r"people|persons?|kids?|children|adults?|pages?|pieces?|stars?|inch(?:es)?|"
  r"feet|foot|cm|mm|met(?:er|re)s?)\b",
  re.IGNORECASE,
)
"""What a number counts that is of one item, and not of the list."""
_AGE = re.compile(r"\b(?:ages?|aged)(?: of)? $", re.IGNORECASE)


class _Amount(NamedTuple):
  """Words that say how many.

  Attributes:
    direction: of the constraint.
    more: what it has more than the number that is said.
    words: where they are.
    is_exact: whether what is counted has to follow at once.
  """

  direction: Direction
  more: int
  words: re.Match[str]
  is_exact: bool = False


_AMOUNTS = [
  (direction, more, re.compile(pattern, re.IGNORECASE), exact)
  for direction, more, pattern, exact in (
    (Direction.AT_MOST, 0, rf"{_DENIES} {_FIRST}{_NUMBER}", False),
    *(
      (direction, 0, pattern, False)
      for direction, before in _BEFORE_NUMBER.items()
      for pattern in (
        rf"\b{before} {_FIRST * (direction is Direction.AT_MOST)}{_NUMBER}",
        rf"\b{_NUMBER}{_BETWEEN}{_BEHIND_NUMBER[direction]}\b(?! {_COUNT})",
      )
    ),
    *(
      (direction, more, rf"{before} {_NUMBER}", False)
      for direction, more, before in _BEYOND
    ),
    *((Direction.ABOUT, 0, pattern, True) for pattern in _EXACT),
  )
]
_LIMIT = re.compile(r"limit|restrict|keep", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.;!?\n]")
_JOINT = re.compile(r",|\b(?:and|but)\b", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_NOUGHT = re.compile(r"\b0 (?=[^\W\d_])")


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
    text = self._without_noughts(_SPACES.sub(" ", text))
    amounts = sorted(
      (
        _Amount(direction, more, found, exact)
        for direction, more, pattern, exact in _AMOUNTS
        for found in pattern.finditer(text)
      ),
      key=lambda amount: amount.words.start("count"),
    )
    counted = []
    for amount in amounts:
      if _measures(text, amount.words):
        # "For ages 3 or less" refuses nothing.
        start, stop = amount.words.span()
        text = text[:start] + "_" * (stop - start) + text[stop:]
      else:
        counted.append(amount)
    for amount in counted:
      if (proportion := self._proportion(text, amount)) is not None:
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

  def _without_noughts(self, text: str) -> str:
    """Says "no puzzles" for "0 puzzles"."""
    if _NOUGHT.search(text) is None:
      return text
    things = {
      piece.start
      for piece in self._wishes.pieces(text)
      if piece.thing is not None
    }
    return _NOUGHT.sub(lambda m: "no " if m.end() in things else m[0], text)

  def _proportion(self, text: str, amount: _Amount) -> Constraint | None:
    """What words ask that say how many; None where it is of nothing."""
    count, percent = _count(amount.words)
    # A list has no half items: below 30% is at most 29%.
    count += amount.more
    named = self._named_beside(text, amount)
    if named is None or count < 0 or (percent and count > 100):
      return None
    attribute = self._attributes[named]
    return Constraint(attribute, amount.direction, count, percent=percent)

  def _named_beside(self, text: str, amount: _Amount) -> int | None:
    """What the sentence of a number names."""
    ends = [end.start() for end in _SENTENCE_END.finditer(text)]
    number = amount.words.end("count")
    start = max((end for end in ends if end < number), default=0)
    stop = min((end for end in ends if end >= number), default=len(text))
    things = [
      (start + piece.start, piece.thing)
      for piece in self._wishes.pieces(text[start:stop])
      if piece.thing is not None
    ]
    behind = [one for one in things if one[0] >= number]
    # "At most 3 items, and no puzzles" does not count puzzles.
    refused = {
      start + span.start
      for span in self._wishes.read(text[start:stop]).spans
      if span.unwanted
    }
    behind = [
      one
      for one in behind
      if one[0] not in refused or not _JOINT.search(text, number, one[0])
    ]
    after = max(number, amount.words.end("percent"))
    follows = bool(behind) and bool(_NEXT.fullmatch(text, after, behind[0][0]))
    if amount.is_exact:
      return behind[0][1] if follows else None
    before = [one for one in reversed(things) if one[0] < number]
    if _LIMIT.match(amount.words[0]):
      # "Limit puzzles to 2"; "keep the list to 10" limits nothing.
      within = [one for one in before if one[0] > amount.words.start()]
      nearest = [*within, *(behind if follows else [])]
    else:
      nearest = [*behind, *before]
    return nearest[0][1] if nearest else None


def _count(words: re.Match[str]) -> tuple[int, bool]:
  """A number in digits or as a word, and whether it is in percent."""
  word = words["count"].lower()
  if word in spoken.SHARES:
    return spoken.SHARES[word], True
  number = spoken.NUMBERS.get(word)
  return int(word) if number is None else number, bool(words["percent"])


def _measures(text: str, words: re.Match[str]) -> bool:
  """Whether a number is of one item, and not of the list."""
  start, stop = words.span("count")
  units = (_MEASURE.match(text, end) for end in (stop, words.end()))
  return any(units) or bool(_AGE.search(text[:start]))
