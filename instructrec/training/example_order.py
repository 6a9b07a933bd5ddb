"""Which examples the rows of an endless stream hold, as a function of seed.

Position n of the stream falls into a block of `BLOCK` positions. Each block
holds each task in exact proportion to its rate, shuffled by (seed, block); the
k-th use of a task takes the k-th example of the task's own shuffles, one per
epoch, by (seed, task, epoch).

With packing, each block's examples are laid first-fit into rows.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from instructrec.training import packing

BLOCK = 4096


def generator(*key: int) -> np.random.Generator:
  """Random numbers as a function of some integers, such as (seed, step)."""
  return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


@dataclasses.dataclass(frozen=True)
class Packing:
  """How long examples are, where several share a row.

  Attributes:
    width: tokens that a row takes on every side.
    lengths: the tokens `[examples, sides]` of some examples of a task.
  """

  width: Sequence[int]
  lengths: Callable[[str, Int[np.ndarray, " examples"]], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleOrder:
  """The examples of each row of an endless stream over several tasks.

  Attributes:
    sizes: examples of each task.
    rates: relative weight of each task.
    seed: of the order.
    packing: of rows that several examples share; None for one example a row.
  """

  sizes: Mapping[str, int]
  rates: Mapping[str, float]
  seed: int
  packing: Packing | None = None

  def __post_init__(self) -> None:
    """Checks tasks and rates against each other.

    Raises:
      ValueError: for empty tasks, and rates that fit no task or are too small.
    """
    if set(self.sizes) != set(self.rates) or not self.sizes:
      raise ValueError(
        f"rates are given for {sorted(self.rates)}, the tasks are "
        f"{sorted(self.sizes)}; expected one rate a task"
      )
    for name, size in self.sizes.items():
      if not size:
        raise ValueError(f"{name} has no examples")
      if self.rates[name] <= 0:
        raise ValueError(
          f"the rate of {name} is {self.rates[name]}, expected more than 0"
        )
    for name, count in zip(self.names, self.block_counts, strict=True):
      if not count:
        rate = self.rates[name] / sum(self.rates.values())
        raise ValueError(
          f"the rate of {name} is {rate:.1e} of the mixture's, too little for "
          f"one of {BLOCK} examples: it would never be trained on; raise the "
          "rate, or leave the task out"
        )

  @functools.cached_property
  def names(self) -> list[str]:
    """The tasks, by whose places they are numbered."""
    return sorted(self.sizes)

  @functools.cached_property
  def block_counts(self) -> Int[np.ndarray, " tasks"]:
    """How often each task occurs in a block (largest remainders)."""
    rates = np.array([self.rates[name] for name in self.names])
    exact = rates / rates.sum() * BLOCK
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: BLOCK - counts.sum()]] += 1
    return counts

  @functools.lru_cache(maxsize=32)  # noqa: B019 - orders live as long as runs
  def _epoch(self, task: int, epoch: int) -> Int[np.ndarray, " examples"]:
    size = self.sizes[self.names[task]]
    return generator(self.seed, 1, task, epoch).permutation(size)

  # As many as the rows that are sorted together are in; see `length_groups`.
  @functools.lru_cache(maxsize=64)  # noqa: B019
  def _block(
    self, block: int
  ) -> tuple[Int[np.ndarray, " block"], Int[np.ndarray, " block"]]:
    """Task and example of each position of a block."""
    tasks = np.repeat(np.arange(len(self.names)), self.block_counts)
    tasks = generator(self.seed, 0, block).permutation(tasks)
    examples = np.zeros(BLOCK, np.int64)
    for task, name in enumerate(self.names):
      (slots,) = np.nonzero(tasks == task)
      uses = block * self.block_counts[task] + np.arange(len(slots))
      epochs, within = np.divmod(uses, self.sizes[name])
      for epoch in np.unique(epochs):
        chosen = epochs == epoch
        examples[slots[chosen]] = self._epoch(task, int(epoch))[within[chosen]]
    return tasks, examples

  @functools.lru_cache(maxsize=8)  # noqa: B019
  def block_rows(self, block: int) -> list[list[int]]:
    """The positions of a block that share each row."""
    if self.packing is None:
      return [[position] for position in range(BLOCK)]
    tasks, examples = self._block(block)
    lengths = np.zeros((BLOCK, len(self.packing.width)), np.int64)
    for task, name in enumerate(self.names):
      chosen = tasks == task
      lengths[chosen] = self.packing.lengths(name, examples[chosen])
    return packing.first_fit(lengths.tolist(), self.packing.width)

  @functools.cached_property
  def _row_starts(self) -> list[int]:
    """First row of each block known so far (grows on demand)."""
    return [0]

  def _place(self, row: int) -> tuple[int, list[int]]:
    """The block of a row, and its positions there."""
    if self.packing is None:
      block, position = divmod(row, BLOCK)
      return block, [position]
    starts = self._row_starts
    while starts[-1] <= row:
      starts.append(starts[-1] + len(self.block_rows(len(starts) - 1)))
    block = int(np.searchsorted(starts, row, side="right")) - 1
    return block, self.block_rows(block)[row - starts[block]]

  def row(self, row: int) -> list[tuple[str, int]]:
    """What a row of the stream holds.

    Args:
      row: its number, from 0.

    Returns:
      Its examples, by task and number.
    """
    block, positions = self._place(row)
    tasks, examples = self._block(block)
    return [(self.names[tasks[p]], int(examples[p])) for p in positions]
