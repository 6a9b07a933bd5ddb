"""Titles that can be told apart: a title must name one item.

Titles are what the model reads, ranks and writes. Of several that look alike,
the first stays, and the others get something behind them.
"""

import collections
from collections.abc import Callable, Collection, Hashable, Sequence

import polars as pl

from instructrec.data import item_text

Looks = Callable[[Sequence[str]], Sequence[Hashable]]
"""What titles look like to a reader who must tell them apart."""


def of(frame: pl.DataFrame, looks: Looks | None = None) -> pl.Series:
  """The titles of items, of which no two look alike.

  Args:
    frame: a catalogue's `title`, `brand` and `year`; what stands behind a title
      is the first of brand, year and number that tells it apart.
    looks: what else must tell titles apart; `item_text.look` always does.

  Returns:
    The titles, as the column `title`.

  Raises:
    ValueError: where a number behind a title changes nothing in its look.
  """
  # MovieLens has the year in its titles already.
  more = [
    (brand, None if year is None or f"({year})" in title else str(year))
    for title, brand, year in frame.select("title", "brand", "year").iter_rows()
  ]
  titles = _differing(frame["title"].to_list(), more, _plain_looks)
  if looks is not None:
    titles = _differing(titles, more, looks)
  return pl.Series("title", titles, pl.String)


def _plain_looks(titles: Sequence[str]) -> list[str]:
  return [item_text.look(title) for title in titles]


def _differing(
  titles: list[str],
  more: Sequence[tuple[str | None, ...]],
  looks: Looks,
) -> list[str]:
  """Titles of which no two look alike; the first of several stays.

  Args:
    titles: of all items.
    more: what may stand behind each, the preferred first.
    looks: see `of`.

  Returns:
    The titles.

  Raises:
    ValueError: where a number behind a title changes nothing in its look.
  """
  keys = looks(titles)
  counts = collections.Counter(keys)
  taken = {key for key, count in counts.items() if count == 1}
  numbers: dict[Hashable, int] = collections.defaultdict(lambda: 2)
  titles = list(titles)
  for i, (title, key) in enumerate(zip(titles, keys, strict=True)):
    if counts[key] == 1:
      continue
    if key in taken:
      for text in filter(None, more[i]):
        wanted = f"{title} ({text})"
        (found,) = looks([wanted])
        if found not in taken:
          break
      else:
        wanted, found = _numbered(title, numbers, key, taken, looks)
      titles[i], key = wanted, found
    taken.add(key)
  return titles


def _numbered(
  title: str,
  numbers: dict[Hashable, int],
  key: Hashable,
  taken: Collection[Hashable],
  looks: Looks,
) -> tuple[str, Hashable]:
  """A title with the least number that no other has, and its look."""
  # Each number tried in vain is a title that has it: no more than there are.
  for number in range(numbers[key], numbers[key] + len(taken) + 1):
    wanted = f"{title} (#{number})"
    (found,) = looks([wanted])
    if found not in taken:
      numbers[key] = number + 1
      return wanted, found
  raise ValueError(
    f"the title {title!r} cannot be told from others by a number behind it: "
    "the vocabulary has no digits; use another one"
  )
