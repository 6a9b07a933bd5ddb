"""Items as people name them: by title, or by their place in an answer."""

import bisect
import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence

from instructrec.data import catalog as catalog_lib
from instructrec.instructions import spoken
from instructrec.serving import conversation_cues
from instructrec.serving.message_words import MessageWords

_NOUNS = conversation_cues.NOUNS | {"one", "ones", "place"}
_NUMBERED = frozenset("number no nr # item place result".split())
_ARTICLES = frozenset(
  "the a an another your my our any of to for about".split()
)
_ALL = frozenset("these those them".split())
_ONE = frozenset("this that it".split())
_LONGEST_TITLE = 80
"""Words and marks of a title that are read."""
_LONG_TITLE = 3
"""Words of a title that is one wherever it stands."""
_YEAR = re.compile(r"\s*\((?:19|20)\d\d\)$")
_BULLET = re.compile(r"^\s*(?:\d{1,3}[.):]|[-*\u2022])?\s*[\"'*\u201c]*")

Named = tuple[tuple[str, ...], int]
"""Ids of items, none where there are fewer than was said; and their end."""


@dataclasses.dataclass(frozen=True, eq=False)
class ItemNames:
  """The names of a catalogue's items.

  Attributes:
    catalog: the items.
  """

  catalog: catalog_lib.Catalog

  @functools.cached_property
  def _titles(self) -> dict[tuple[str, ...], str]:
    """Item ids by the words of titles, with and without the year."""
    found: dict[tuple[str, ...], str | None] = {}
    items = self.catalog
    for item, title in zip(items.item_ids, items.titles, strict=True):
      plain = _YEAR.sub("", title)
      name, comma, article = plain.rpartition(", ")
      forms = {title, plain}
      if comma and article in ("The", "A", "An"):
        forms.add(f"{article} {name}")
      for key in {tuple(spoken.words(form)) for form in forms}:
        # What several are called names none of them.
        found[key] = None if found.get(key, item) != item else item
    return {key: item for key, item in found.items() if key and item}

  def of_title(self, name: str) -> str | None:
    """The item of a title, in any case, or None."""
    return self._titles.get(tuple(spoken.words(name)))

  def in_line(self, line: str) -> Iterator[str]:
    """The items whose titles stand in a line of an answer.

    Args:
      line: which may begin with a number, or a mark as lists have it.

    Yields:
      Ids, in the order of the titles.
    """
    tokens = conversation_cues.tokens(_BULLET.sub("", line))
    read = [spoken.words(token[0]) for token in tokens]
    words = [one for one in read if one]  # Marks say nothing.
    place = 0
    while place < len(words):
      found = self._longest(words, place)
      if found is not None and (
        not place or sum(map(len, words[place : found[1]])) >= _LONG_TITLE
      ):
        yield found[0]
        place = found[1]
      else:
        place += 1

  def _longest(
    self, words: Sequence[Sequence[str]], place: int
  ) -> tuple[str, int] | None:
    """The longest title that begins at a place: its item and its end.

    Args:
      words: of each token of a text.
      place: where to begin.
    """
    key: tuple[str, ...] = ()
    found = None
    for end in range(place, min(len(words), place + _LONGEST_TITLE)):
      key += tuple(words[end])
      if key in self._titles:
        found = self._titles[key], end + 1
      elif not self._begins(key):
        break
    return found

  def _begins(self, key: tuple[str, ...]) -> bool:
    """Whether a title begins with some words."""
    at = bisect.bisect_left(self._in_order, key)
    return at < len(self._in_order) and self._in_order[at][: len(key)] == key

  @functools.cached_property
  def _in_order(self) -> list[tuple[str, ...]]:
    return sorted(self._titles)

  def at(
    self, message: MessageWords, place: int, shown: Sequence[str]
  ) -> Named | None:
    """The items that a message names at a place.

    Args:
      message: the message.
      place: where.
      shown: ids of the last answer's items, in its order.

    Returns:
      The items; None where none is named.
    """
    found = self._title(message, place)
    while found is None and message.word(place) in _ARTICLES:
      place += 1
      found = self._title(message, place)
    if found is not None:
      return (found[0],), found[1]
    word = message.word(place)
    if word in _NUMBERED:
      number = conversation_cues.count(message.word(place + 1))
      return None if number is None else (_nth(shown, number), place + 2)
    number = conversation_cues.ordinal(word)
    if number is not None:
      return _nth_named(message, place + 1, number, shown)
    if word in _ALL and message.is_loose(place + 1):
      return tuple(shown), place + 1
    if word in _ONE and message.is_loose(place + 1):
      return self._one(message, place, shown), place + 1
    return None

  def _title(self, message: MessageWords, place: int) -> tuple[str, int] | None:
    """The title that a message has at a place; "more" is none, though one."""
    tokens = message.tokens[place : place + _LONGEST_TITLE]
    found = self._longest([spoken.words(token[0]) for token in tokens], 0)
    if found is None:
      return None
    found = found[0], place + found[1]
    words = message.words[place : found[1]]
    return None if conversation_cues.QUIET.issuperset(words) else found

  def _one(
    self, message: MessageWords, place: int, shown: Sequence[str]
  ) -> tuple[str, ...]:
    """What "that" is: the last that was numbered, or the only one."""
    for before in range(place - 1, -1, -1):
      number = conversation_cues.ordinal(message.word(before))
      if number is not None:
        return _nth(shown, number)
    return tuple(shown) if len(shown) == 1 else ()


def _nth_named(
  message: MessageWords, place: int, number: int, shown: Sequence[str]
) -> Named | None:
  """Such as "second one", "first two" and "second puzzle"."""
  word = message.word(place)
  several = conversation_cues.count(word)
  if several is not None and word != "one":
    items = tuple(shown[-several:] if number < 0 else shown[:several])
    return (items if len(items) == several else ()), place + 1
  if place in message.things:
    return _nth(shown, number), message.things[place][0]
  if word in _NOUNS:
    return _nth(shown, number), place + 1
  return (_nth(shown, number), place) if message.is_loose(place) else None


def _nth(items: Sequence[str], number: int) -> tuple[str, ...]:
  """The item of a number from 1, or the last; none where there is none."""
  if number < 0:
    return tuple(items[-1:])
  return tuple(items[number - 1 : number])
