"""The words of a message, their clauses, and the things and prices in them."""

import re
from collections.abc import Collection

from instructrec.instructions import spoken, wish_reader
from instructrec.serving import conversation_cues

MARKS = frozenset(".,;:!?()\n")
SIGNS = frozenset("$€£¥")
_DASHES = frozenset("-\u2013\u2014")
_WITH_ARTICLE = frozenset(("dozen", *spoken.SHARES))
_PERCENT = (("percent",), ("per", "cent"), ("pct",))


class MessageWords:
  """The words of one message.

  Args:
    text: of the message.
    wishes: finds what items have.

  Attributes:
    text: as it was given.
    tokens: words, numbers, signs and marks, in order.
    words: the tokens as the tables of cues write them.
    things: where names of attributes begin: their end and attribute.
  """

  def __init__(self, text: str, wishes: wish_reader.WishReader) -> None:
    self.text = text
    self.tokens: list[re.Match[str]] = conversation_cues.tokens(text)
    self.words = [conversation_cues.word(token[0]) for token in self.tokens]
    self.things: dict[int, tuple[int, int]] = {}
    starts = {token.start(): i for i, token in enumerate(self.tokens)}
    for piece in wishes.pieces(text):
      if piece.thing is not None and piece.start in starts:
        first = stop = starts[piece.start]
        while stop < len(starts) and self.tokens[stop].start() < piece.stop:
          stop += 1
        self.things[first] = stop, piece.thing

  def word(self, place: int) -> str:
    """The word at a place; beyond the ends, a mark."""
    return self.words[place] if 0 <= place < len(self.words) else "\n"

  def is_end(self, place: int) -> bool:
    """Whether a clause ends at a place."""
    word = self.word(place)
    return word in MARKS or word == "but"

  def is_loose(self, place: int) -> bool:
    """Whether what stands at a place says nothing of what came before."""
    return self.is_end(place) or self.word(place) in conversation_cues.QUIET

  def clause(self, place: int) -> range:
    """The places of the clause around one."""
    first = last = place
    while not self.is_end(first - 1):
      first -= 1
    while not self.is_end(last):
      last += 1
    return range(first, last)

  def said(self, start: int, stop: int) -> str:
    """The text of some places."""
    first, last = self.tokens[start], self.tokens[stop - 1]
    return self.text[first.start() : last.end()]

  def is_alone(self, start: int, stop: int) -> bool:
    """Whether a clause says nothing beside what stands at some places."""
    return all(
      place in range(start, stop)
      or self.words[place] in conversation_cues.QUIET
      for place in self.clause(start)
    )

  def number(self, place: int) -> tuple[int, bool, int] | None:
    """The whole number at a place: it, whether it is in percent, its end."""
    if (
      self.word(place) in ("a", "the") and self.word(place + 1) in _WITH_ARTICLE
    ):
      place += 1
    share = spoken.SHARES.get(self.word(place))
    if share is not None:
      return share, True, place + 1
    value = conversation_cues.count(self.word(place))
    if value is None:
      return None
    size = self._percent(place + 1)
    return value, size is not None, place + 1 + (size or 0)

  def _percent(self, place: int) -> int | None:
    """How many words say that the number before is in percent, or None."""
    behind = self.text[self.tokens[place - 1].end() :].lstrip()
    if behind.startswith("%"):
      return 0
    for words in _PERCENT:
      if all(self.word(place + at) == word for at, word in enumerate(words)):
        return len(words)
    return None

  def amount(self, place: int) -> tuple[float, int, bool] | None:
    """The number at a place: its value, its end, whether it has a currency."""
    signed = self.word(place) in SIGNS
    value = conversation_cues.amount(self.word(place + signed))
    if value is None:
      return None
    end = place + signed + 1
    if self._percent(end) is not None:
      return None
    if self.word(end) in conversation_cues.HUNDREDTH:
      return value / 100, end + 1, True
    # The second sign of "$5-$10" is that of the next amount.
    is_sign = self.word(end) in SIGNS and not (signed or self._gap(end))
    if is_sign or self.word(end) in conversation_cues.CURRENCY:
      return value, end + 1, True
    return value, end, signed

  def span(
    self, place: int, joined_by: Collection[str]
  ) -> tuple[tuple[float, int], tuple[float, int], bool] | None:
    """Two amounts that are joined by a word or a dash, the lower one first.

    Args:
      place: of the first.
      joined_by: the words.

    Returns:
      The value and the end of each, and whether one has a currency.
    """
    first = self.amount(place)
    if first is None:
      return None
    value, end, has_currency = first
    if self.word(end) in joined_by:
      second = self.amount(end + 1)
    elif self.is_dashed(end):
      second = self.amount(end)
    else:
      return None
    if second is None:
      return None
    if not has_currency and (
      self.word(second[1] - 1) in conversation_cues.HUNDREDTH
    ):
      value /= 100
    low, high = sorted((value, second[0]))
    return (low, end), (high, second[1]), has_currency or second[2]

  def is_dashed(self, place: int) -> bool:
    """Whether a dash stands before a token."""
    return place < len(self.tokens) and self._gap(place) in _DASHES

  def _gap(self, place: int) -> str:
    """What is no token between one and that before it."""
    start, stop = self.tokens[place - 1].end(), self.tokens[place].start()
    return self.text[start:stop].strip()

  def is_price(self, start: int, stop: int, has_currency: bool) -> bool:
    """Whether an amount at some places is one of money."""
    if has_currency:
      return True
    if self.word(stop) in conversation_cues.COUNTED:
      return False  # "At most two of them", "at most five titles".
    if self._speaks_of(start, conversation_cues.ABOUT_PRICE):
      return True
    return self.may_cost(start) and self.is_loose(stop)

  def may_cost(self, place: int) -> bool:
    """Whether a clause may speak of money, and not of ages or minutes."""
    if self._speaks_of(place, conversation_cues.ABOUT_PRICE):
      return True
    return not self._speaks_of(place, conversation_cues.NO_PRICE)

  def _speaks_of(self, place: int, words: Collection[str]) -> bool:
    """Whether the clause around a place has one of some words."""
    return any(self.words[at] in words for at in self.clause(place))
