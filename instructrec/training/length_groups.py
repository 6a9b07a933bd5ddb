"""Batches of rows that are alike in length, so that little is padding.

The rows of `WINDOW` batches are sorted by the widths that hold them and cut
into batches again, and the batches are shuffled. A step's rows stay a function
of (seed, step), each row is used as often as it was, and rows that share
widths meet each other by chance.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from instructrec.training import example_order

WINDOW = 64
"""Batches whose rows are sorted together."""


@dataclasses.dataclass(frozen=True)
class Widths:
  """The rows of a step, and how wide its arrays are.

  Attributes:
    rows: numbers of the stream's rows, in the order of the batch.
    widths: one that holds them for each side, in the order of the sides.
    means: mean length of the rows on each side, after cutting.
  """

  rows: Int[np.ndarray, " batch"]
  widths: tuple[int, ...]
  means: tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class LengthGroups:
  """Which rows of a stream share a batch.

  Attributes:
    lengths: gives the lengths `[rows, sides]` of some rows of the stream.
    widths: those that each side may have, ascending; the last one is that of
      a batch without groups. Each combination is compiled, so they are few.
    batch_size: rows of a batch.
    seed: of the order of the batches.
  """

  lengths: Callable[[Int[np.ndarray, " rows"]], Int[np.ndarray, "rows sides"]]
  widths: Sequence[Sequence[int]]
  batch_size: int
  seed: int

  @functools.lru_cache(maxsize=4)  # noqa: B019 - groups live as long as runs
  def _window(
    self, window: int
  ) -> tuple[
    Int[np.ndarray, "window batch"],
    Int[np.ndarray, "window sides"],
    Float[np.ndarray, "window sides"],
  ]:
    """Rows of each batch of a window, its widths, and mean lengths."""
    count = WINDOW * self.batch_size
    numbers = window * count + np.arange(count)
    most = [widths[-1] for widths in self.widths]
    lengths = np.minimum(self.lengths(numbers), most)
    levels = np.stack(
      [
        np.searchsorted(widths, side)
        for widths, side in zip(self.widths, lengths.T, strict=True)
      ],
      axis=1,
    )
    # Stable: rows of the same widths stay in the order of the stream.
    order = np.lexsort(levels.T).reshape(WINDOW, self.batch_size)
    order = example_order.generator(self.seed, 3, window).permutation(order)
    highest = levels[order].max(1)
    widths = np.stack(
      [np.array(w)[highest[:, side]] for side, w in enumerate(self.widths)],
      axis=1,
    )
    return numbers[order], widths, lengths[order].mean(1)

  def __call__(self, step: int) -> Widths:
    """What a step holds."""
    window, place = divmod(step, WINDOW)
    rows, widths, means = self._window(window)
    return Widths(
      rows[place], tuple(widths[place].tolist()), tuple(means[place].tolist())
    )


def parts(most: int, shares: Sequence[float], multiple: int) -> list[int]:
  """Widths to choose from.

  Args:
    most: the greatest.
    shares: of it that the others are.
    multiple: what the others are rounded up to a multiple of.

  Returns:
    Widths, ascending, each once.
  """
  rounded = (int(-(-most * share // multiple)) * multiple for share in shares)
  return sorted({most, *(width for width in rounded if width < most)})
