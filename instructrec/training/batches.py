"""Training batches as a pure function of (seed, step).

Nothing is consumed: `BatchStream.batch(step)` computes which examples a step
trains on, so resuming needs only the step. With several processes, each asks
for its own rows of the global batch, which is the same for any number of them.

The order: position n of the endless stream falls into a block of
`_BLOCK` positions. Each block holds each task in exact proportion to its
rate, shuffled by (seed, block); the k-th use of a task takes the k-th example
of the task's own shuffles, one per epoch, by (seed, task, epoch).

Batches may hold items beside tokens: see `item_arrays`. A history is then read
title by title, and what is left of the instruction is its prompt.

With packing, each block's examples are laid first-fit into rows of the given
lengths, and a step takes the next `batch_size` rows.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from jaxtyping import Int

from instructrec.models.scoring import features
from instructrec.training import item_arrays, packing, ragged, token_dataset

Batch = dict[str, np.ndarray]
Made = TypeVar("Made")

_BLOCK = 4096


class ListSource(Protocol):
  """What rows ask of lists: `alignment.list_arrays.ListArrays`."""

  @property
  def identity(self) -> Any:
    """What its arrays depend on beside the rows, as JSON values."""

  def __call__(
    self,
    dataset: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " batch"],
  ) -> Batch:
    """Arrays of some rows of a data set, equally wide for all data sets."""


def _generator(*key: int) -> np.random.Generator:
  return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def list_batch(
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " batch"],
  *,
  inputs_length: int,
  targets_length: int,
  num_candidates: int,
  items: item_arrays.ItemArrays | None = None,
) -> Batch:
  """A batch of candidate lists, one encoder input each.

  Args:
    dataset: examples with candidate lists.
    examples: which of them.
    inputs_length: width of the instructions, in tokens.
    targets_length: width of a candidate, in tokens.
    num_candidates: slots of a list; unused ones are padding.
    items: of a run that reads items; None for text alone.

  Returns:
    As `features.to_features`, with decoder arrays of rank 3. With `items`, also
    their arrays: `choice_*` are the candidates in order, and where histories
    are read item by item, `history_*` stand beside the prompt.

  Raises:
    ValueError: where a list is longer than `num_candidates`, or the data set
      does not tell its items.
  """
  targets = dataset.pad_lists(examples, targets_length, num_candidates)
  batch = features.to_features(
    instructions(dataset, items).pad(examples, inputs_length), targets
  )
  if items is not None:
    batch |= items.history_arrays(items.history(dataset, examples))
    batch |= items.choice_arrays(
      dataset.pad_candidate_items(examples, num_candidates)
    )
  return batch


def instructions(
  dataset: token_dataset.TokenDataset, items: item_arrays.ItemArrays | None
) -> ragged.Ragged:
  """The text that a model reads: without its history, where that is apart.

  Args:
    dataset: the examples.
    items: of a run that reads items; None for text alone.

  Returns:
    One row an example.

  Raises:
    ValueError: where the data set does not tell its items.
  """
  if items is None:
    return dataset.inputs
  dataset.check_items()
  assert dataset.prompts is not None
  return dataset.prompts if items.history_length else dataset.inputs


@dataclasses.dataclass(frozen=True, eq=False)
class BatchStream:
  """Endless, seekable training batches over a mixture of tasks.

  Attributes:
    datasets: the tokenized examples of each task.
    rates: relative weight of each task.
    batch_size: rows of the global batch.
    inputs_length: width of the instructions, in tokens; longer ones are cut.
    targets_length: width of the responses, in tokens; longer ones are cut,
      which `lengths.choose` refuses where responses are learnt.
    seed: of the order.
    pack: whether several examples share a row.
    joined: whether each answer stands behind its prompt in one sequence, as
      decoder-only networks train on it; see `packing.join_features`.
    loss_on_targets_only: likewise.
    items: of a run that reads items; None for text alone.
    lists: of a run that is rewarded for lists; None for no such arrays.
  """

  datasets: Mapping[str, token_dataset.TokenDataset]
  rates: Mapping[str, float]
  batch_size: int
  inputs_length: int
  targets_length: int
  seed: int
  pack: bool = False
  joined: bool = False
  loss_on_targets_only: bool = True
  items: item_arrays.ItemArrays | None = None
  lists: ListSource | None = None

  def __post_init__(self) -> None:
    """Checks the parts against each other.

    Raises:
      ValueError: for empty tasks, rates that fit no task or are too small,
        tasks that do not tell their items where these are read, or items in
        packed rows.
    """
    apart = self.items is not None or self.lists is not None
    if apart and (self.pack or self.joined):
      raise ValueError(
        "rows of several examples (pack=True), or of prompt and answer, cannot "
        "hold items, which belong to one prompt each; train with pack=False, "
        "or without items"
      )
    if not (self.loss_on_targets_only or self.joined):
      raise ValueError(
        "loss_on_targets_only is False, but prompts are no targets of this "
        "network: only a decoder-only one learns them, in rows that hold "
        "prompt and answer"
      )
    if set(self.datasets) != set(self.rates) or not self.datasets:
      raise ValueError(
        f"rates are given for {sorted(self.rates)}, the tasks are "
        f"{sorted(self.datasets)}; expected one rate a task"
      )
    for name, dataset in self.datasets.items():
      if not len(dataset):
        raise ValueError(f"{name} has no examples")
      instructions(dataset, self.items)
      if self.rates[name] <= 0:
        raise ValueError(
          f"the rate of {name} is {self.rates[name]}, expected more than 0"
        )
    for name, count in zip(self._names, self._block_counts, strict=True):
      if not count:
        rate = self.rates[name] / sum(self.rates.values())
        raise ValueError(
          f"the rate of {name} is {rate:.1e} of the mixture's, too little for "
          f"one of {_BLOCK} examples: it would never be trained on; raise the "
          "rate, or leave the task out"
        )

  @property
  def num_examples(self) -> int:
    """Examples of all tasks together."""
    return sum(len(dataset) for dataset in self.datasets.values())

  @property
  def truncated_inputs(self) -> float:
    """Fraction of all examples whose instruction is cut."""
    longer = sum(
      int((instructions(d, self.items).lengths > self.inputs_length).sum())
      for d in self.datasets.values()
    )
    return longer / self.num_examples

  @property
  def identity(self) -> dict[str, Any]:
    """What fixes which data each step sees, as JSON values."""
    found = {
      "seed": self.seed,
      "batch_size": self.batch_size,
      "pack": self.pack,
      **({"joined": self.loss_on_targets_only} if self.joined else {}),
      "lengths": [self.inputs_length, self.targets_length],
      "rates": dict(sorted(self.rates.items())),
      "examples": {n: len(d) for n, d in sorted(self.datasets.items())},
      "data": {
        n: d.meta.get("fingerprint") for n, d in sorted(self.datasets.items())
      },
    }
    if self.items is not None:
      found["items"] = {
        "history_length": self.items.history_length,
        "title_length": self.items.title_tokens.shape[1],
        "num_drawn": self.items.num_drawn,
        "table": self.items.fingerprint,
      }
    if self.lists is not None:
      found["lists"] = self.lists.identity
    return found

  @functools.cached_property
  def _names(self) -> list[str]:
    return sorted(self.datasets)

  @functools.cached_property
  def _block_counts(self) -> Int[np.ndarray, " tasks"]:
    """How often each task occurs in a block (largest remainders)."""
    rates = np.array([self.rates[name] for name in self._names])
    exact = rates / rates.sum() * _BLOCK
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: _BLOCK - counts.sum()]] += 1
    return counts

  @functools.lru_cache(maxsize=32)  # noqa: B019 - streams live as long as runs
  def _epoch_order(self, task: int, epoch: int) -> Int[np.ndarray, " examples"]:
    size = len(self.datasets[self._names[task]])
    return _generator(self.seed, 1, task, epoch).permutation(size)

  @functools.lru_cache(maxsize=8)  # noqa: B019
  def _block(
    self, block: int
  ) -> tuple[Int[np.ndarray, " block"], Int[np.ndarray, " block"]]:
    """Task and example of each position of a block."""
    tasks = np.repeat(np.arange(len(self._names)), self._block_counts)
    tasks = _generator(self.seed, 0, block).permutation(tasks)
    examples = np.zeros(_BLOCK, np.int64)
    for task, name in enumerate(self._names):
      (slots,) = np.nonzero(tasks == task)
      uses = block * self._block_counts[task] + np.arange(len(slots))
      epochs, within = np.divmod(uses, len(self.datasets[name]))
      for epoch in np.unique(epochs):
        chosen = epochs == epoch
        order = self._epoch_order(task, int(epoch))
        examples[slots[chosen]] = order[within[chosen]]
    return tasks, examples

  def _lengths(self, block: int) -> Int[np.ndarray, "block sides"]:
    """Tokens of each position's instruction and response, after cutting.

    Joined, both are one, and its first token is the target of none.
    """
    tasks, examples = self._block(block)
    lengths = np.zeros((_BLOCK, 2), np.int64)
    for task, name in enumerate(self._names):
      chosen = tasks == task
      dataset = self.datasets[name]
      lengths[chosen, 0] = np.minimum(
        dataset.inputs.lengths[examples[chosen]], self.inputs_length
      )
      lengths[chosen, 1] = dataset.targets.lengths[examples[chosen]]
    return lengths.sum(1, keepdims=True) - 1 if self.joined else lengths

  @functools.lru_cache(maxsize=8)  # noqa: B019
  def _packed_rows(self, block: int) -> list[list[int]]:
    """The positions of a block that share each row."""
    width: tuple[int, ...] = (self.inputs_length, self.targets_length)
    if self.joined:
      width = (sum(width),)
    return packing.first_fit(self._lengths(block).tolist(), width)

  @functools.cached_property
  def _row_starts(self) -> list[int]:
    """First packed row of each block known so far (grows on demand)."""
    return [0]

  def _row(self, row: int) -> list[tuple[int, int]]:
    """The (task, example) pairs of a row of the endless stream."""
    if not self.pack:
      block, position = divmod(row, _BLOCK)
      positions: Sequence[int] = [position]
    else:
      starts = self._row_starts
      while starts[-1] <= row:
        starts.append(starts[-1] + len(self._packed_rows(len(starts) - 1)))
      block = int(np.searchsorted(starts, row, side="right")) - 1
      positions = self._packed_rows(block)[row - starts[block]]
    tasks, examples = self._block(block)
    return [(int(tasks[p]), int(examples[p])) for p in positions]

  def examples(
    self, step: int, rows: Int[np.ndarray, " rows"] | None = None
  ) -> list[list[tuple[str, int]]]:
    """Which examples the rows of a step hold.

    Args:
      step: the training step, from 0.
      rows: which rows of the global batch; None for all.

    Returns:
      For each row, the (task name, example index) pairs in it.
    """
    if rows is None:
      rows = np.arange(self.batch_size)
    first = step * self.batch_size
    return [
      [(self._names[task], example) for task, example in self._row(first + row)]
      for row in rows.tolist()
    ]

  def _keys(self, step: int) -> Int[np.ndarray, "batch 2"]:
    """Random bits of each row of the global batch."""
    bits = _generator(self.seed, 2, step).integers(
      2**32, size=(self.batch_size, 2), dtype=np.uint32
    )
    return bits.view(np.int32)

  def batch(
    self, step: int, rows: Int[np.ndarray, " rows"] | None = None
  ) -> Batch:
    """The batch of a step, or some rows of it.

    Args:
      step: the training step, from 0.
      rows: which rows of the global batch; None for all.

    Returns:
      Arrays `[rows, length]`; see `features.to_features`. Where items are
      read, `history_*` [rows, history, ...] and `choice_*` [rows, 1 + drawn,
      ...] as `features.item_arrays` makes them: a row's first choice is its
      target (0 where it names no item), the others are drawn. Where lists are
      rewarded, also what `lists` gives, and `list_keys` [rows, 2] (int32): the
      bits of a key of JAX a row, for what is drawn of it. Packed batches add
      `encoder_segment_ids`, `encoder_positions` and the same for the decoder
      (int32; segments count from 1, padding is 0). Joined ones have the arrays
      of the decoder alone, as wide as both.
    """
    if rows is None:
      rows = np.arange(self.batch_size)
    packed = self.examples(step, rows)
    flat = [pair for row in packed for pair in row]
    inputs = np.zeros((len(flat), self.inputs_length), np.int32)
    targets = np.zeros((len(flat), self.targets_length), np.int32)
    width = 0 if self.items is None else self.items.history_length
    history = np.zeros((len(flat), width), np.int32)
    wanted = np.zeros(len(flat), np.int32)
    listed = np.zeros(len(flat), bool)
    asked: Batch = {}
    for name, dataset in self.datasets.items():
      (slots,) = np.nonzero([pair[0] == name for pair in flat])
      examples = np.array([flat[slot][1] for slot in slots], np.int64)
      texts = instructions(dataset, self.items)
      inputs[slots] = texts.pad(examples, self.inputs_length)
      targets[slots] = dataset.targets.pad(examples, self.targets_length)
      if self.items is not None:
        history[slots] = self.items.history(dataset, examples)
        wanted[slots], listed[slots] = self.items.targets(
          dataset, examples, self.seed, step, rows[slots]
        )
      if self.lists is not None and len(slots):
        for key, own in self.lists(dataset, examples).items():
          shape = (len(flat), *own.shape[1:])
          asked.setdefault(key, np.zeros(shape, own.dtype))[slots] = own
    batch = features.to_features(inputs, targets)
    if self.items is not None:
      batch |= self.items.history_arrays(history)
      if self.items.num_drawn:
        drawn = self.items.draw(self.seed, step, rows)
        choices = np.concatenate([wanted[:, None], drawn], axis=1)
        batch |= self.items.choice_arrays(choices)
        batch["choice_follows"] = (~listed[:, None]).astype(np.int32)
    if self.lists is not None:
      batch |= {**asked, "list_keys": self._keys(step)[rows]}
    if self.joined:
      batch = packing.join_features(
        batch, loss_on_targets_only=self.loss_on_targets_only
      )
    if not self.pack:
      return batch
    return packing.pack_features(batch, [len(row) for row in packed])


def ahead(make: Callable[[int], Made], steps: range) -> Iterator[Made]:
  """What `make` gives for each step, made while the step before it is in use.

  Args:
    make: called with a step, in a thread of its own.
    steps: which, in order.

  Yields:
    The results.
  """
  with concurrent.futures.ThreadPoolExecutor(1, "batches") as maker:
    waiting = [maker.submit(make, step) for step in steps[:1]]
    for step in steps:
      made = waiting.pop().result()
      if step + 1 < steps.stop:
        waiting.append(maker.submit(make, step + 1))
      yield made
