"""The title that is nearest to a text, by edit distance (Levenshtein)."""

from collections.abc import Sequence

import numpy as np

_BUCKETS = 64
"""Characters are counted by their code modulo this."""


def levenshtein(a: str, b: str) -> int:
  """Fewest insertions, deletions and substitutions from one text to another.

  Args:
    a: a text.
    b: another.

  Returns:
    Their number.
  """
  row = list(range(len(b) + 1))
  for i, mine in enumerate(a, start=1):
    diagonal, row[0] = row[0], i
    for j, other in enumerate(b, start=1):
      diagonal, row[j] = (
        row[j],
        min(row[j] + 1, row[j - 1] + 1, diagonal + (mine != other)),
      )
  return row[-1]


class Nearest:
  """Finds the title that a text was meant to be, if there is one.

  A title counts where it is at most `max_distance` edits away and these are
  fewer than half of its characters: three edits turn any short title into any
  other. Where several titles are equally near, none is meant.

  Args:
    titles: any texts.
    max_distance: edits, at most.

  Raises:
    ValueError: where `max_distance` is below 1.
  """

  def __init__(self, titles: Sequence[str], max_distance: int) -> None:
    if max_distance < 1:
      raise ValueError(
        f"max_distance is {max_distance}, expected 1 or more edits"
      )
    self._titles = list(titles)
    self._max_distance = max_distance
    self._lengths = np.array([len(t) for t in self._titles], np.int64)
    self._counts = np.array(
      [_counts(title) for title in self._titles], np.int16
    ).reshape(-1, _BUCKETS)

  def __call__(self, text: str) -> int | None:
    """Index of the title that is meant; None where none is, or several are."""
    near = np.flatnonzero(
      np.abs(self._lengths - len(text)) <= self._max_distance
    )
    # An edit changes the counts by two at most, which leaves few to compare.
    differ = np.abs(self._counts[near] - _counts(text)).sum(1)
    near = near[differ <= 2 * self._max_distance]
    found = [
      (distance, index)
      for index in near.tolist()
      if (distance := levenshtein(text, self._titles[index]))
      <= self._max_distance
      and 2 * distance < len(self._titles[index])
    ]
    if not found:
      return None
    least = min(found)[0]
    best = [index for distance, index in found if distance == least]
    return best[0] if len(best) == 1 else None


def _counts(text: str) -> np.ndarray:
  codes = np.array([ord(c) for c in text], np.int64) % _BUCKETS
  return np.bincount(codes, minlength=_BUCKETS).astype(np.int16)
