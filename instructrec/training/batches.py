"""Training batches as a pure function of (seed, step).

Nothing is consumed: `BatchStream.batch(step)` computes which examples a step
trains on, so resuming needs only the step. With several processes, each asks
for its own rows of the global batch, which is the same for any number of them.
A step takes the next `batch_size` rows of an endless stream, whose order
`example_order` knows.

Batches may hold items beside tokens: see `item_arrays`. A history is then read
title by title, and what is left of the instruction is its prompt. With groups
(`length_groups`) the rows of a step are alike in length, and its arrays are no
wider than they need.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int

from instructrec.models.scoring import features
from instructrec.training import (
  example_order,
  item_arrays,
  length_groups,
  packing,
  ragged,
  token_dataset,
)

Batch = dict[str, np.ndarray]

# How wide grouped batches are, in parts of the whole width. A step costs about
# what its text is wide; a combination is compiled in seconds, or minutes.
_TEXT_PARTS = (0.5, 0.75)
_HISTORY_PARTS = (0.25,)


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
    grouped: whether the rows of a batch are alike in length, and instructions
      and histories no wider than these need.
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
  grouped: bool = False

  def __post_init__(self) -> None:
    """Checks the parts against each other.

    Raises:
      ValueError: for empty tasks, rates that fit no task or are too small,
        tasks that do not tell their items where these are read, or items or
        groups with packed rows.
    """
    if self.grouped and (self.pack or self.joined):
      raise ValueError(
        "rows that are alike in length (group_by_length=True) have a width for "
        "the instructions alone, which packed rows (pack=True), or those of "
        "prompt and answer, share with answers: train with "
        "group_by_length=False"
      )
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
    for dataset in self.datasets.values():
      instructions(dataset, self.items)
    _ = self._order  # Checks tasks and rates.

  @property
  def num_examples(self) -> int:
    """Examples of all tasks together."""
    return sum(len(dataset) for dataset in self.datasets.values())

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a step's batch, of the widest one."""
    return {
      name: (self.batch_size, *array.shape[1:])
      for name, array in self.ungrouped.batch(0, np.arange(1)).items()
    }

  @property
  def ungrouped(self) -> "BatchStream":
    """The same rows in the order in which they are drawn."""
    return dataclasses.replace(self, grouped=False)

  @property
  def text_widths(self) -> Sequence[int]:
    """Widths that the instructions of a batch may have, in tokens."""
    return self._groups.widths[0] if self.grouped else [self.inputs_length]

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
    if self.grouped:
      found["group_by_length"] = {
        "window": length_groups.WINDOW,
        "widths": [list(widths) for widths in self._groups.widths],
      }
    return found

  @functools.cached_property
  def _order(self) -> example_order.ExampleOrder:
    sizes = {name: len(dataset) for name, dataset in self.datasets.items()}
    width: tuple[int, ...] = (self.inputs_length, self.targets_length)
    if self.joined:
      width = (sum(width),)
    shared = example_order.Packing(width, self._lengths) if self.pack else None
    return example_order.ExampleOrder(sizes, self.rates, self.seed, shared)

  def _lengths(
    self, name: str, examples: Int[np.ndarray, " examples"]
  ) -> Int[np.ndarray, "examples sides"]:
    """Tokens of the instructions and responses of a task, after cutting.

    Joined, both are one, and its first token is the target of none.
    """
    dataset = self.datasets[name]
    lengths = np.stack(
      [
        np.minimum(dataset.inputs.lengths[examples], self.inputs_length),
        dataset.targets.lengths[examples],
      ],
      axis=1,
    )
    return lengths.sum(1, keepdims=True) - 1 if self.joined else lengths

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
    numbers = self._widths(step).rows[rows]
    return [self._order.row(number) for number in numbers.tolist()]

  @functools.cached_property
  def _groups(self) -> length_groups.LengthGroups:
    text, history = self._most
    widths = [
      length_groups.parts(text, _TEXT_PARTS, 8),
      length_groups.parts(history, _HISTORY_PARTS, 1),
    ]
    return length_groups.LengthGroups(
      self._row_lengths, widths, self.batch_size, self.seed
    )

  def _by_task(
    self, pairs: Sequence[tuple[str, int]]
  ) -> Iterator[
    tuple[
      token_dataset.TokenDataset,
      Int[np.ndarray, " slots"],
      Int[np.ndarray, " slots"],
    ]
  ]:
    """Each data set, where its examples stand, and which they are."""
    for name, dataset in self.datasets.items():
      (slots,) = np.nonzero([pair[0] == name for pair in pairs])
      examples = np.array([pairs[slot][1] for slot in slots.tolist()], np.int64)
      yield dataset, slots, examples

  def _row_lengths(
    self, rows: Int[np.ndarray, " rows"]
  ) -> Int[np.ndarray, "rows sides"]:
    """Tokens of the instruction and items of the history of each row."""
    pairs = [self._order.row(row)[0] for row in rows.tolist()]
    found = np.zeros((len(rows), 2), np.int64)
    for dataset, slots, examples in self._by_task(pairs):
      found[slots, 0] = instructions(dataset, self.items).lengths[examples]
      if self.items is not None:
        assert dataset.history is not None
        found[slots, 1] = dataset.history.lengths[examples]
    return found

  @property
  def _most(self) -> tuple[int, int]:
    """Tokens of the text, and items of the history, of the widest batch."""
    history = 0 if self.items is None else self.items.history_length
    return self.inputs_length, history

  def _widths(self, step: int) -> length_groups.Widths:
    """The stream's rows of a step, and the widths of its arrays."""
    if self.grouped:
      return self._groups(step)
    rows = step * self.batch_size + np.arange(self.batch_size)
    return length_groups.Widths(rows, self._most, ())

  def _keys(self, step: int) -> Int[np.ndarray, "batch 2"]:
    """Random bits of each row of the global batch."""
    bits = example_order.generator(self.seed, 2, step).integers(
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
    inputs_length, history_length = self._widths(step).widths
    inputs = np.zeros((len(flat), inputs_length), np.int32)
    targets = np.zeros((len(flat), self.targets_length), np.int32)
    history = np.zeros((len(flat), history_length), np.int32)
    wanted = np.zeros(len(flat), np.int32)
    listed = np.zeros(len(flat), bool)
    asked: Batch = {}
    for dataset, slots, examples in self._by_task(flat):
      texts = instructions(dataset, self.items)
      inputs[slots] = texts.pad(examples, inputs_length)
      targets[slots] = dataset.targets.pad(examples, self.targets_length)
      if self.items is not None:
        history[slots] = self.items.history(dataset, examples, history_length)
        wanted[slots], listed[slots] = self.items.targets(
          dataset, examples, self.seed, step, rows[slots]
        )
      if self.lists is not None and len(slots):
        for key, own in self.lists(dataset, examples).items():
          shape = (len(flat), *own.shape[1:])
          asked.setdefault(key, np.zeros(shape, own.dtype))[slots] = own
    batch = features.to_features(inputs, targets)
    if self.items is not None:
      batch |= self._items(step, rows, history, wanted)
      if self.items.num_drawn:
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

  def _items(
    self,
    step: int,
    rows: Int[np.ndarray, " rows"],
    history: Int[np.ndarray, "rows history"],
    wanted: Int[np.ndarray, " rows"],
  ) -> Batch:
    """`history_*` and `choice_*` of rows of a step, from item numbers."""
    assert self.items is not None
    # Of what this batch holds, not of what one holds on average.
    rate = 1.0 + self._widths(step).means[1] if self.grouped else None
    found = self.items.history_arrays(history, rate)
    if not self.items.num_drawn:
      return found
    drawn = self.items.draw(self.seed, step, rows)
    choices = np.concatenate([wanted[:, None], drawn], axis=1)
    return found | self.items.choice_arrays(choices, rate)
