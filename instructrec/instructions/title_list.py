r"""Responses that are lists of titles: how they are written and read.

    list = title, { separator, title }

A separator says how many titles are still to come: under T5's vocabularies
`<extra_id_9>` stands behind the first of ten titles and `<extra_id_1>` before
the last one, with a space on either side. Whoever writes a list then counts
down by one each time, and ends it behind the title that follows a 1; nothing
has to be counted from the beginning. Separators are a row of texts, of which
the last also stands where more titles are to come than there are texts, as
behind the first of 101; a row of one, such as LLaMA's newline, numbers nothing.

Each is a text that the vocabulary keeps as one token. In tokens a list is the
tokens of each title, encoded alone, with those of separators between them and
the end token last: no title depends on its neighbours, and a search can write
one after the other. A tokenizer's `separator_ids` are those of separators;
under T5's vocabulary with its sentinels the text has just these tokens.

A title may hold anything but the text of a separator, which `write` refuses,
for whatever stood in its place would be another title. Titles are one line,
without spaces at their ends, as the catalogue has them.

Reading is strict: an entry is an item where it looks like its title
(`data.item_text.look`: SentencePiece reads Unicode's form NFKC), letter by
letter. Any separator ends an entry; those with a wrong number are counted. What
else may be wrong with a list, once its entries are items, is counted by
`evaluation.control`.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int

from instructrec.data import item_text
from instructrec.instructions import edit_distance

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(1, 100))
"""Separate titles under T5's vocabularies, by how many are to come."""
NEWLINES = ("\n",)
"""Separate titles under vocabularies that have them, such as LLaMA's."""
FORMAT_VERSION = 2
"""Of lists in rows; what reads them refuses others."""
INVALID, EMPTY, BLANK = -1, -2, -3
"""What stands for an item where an entry is no title, where there is no entry,
and where an entry has no text; the first two as in `evaluation.generated`."""
MAX_DISTANCE = 3
"""Edits that a fuzzy reader allows, as RecLM-gen's does."""


Entry = TypeVar("Entry")


class Parts(NamedTuple, Generic[Entry]):
  """A list that was taken apart.

  Attributes:
    entries: what stands between separators, also nothing.
    misnumbered: separators that say another number than that of the entries
      behind them.
  """

  entries: list[Entry]
  misnumbered: int


def check(titles: Iterable[str], separators: Sequence[str] = SENTINELS) -> None:
  """Looks whether lists of these titles can be read back.

  Args:
    titles: such as those of a catalogue.
    separators: what stands between titles, by how many are to come.

  Raises:
    ValueError: where a separator is none, or a title holds one, is empty, or
      is not one line without spaces at its ends.
  """
  found = _pattern(tuple(separators))
  for title in titles:
    look = item_text.look(title)
    if held := found.search(title) or found.search(look):
      raise ValueError(
        f"the title {title!r} holds {held[0]!r}, which separates titles; "
        "rename the item, or choose other separators"
      )
    if not look or " ".join(title.split()) != title:
      raise ValueError(
        f"the title {title!r} could not be read back; expected one line of "
        "text, with single spaces between words and none at the ends"
      )


def write(titles: Sequence[str], separators: Sequence[str] = SENTINELS) -> str:
  """A list as text.

  Args:
    titles: in order; none makes the empty text.
    separators: what stands between them, by how many are to come.

  Returns:
    The text; `split` gives the titles back.

  Raises:
    ValueError: see `check`.
  """
  check(titles, separators)
  text = ""
  for title, coming in zip(titles, reversed(range(len(titles))), strict=True):
    text += title
    if coming:
      between = separators[min(coming, len(separators)) - 1]
      text += between if between.isspace() else f" {between} "
  return text


def split(text: str, separators: Sequence[str] = SENTINELS) -> Parts[str]:
  """Entries of a list, without the spaces around them.

  Args:
    text: a response.
    separators: what stands between titles, by how many are to come.

  Returns:
    The entries, also those without text; none of a text that has none.
  """
  pieces = _pattern(tuple(separators)).split(text)
  entries = [" ".join(entry.split()) for entry in pieces[::2]]
  if entries == [""]:
    return Parts([], 0)
  return Parts(entries, _misnumbered(pieces[1::2], separators))


def join_tokens(
  titles: Sequence[Sequence[int]], *, separator_ids: Sequence[int], eos_id: int
) -> list[int]:
  """A list as tokens.

  Args:
    titles: ids of each title, encoded alone; an end token behind one is left
      out.
    separator_ids: ids of the separators, by how many titles are to come.
    eos_id: id of the end token.

  Returns:
    The ids, with the end token last.

  Raises:
    ValueError: where a title has no tokens, or holds one of these ids.
  """
  joined: list[int] = []
  for place, title in enumerate(titles):
    ids = list(title)
    if ids and ids[-1] == eos_id:
      del ids[-1]
    if not ids or not {*ids}.isdisjoint({*separator_ids, eos_id}):
      raise ValueError(
        f"title {place} of the list has the tokens {list(title)}; expected "
        f"some, and neither a separator, {list(separator_ids)}, nor the end "
        f"token {eos_id} among them"
      )
    coming = len(titles) - place - 1
    joined += ids
    if coming:
      joined.append(separator_ids[min(coming, len(separator_ids)) - 1])
  return [*joined, eos_id]


