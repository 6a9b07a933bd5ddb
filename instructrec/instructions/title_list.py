r"""Responses that are lists of titles: how they are written and read.

    list = title, { separator, title }

The separator is a text that the vocabulary keeps as one token: T5's has no
newline, so there it is a sentinel, with a space on either side; LLaMA's have
newlines. In tokens a list is the tokens of each title, encoded alone, with the
separator's between them and the end token last: no title depends on its
neighbours, and a search can write one after the other. A tokenizer's
`separator_id` is the separator's; under T5's vocabulary with its sentinels the
text has just these tokens.

A title may hold anything but the separator's text, which `write` refuses, for
whatever stood in its place would be another title. Titles are one line, without
spaces at their ends, as the catalogue has them.

Reading is strict: an entry is an item where it looks like its title
(`data.item_text.look`: SentencePiece reads Unicode's form NFKC), letter by
letter. What else may be wrong with a list, once its entries are items, is
counted by `evaluation.control`.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from instructrec.data import item_text
from instructrec.instructions import edit_distance

SENTINEL = "<extra_id_0>"
"""Separates titles under T5's vocabularies, whose last id it has."""
NEWLINE = "\n"
"""Separates titles under vocabularies that have it, such as LLaMA's."""
INVALID, EMPTY, BLANK = -1, -2, -3
"""What stands for an item where an entry is no title, where there is no entry,
and where an entry has no text; the first two as in `evaluation.generated`."""
MAX_DISTANCE = 3
"""Edits that a fuzzy reader allows, as RecLM-gen's does."""


def check(titles: Iterable[str], separator: str = SENTINEL) -> None:
  """Looks whether lists of these titles can be read back.

  Args:
    titles: such as those of a catalogue.
    separator: what stands between titles.

  Raises:
    ValueError: where the separator is none, or a title holds it, is empty, or
      is not one line without spaces at its ends.
  """
  if not separator or len(separator.split()) > 1:
    raise ValueError(
      f"the separator is {separator!r}; expected a text without spaces in it, "
      f"such as {SENTINEL!r} or {NEWLINE!r}"
    )
  for title in titles:
    look = item_text.look(title)
    if separator in title or separator in look:
      raise ValueError(
        f"the title {title!r} holds {separator!r}, which separates titles; "
        "rename the item, or choose another separator"
      )
    if not look or " ".join(title.split()) != title:
      raise ValueError(
        f"the title {title!r} could not be read back; expected one line of "
        "text, with single spaces between words and none at the ends"
      )


def write(titles: Sequence[str], separator: str = SENTINEL) -> str:
  """A list as text.

  Args:
    titles: in order; none makes the empty text.
    separator: what stands between them.

  Returns:
    The text; `split` gives the titles back.

  Raises:
    ValueError: see `check`.
  """
  check(titles, separator)
  return (separator if separator.isspace() else f" {separator} ").join(titles)


def split(text: str, separator: str = SENTINEL) -> list[str]:
  """Entries of a list, without the spaces around them.

  Args:
    text: a response.
    separator: what stands between titles.

  Returns:
    The entries, also those without text; none of a text that has none.
  """
  entries = [" ".join(entry.split()) for entry in text.split(separator)]
  return entries if entries != [""] else []


def join_tokens(
  titles: Sequence[Sequence[int]], *, separator_id: int, eos_id: int
) -> list[int]:
  """A list as tokens.

  Args:
    titles: ids of each title, encoded alone; an end token behind one is left
      out.
    separator_id: id of the separator.
    eos_id: id of the end token.

  Returns:
    The ids, with the end token last.

  Raises:
    ValueError: where a title has no tokens, or holds one of the two ids.
  """
  joined: list[int] = []
  for place, title in enumerate(titles):
    ids = list(title)
    if ids and ids[-1] == eos_id:
      del ids[-1]
    if not ids or separator_id in ids or eos_id in ids:
      raise ValueError(
        f"title {place} of the list has the tokens {list(title)}; expected "
        f"some, and neither the separator {separator_id} nor the end token "
        f"{eos_id} among them"
      )
    joined += [separator_id, *ids] if place else ids
  return [*joined, eos_id]


def split_tokens(
  ids: Iterable[int], *, separator_id: int, eos_id: int
) -> list[list[int]]:
  """Tokens of each entry of a list.

  Args:
    ids: of a response; padding (0), and all behind the first end token, is left
      out.
    separator_id: id of the separator.
    eos_id: id of the end token.

  Returns:
    The ids of each entry, also of those without any; none of an empty list.
  """
  rows: list[list[int]] = [[]]
  for token in map(int, ids):
    if token == eos_id:
      break
    if token == separator_id:
      rows.append([])
    elif token:
      rows[-1].append(token)
  return rows if rows != [[]] else []


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a response says.

  Attributes:
    entries: its texts.
    items: index of the item of each, `INVALID` or `BLANK`.
    edited: which entries are items for a fuzzy reader alone.
  """

  entries: tuple[str, ...]
  items: tuple[int, ...]
  edited: tuple[bool, ...]


class Reader:
  """Reads lists of a catalogue's titles.

  Args:
    titles: of the catalogue, in its order; as the vocabulary gives them back,
      where it does not keep all of their characters.
    separator: what stands between titles.
    max_distance: edits by which an entry may miss the one title that is
      nearest to it (`edit_distance.Nearest`); 0 is the strict reader.

  Raises:
    ValueError: where two titles look alike, or see `check`.
  """

  def __init__(
    self,
    titles: Sequence[str],
    *,
    separator: str = SENTINEL,
    max_distance: int = 0,
  ) -> None:
    check(titles, separator)
    looks = [item_text.look(title) for title in titles]
    self.separator = separator
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
    return self.read_entries(split(text, self.separator))

  def read_entries(self, entries: Iterable[str]) -> Reading:
    """Reads a response that was split before, such as by `split_tokens`.

    Args:
      entries: the text of each.

    Returns:
      The entries and their items.
    """
    texts = tuple(" ".join(entry.split()) for entry in entries)
    found = [self._item(text) for text in texts]
    return Reading(
      texts,
      tuple(item for item, _ in found),
      tuple(edited for _, edited in found),
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
