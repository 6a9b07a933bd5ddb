"""SeqIO task -> `TokenDataset` on disk, made once.

The cache lies in `<data_dir>/token_cache`, one folder a task and split, named
by a hash of what it was made from (data, vocabulary, task), so that it is
never stale. Where several processes make it at once, the first to finish wins,
and the others take its.
Shards are checked when they are read for the cache, the cache itself each time
it is opened.
"""

import hashlib
import json
import os
import pathlib

import seqio

from instructrec import output_folder, records
from instructrec.models import tokenizer
from instructrec.pipelines import tfds_writer, tokenized_task
from instructrec.serving import instruction_folder
from instructrec.training import item_table, token_dataset

_INFO = "dataset_info.json"


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
        tokenized_task.read(task, split, meta, table).save(made)
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
  found = tokenized_task.read(task, split, {}, table, rows)
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