def split_tokens(
  ids: Iterable[int], *, separator_ids: Sequence[int], eos_id: int
) -> Parts[list[int]]:
  """Tokens of each entry of a list.

  Args:
    ids: of a response; padding (0), and all behind the first end token, is left
      out.
    separator_ids: ids of the separators, by how many titles are to come.
    eos_id: id of the end token.

  Returns:
    The ids of each entry, also of those without any; none of an empty list.
  """
  rows: list[list[int]] = [[]]
  between: list[int] = []
  for token in itertools.takewhile(lambda i: i != eos_id, map(int, ids)):
    if token in separator_ids:
      rows.append([])
      between.append(token)
    elif token:
      rows[-1].append(token)
  if rows == [[]]:
    return Parts([], 0)
  return Parts(rows, _misnumbered(between, separator_ids))


@functools.lru_cache(maxsize=8)
def _pattern(separators: tuple[str, ...]) -> re.Pattern[str]:
  """Any of the separators.

  Raises:
    ValueError: where one is none.
  """
  wrong = [s for s in separators if not s or len(s.split()) > 1]
  pairs = itertools.permutations(separators, 2)
  if wrong or not separators or any(one in other for one, other in pairs):
    raise ValueError(
      f"the separators are {list(separators)}; expected one or more texts "
      "without spaces in them, none of them part of another, such as "
      f"{SENTINELS[0]!r} or {NEWLINES[0]!r}"
    )
  return re.compile(f"({'|'.join(map(re.escape, separators))})")


def _misnumbered(found: Sequence[Entry], separators: Sequence[Entry]) -> int:
  """How many separators say another number than that of those behind them."""
  coming = reversed(range(1, len(found) + 1))
  return sum(
    one != separators[min(number, len(separators)) - 1]
    for one, number in zip(found, coming, strict=True)
  )


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a response says.

  Attributes:
    entries: its texts.
    items: index of the item of each, `INVALID` or `BLANK`.
    edited: which entries are items for a fuzzy reader alone.
    misnumbered: see `Parts`.
  """

  entries: tuple[str, ...]
  items: tuple[int, ...]
  edited: tuple[bool, ...]
  misnumbered: int = 0


class Reader:
  """Reads lists of a catalogue's titles.

  Args:
    titles: of the catalogue, in its order; as the vocabulary gives them back,
      where it does not keep all of their characters.
    separators: what stands between titles, by how many are to come.
    max_distance: edits by which an entry may miss the one title that is
      nearest to it (`edit_distance.Nearest`); 0 is the strict reader.

  Raises:
    ValueError: where two titles look alike, or see `check`.
  """

  def __init__(
    self,
    titles: Sequence[str],
    *,
    separators: Sequence[str] = SENTINELS,
    max_distance: int = 0,
  ) -> None:
    check(titles, separators)
    looks = [item_text.look(title) for title in titles]
    self.separators = tuple(separators)
    self.max_distance = max_distance
    self._by_look: dict[str, int] = {}
    for index, look in enumerate(looks):
      if (first := self._by_look.setdefault(look, index)) != index:
        raise ValueError(
          f"items {first} and {index} are both called {titles[index]!r}; tell "
          "titles apart first, as data.catalog.Catalog does"
        )
    self._nearest = (
      edit_distance.Nearest(looks, max_distance) if max_distance else None
    )
    self._edited: dict[str, int | None] = {}

  @property
  def name(self) -> str:
    """What reports call it: `strict`, or `fuzzy (distance 3)`."""
    if not self.max_distance:
      return "strict"
    return f"fuzzy (distance {self.max_distance})"

  def read(self, text: str) -> Reading:
    """Reads a response.

    Args:
      text: any text.

    Returns:
      Its entries and their items.
    """
    parts = split(text, self.separators)
    return self.read_entries(parts.entries, parts.misnumbered)

  def read_entries(
    self, entries: Iterable[str], misnumbered: int = 0
  ) -> Reading:
    """Reads a response that was split before, such as by `split_tokens`.

    Args:
      entries: the text of each.
      misnumbered: see `Parts`.

    Returns:
      The entries and their items.
    """
    texts = tuple(" ".join(entry.split()) for entry in entries)
    found = [self._item(text) for text in texts]
    return Reading(
      texts,
      tuple(item for item, _ in found),
      tuple(edited for _, edited in found),
      misnumbered,
    )

  def _item(self, text: str) -> tuple[int, bool]:
    """Index of an entry's item, and whether it is the nearest alone."""
    look = item_text.look(text)
    if not look:
      return BLANK, False
    if (exact := self._by_look.get(look)) is not None:
      return exact, False
    if self._nearest is None:
      return INVALID, False
    if look not in self._edited:
      self._edited[look] = self._nearest(look)
    nearest = self._edited[look]
    return (INVALID, False) if nearest is None else (nearest, True)


def to_array(
  readings: Sequence[Reading], num_places: int = 0
) -> Int[np.ndarray, "lists places"]:
  """Items of many responses.

  Args:
    readings: of each.
    num_places: columns, at least; as many as the longest has otherwise.

  Returns:
    The items, with `EMPTY` where a list has no entry, int64.
  """
  width = max([num_places, *(len(reading.items) for reading in readings)])
  array = np.full((len(readings), width), EMPTY, np.int64)
  for row, reading in zip(array, readings, strict=True):
    row[: len(reading.items)] = reading.items
  return array
