"""SeqIO task -> `TokenDataset` on disk, made once; TensorFlow ends here.

The cache lies in `<data_dir>/token_cache`, one folder a task and split, named
by a hash of what it was made from (data, vocabulary, task), so that it is
never stale. Where several processes make it at once, the first to finish wins,
and the others take its.
Shards are checked when they are read for the cache, the cache itself each time
it is opened.
"""

import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import seqio
import tensorflow as tf

from instructrec import output_folder, progress, records
from instructrec.instructions.format import TaskForm
from instructrec.models import tokenizer
from instructrec.pipelines import tfds_writer
from instructrec.serving import instruction_folder
from instructrec.training import item_table, token_dataset
from instructrec.training import ragged as ragged_lib

_ROWS_PER_READ = 1024
_INFO = "dataset_info.json"
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
_CONTROL_LIST_COLUMNS = ("constraints", "label_ids", "unseen", "history_ids")
"""Of rows of control tasks alone."""
_ITEM_COLUMNS = (
  "prompt_pretokenized",
  "inputs_pretokenized",
  "target_id",
  "history_ids",
)


def _folder(task: seqio.Task) -> str:
  """The folder of the config that the task reads, below the data folder."""
  source = task.source
  reads = type(source).__name__
  if isinstance(source, seqio.TfdsDataSource):
    reads = source.tfds_dataset.name or reads
  if not reads.startswith(f"{tfds_writer.NAME}/"):
    raise ValueError(
      f"task {task.name} reads {reads}, expected {tfds_writer.NAME}/<task>: "
      "the embedded runner trains on what `instructrec generate` writes. Leave "
      "the task out of the mixture, or train the mixture with T5X "
      "(docs/t5x.md), which reads every SeqIO task"
    )
  config = reads.split("/")[1].split(":")[0]
  return f"{tfds_writer.NAME}/{config}/{tfds_writer.VERSION}"


def _dataset_info(task: seqio.Task, data_dir: pathlib.Path) -> pathlib.Path:
  """What TFDS wrote about the config that the task reads.

  Read here, as a SeqIO task keeps what it has seen in another folder.
  """
  folder = _folder(task)
  if not (data_dir / folder).is_dir():
    raise FileNotFoundError(
      f"task {task.name} reads {data_dir / folder}, which holds no data set; "
      f"run `instructrec generate --output {data_dir}` or name the folder it "
      "wrote with --tfds_data_dir"
    )
  info = f"{folder}/{_INFO}"
  instruction_folder.check(data_dir, info)
  return data_dir / info


def _splits(task: seqio.Task, data_dir: pathlib.Path) -> list[str]:
  path, remedy = _dataset_info(task, data_dir), "make the data again"
  info = records.read(path, keys=["splits"], remedy=remedy)
  return [split["name"] for split in info["splits"]]


def _data_fingerprint(task: seqio.Task, data_dir: pathlib.Path) -> str:
  """A hash of the metadata of the TFDS config that the task reads."""
  digest = hashlib.sha256(_dataset_info(task, data_dir).read_bytes())
  found = instruction_folder.read_manifest(data_dir)
  digest.update(found["fingerprint"].encode())
  digest.update(found.get("items", {}).get("fingerprint", "").encode())
  return digest.hexdigest()


def mixture_rates(name: str) -> dict[str, float]:
  """Tasks of a mixture with their rates; a task is a mixture of itself.

  Args:
    name: a registered mixture or task.

  Returns:
    Rates by task name, adding up to 1.

  Raises:
    ValueError: where nothing of that name is registered.
  """
  known = sorted([*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()])
  if name not in known:
    raise ValueError(
      f"no SeqIO task or mixture is called {name!r}; registered: "
      f"{', '.join(known)}"
    )
  found = seqio.get_mixture_or_task(name)
  if isinstance(found, seqio.Task):
    return {name: 1.0}
  rates = {task.name: float(found.get_rate(task)) for task in found.tasks}
  total = sum(rates.values())
  return {task: rate / total for task, rate in rates.items()}


def has_split(
  task_name: str, split: str, data_dir: str | os.PathLike[str]
) -> bool:
  """Whether a task's data set has a split.

  Args:
    task_name: a registered SeqIO task.
    split: "train", "validation" or "test".
    data_dir: the TFDS data folder.

  Raises:
    FileNotFoundError: where the data set is not there.
    ValueError: where the task reads something that `generate` did not write.
  """
  task = seqio.TaskRegistry.get(task_name)
  return split in _splits(task, pathlib.Path(data_dir))


