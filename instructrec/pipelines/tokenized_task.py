"""SeqIO task -> `TokenDataset` in memory, row by row; TensorFlow ends here."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import seqio
import tensorflow as tf

from instructrec import progress
from instructrec.instructions.format import TaskForm
from instructrec.training import item_table, token_dataset
from instructrec.training import ragged as ragged_lib

_ROWS_PER_READ = 1024
_COLUMNS = (
  "example_id",
  "request_id",
  "user_id",
  "template_id",
  "kind",
  "task_form",
  "intention_origin",
  "wish_text",
  "label",
)
_LIST_COLUMNS = ("candidate_ids",)
_CONTROL_COLUMNS = ("k", "epoch", "next_id")
_CONTROL_LIST_COLUMNS = (
  "constraints",
  "label_ids",
  "teacher_ids",
  "unseen",
  "history_ids",
)
"""Of rows of control tasks alone."""
_ITEM_COLUMNS = (
  "prompt_pretokenized",
  "inputs_pretokenized",
  "target_id",
  "history_ids",
)


def _batches(
  task: seqio.Task, split: str, rows: int | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
  """Rows of the task in ragged batches, with the size of each."""
  dataset = task.get_dataset(
    sequence_length=None, split=split, shuffle=False, use_cached=False
  )
  if rows is not None:
    dataset = dataset.take(rows)
  wanted = {"inputs", "targets", *_COLUMNS, *_LIST_COLUMNS, *_ITEM_COLUMNS}
  wanted |= {*_CONTROL_COLUMNS, *_CONTROL_LIST_COLUMNS}

  def keep(row: Mapping[str, Any]) -> dict[str, Any]:
    if "prompt" in row:
      # Tasks that end in _items have tokens there, and the text beside them.
      row = {"prompt_pretokenized": row["prompt"], **row}
    return {name: row[name] for name in row if name in wanted}

  dataset = dataset.map(keep)
  for batch in dataset.ragged_batch(_ROWS_PER_READ):
    yield int(batch["label"].shape[0]), batch


def _ragged(values: list[np.ndarray], lengths: list[np.ndarray]):
  offsets = np.concatenate([[0], *lengths]).cumsum()
  return ragged_lib.Ragged(np.concatenate(values), offsets)


def read(
  task: seqio.Task,
  split: str,
  meta: Mapping[str, Any],
  table: item_table.ItemTable,
  rows: int | None = None,
) -> token_dataset.TokenDataset:
  """Reads a task split, or its first rows.

  Args:
    task: what is read; of the folder that it has been told.
    split: "train", "validation" or "test".
    meta: of the data set.
    table: gives the numbers of items.
    rows: how many at most; None for all.

  Returns:
    The data set, in memory.
  """
  is_list = task.output_features["targets"].rank == 2
  tokens: dict[str, list[np.ndarray]] = {"inputs": [], "targets": []}
  lengths: dict[str, list[np.ndarray]] = {"inputs": [], "targets": []}
  lists: list[np.ndarray] = []
  columns: list[pl.DataFrame] = []
  items = _Items(table, task.output_features["inputs"].vocabulary)
  count = task.num_input_examples(split)
  with progress.Progress(
    count if rows is None else min(count, rows),
    f"tokenize {task.name} {split}",
  ) as line:
    for size, batch in _batches(task, split, rows):
      tokens["inputs"].append(batch["inputs"].values.numpy())
      lengths["inputs"].append(batch["inputs"].row_lengths().numpy())
      targets = batch["targets"]
      if is_list:
        # [rows, candidates, padded] with zeros after each candidate's EOS.
        counts, padded = _candidate_rows(targets)
        lists.append(counts)
        kept = padded > 0
        tokens["targets"].append(padded[kept])
        lengths["targets"].append(kept.sum(1))
      else:
        tokens["targets"].append(targets.values.numpy())
        lengths["targets"].append(targets.row_lengths().numpy())
      columns.append(_columns(batch))
      items.add(batch)
      line.advance(size)
  return token_dataset.TokenDataset(
    name=f"{task.name}/{split}",
    inputs=_ragged(tokens["inputs"], lengths["inputs"]),
    targets=_ragged(tokens["targets"], lengths["targets"]),
    lists=np.concatenate([[0], *lists]).cumsum() if is_list else None,
    columns=pl.concat(columns),
    meta=dict(meta),
    **items.fields(is_list=is_list),
  )


class _Items:
  """Gathers what the rows of a task say of items.

  Args:
    table: gives their numbers.
    vocabulary: tokenizes prompts.
  """

  def __init__(
    self, table: item_table.ItemTable, vocabulary: seqio.Vocabulary
  ) -> None:
    self._table, self._vocabulary = table, vocabulary
    self._prompts: list[list[int]] = []
    self._histories: list[list[str]] = []
    self._targets: list[str] = []
    self._answers: list[list[str]] = []
    self._candidates: list[str] = []
    self._told = True

  def add(self, batch: Mapping[str, Any]) -> None:
    """Takes some rows; tasks with preprocessors of their own may lack some."""
    self._told &= set(_ITEM_COLUMNS) <= set(batch)
    if not self._told:
      return
    prompts, inputs, targets = (
      _texts(batch[name].numpy())
      for name in ("prompt_pretokenized", "inputs_pretokenized", "target_id")
    )
    eos = self._vocabulary.eos_id
    self._prompts += [[*self._vocabulary.encode(p), eos] for p in prompts]
    self._targets += targets
    self._answers += _answers(batch)
    for prompt, text, history in zip(
      prompts, inputs, _text_lists(batch["history_ids"]), strict=True
    ):
      # The history of the others is no part of the instruction.
      self._histories.append(history if prompt != text else [])
    is_answer = batch["task_form"].numpy() == TaskForm.T0.encode()
    for answers, ids in zip(
      is_answer, _text_lists(batch["candidate_ids"]), strict=True
    ):
      self._candidates += [""] * len(ids) if answers else ids

  def fields(self, *, is_list: bool) -> dict[str, Any]:
    """Fields of the data set; none where rows did not tell their items."""
    if not self._told:
      return {}
    history = itertools.chain.from_iterable(self._histories)
    numbers = self._table.numbers
    found = {
      "prompts": _ragged_rows(
        np.fromiter(itertools.chain.from_iterable(self._prompts), np.int32),
        self._prompts,
      ),
      "history": _ragged_rows(numbers(history), self._histories),
      "target_items": numbers(self._targets),
    }
    if any(self._answers):
      found["answers"] = _ragged_rows(
        numbers(itertools.chain.from_iterable(self._answers)), self._answers
      )
    if is_list:
      found["candidate_items"] = numbers(self._candidates)
    return found


def _answers(batch: Mapping[str, Any]) -> list[list[str]]:
  """Items of responses that are lists."""
  if "label_ids" not in batch:
    return [[]] * len(batch["label"])
  # Without a number of items, they are what is asked about.
  return [
    ids if k else []
    for ids, k in zip(
      _text_lists(batch["label_ids"]), batch["k"].numpy(), strict=True
    )
  ]


def _ragged_rows(
  flat: np.ndarray, rows: Sequence[Sequence[Any]]
) -> ragged_lib.Ragged:
  lengths = [len(row) for row in rows]
  return ragged_lib.Ragged(flat, np.concatenate([[0], lengths]).cumsum())


def _candidate_rows(
  targets: tf.RaggedTensor,
) -> tuple[np.ndarray, np.ndarray]:
  """List lengths, and all candidates of the batch as one padded matrix."""
  counts = targets.row_lengths().numpy()
  return counts, targets.values.to_tensor().numpy()


def _texts(array: np.ndarray) -> list[str]:
  return [value.decode() for value in array.tolist()]


def _text_lists(values: tf.RaggedTensor) -> list[list[str]]:
  flat = _texts(values.values.numpy())
  splits = values.row_splits.numpy()
  return [flat[a:b] for a, b in itertools.pairwise(splits)]


def _columns(batch: Mapping[str, Any]) -> pl.DataFrame:
  columns, list_columns = [*_COLUMNS], [*_LIST_COLUMNS]
  if set(_CONTROL_COLUMNS) <= set(batch):
    columns += _CONTROL_COLUMNS
    list_columns += _CONTROL_LIST_COLUMNS
  data: dict[str, Any] = {}
  for name in columns:
    values = batch[name].numpy()
    data[name] = _texts(values) if values.dtype == object else values
  for name in list_columns:
    data[name] = pl.Series(_text_lists(batch[name]), dtype=pl.List(pl.String))
  return pl.DataFrame(data)