def split_rates(
  name: str, split: str, data_dir: str | os.PathLike[str]
) -> dict[str, float]:
  """Those tasks of a mixture that have a split, with their rates.

  Args:
    name: a registered mixture or task.
    split: "train", "validation" or "test".
    data_dir: the TFDS data folder.

  Returns:
    Rates by task name, as in `mixture_rates`; empty where no task has it.

  Raises:
    FileNotFoundError: see `has_split`.
    ValueError: see `mixture_rates` and `has_split`.
  """
  return {
    task: rate
    for task, rate in mixture_rates(name).items()
    if has_split(task, split, data_dir)
  }


def load(
  task_name: str, split: str, data_dir: str | os.PathLike[str]
) -> token_dataset.TokenDataset:
  """The tokenized examples of a task, from the cache or through SeqIO.

  Args:
    task_name: a registered SeqIO task.
    split: "train", "validation" or "test".
    data_dir: the TFDS data folder.

  Returns:
    The data set, mapped from disk.

  Raises:
    FileNotFoundError: where the data set is not there.
    DamagedError: where a file of the data set or of the cache was changed.
    ValueError: where it has no such split, or reads something that `generate`
      did not write.
  """
  data_dir = pathlib.Path(data_dir)
  task = seqio.TaskRegistry.get(task_name)
  data = _data_fingerprint(task, data_dir)
  feature = task.output_features["inputs"]
  sources = {
    "task": task_name,
    "split": split,
    "data": data,
    "vocabulary": tokenizer.fingerprint(
      feature.vocabulary.sentencepiece_model_file
    ),
    "format_version": token_dataset.FORMAT_VERSION,
  }
  digest = hashlib.sha256(json.dumps(sources).encode()).hexdigest()
  folder = data_dir / "token_cache" / f"{task_name}-{split}-{digest[:12]}"
  if not folder.is_dir():
    _check_source(task, split, data_dir)
    meta = {**sources, "fingerprint": digest}
    try:
      with output_folder.making(
        folder, overwrite=False, marker=token_dataset.META
      ) as made:
        table = item_table.ItemTable.load(data_dir)
        _build(task, split, meta, table).save(made)
    except FileExistsError:
      # Another process was first. Its folder is equal: the name is the hash of
      # what it is made from.
      if not folder.is_dir():
        raise
  return token_dataset.TokenDataset.load(folder)


def head(
  task_name: str, split: str, data_dir: str | os.PathLike[str], rows: int
) -> tuple[token_dataset.TokenDataset, int]:
  """The first examples of a task, tokenized in memory; the rest is not read.

  Args:
    task_name: a registered SeqIO task.
    split: "train", "validation" or "test".
    data_dir: the TFDS data folder.
    rows: how many at most.

  Returns:
    The examples, and how many there are in all.

  Raises:
    FileNotFoundError: see `load`.
    DamagedError: see `load`.
    ValueError: see `load`.
  """
  data_dir = pathlib.Path(data_dir)
  task = seqio.TaskRegistry.get(task_name)
  _check_source(task, split, data_dir)
  table = item_table.ItemTable.load(data_dir)
  found = _build(task, split, {}, table, rows)
  return found, task.num_input_examples(split)


def _check_source(task: seqio.Task, split: str, data_dir: pathlib.Path) -> None:
  """Checks what a task reads, and has it read that of this folder."""
  instruction_folder.check(data_dir, _folder(task))
  tfds_writer.check_features(data_dir / _folder(task))
  # Of the task itself: it keeps the first folder that it was given by
  # `seqio.set_tfds_data_dir_override`, and would read that one for others.
  task.source.tfds_dataset.override_data_dir(str(data_dir.absolute()))
  splits = _splits(task, data_dir)
  if split not in splits:
    raise ValueError(
      f"task {task.name} has the splits {tuple(splits)}, not {split!r}"
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


def _build(
  task: seqio.Task,
  split: str,
  meta: Mapping[str, Any],
  table: item_table.ItemTable,
  rows: int | None = None,
) -> token_dataset.TokenDataset:
  """Reads a task split, or its first rows, into arrays."""
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
    if is_list:
      found["candidate_items"] = numbers(self._candidates)
    return found


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
