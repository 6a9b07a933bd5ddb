"""Writes instructions as a TFDS data set, streaming, one config a task type.

`<data_dir>/instructrec/<task type>/1.0.0/` holds TFRecord shards and the
metadata with which `tfds.load("instructrec/sequential", data_dir=...)` reads
them, without any builder code.
"""

import hashlib
import os
import pathlib
import shutil
from typing import Any, Self

import tensorflow as tf
import tensorflow_datasets as tfds

from instructrec.instructions import format as instruction_format

NAME = "instructrec"
VERSION = "1.0.0"
_ROWS_PER_SHARD = 50_000

_TEXTS = (
  "example_id",
  "template_id",
  "task_form",
  "preference",
  "intention",
  "intention_origin",
  "user_id",
  "request_id",
  "inputs",
  "targets",
)
_TEXT_LISTS = ("candidates", "candidate_ids", "history_ids")


def features() -> tfds.features.FeaturesDict:
  """The features of a row; see `instructions.format.Instruction`."""
  text = tfds.features.Text()
  return tfds.features.FeaturesDict(
    {
      **dict.fromkeys(_TEXTS, text),
      **dict.fromkeys(_TEXT_LISTS, tfds.features.Sequence(text)),
      "label": tfds.features.Scalar(tf.int64),
    }
  )


def _serialize(row: instruction_format.Instruction) -> bytes:
  """The row as a `tf.train.Example` of `features()`."""

  def value(name: str) -> str:
    found = getattr(row, name)
    return found if type(found) is str else str(found.value)

  example = tf.train.Example()
  feature = example.features.feature
  for name in _TEXTS:
    feature[name].bytes_list.value.append(value(name).encode())
  for name in _TEXT_LISTS:
    feature[name].bytes_list.value.extend(
      text.encode() for text in getattr(row, name)
    )
  feature["label"].int64_list.value.append(row.label)
  return example.SerializeToString(deterministic=True)


class _SplitWriter:
  """Rolls the shards of one config and split."""

  def __init__(self, folder: pathlib.Path, split: str) -> None:
    self.folder = folder
    self.split = split
    self.shard_lengths: list[int] = []
    self.num_bytes = 0
    self.digest = hashlib.sha256()
    self._writer: tf.io.TFRecordWriter | None = None

  def _path(self, shard: int) -> pathlib.Path:
    return self.folder / f"{NAME}-{self.split}.{shard:05d}"

  def write(self, record: bytes) -> None:
    if self._writer is None or self.shard_lengths[-1] == _ROWS_PER_SHARD:
      self._roll()
    assert self._writer is not None
    self._writer.write(record)
    self.digest.update(record)
    self.shard_lengths[-1] += 1
    self.num_bytes += len(record)

  def _roll(self) -> None:
    if self._writer is not None:
      self._writer.close()
    self._writer = tf.io.TFRecordWriter(
      str(self._path(len(self.shard_lengths)))
    )
    self.shard_lengths.append(0)

  def close(self) -> tfds.core.SplitInfo:
    assert self._writer is not None
    self._writer.close()
    count = len(self.shard_lengths)
    for shard in range(count):
      name = f"{NAME}-{self.split}.tfrecord-{shard:05d}-of-{count:05d}"
      self._path(shard).rename(self.folder / name)
    return tfds.core.SplitInfo(
      name=self.split,
      shard_lengths=self.shard_lengths,
      num_bytes=self.num_bytes,
      filename_template=tfds.core.ShardedFileTemplate(
        data_dir=self.folder,
        dataset_name=NAME,
        split=self.split,
        filetype_suffix="tfrecord",
      ),
    )


class InstructionWriter:
  """Writes rows to `<data_dir>/instructrec`, complete or not at all.

  Rows go to `<data_dir>/instructrec.incomplete`; leaving the context without
  an exception writes the metadata and renames the folder.

  Args:
    data_dir: TFDS data folder; the data set must not be there yet.
    description: for the metadata.

  Raises:
    FileExistsError: where the data set exists.
  """

  def __init__(
    self, data_dir: str | os.PathLike[str], *, description: str
  ) -> None:
    self.final = pathlib.Path(data_dir) / NAME
    if self.final.exists():
      raise FileExistsError(
        f"{self.final} exists; generate into another folder, or pass "
        "--overwrite to replace it"
      )
    self._folder = self.final.with_suffix(".incomplete")
    self._description = description
    self._splits: dict[tuple[str, str], _SplitWriter] = {}

  def __enter__(self) -> Self:
    # What a killed run left.
    shutil.rmtree(self._folder, ignore_errors=True)
    self._folder.mkdir(parents=True)
    return self

  def write(self, row: instruction_format.Instruction) -> None:
    """Writes a row to the config of its task type and to its split."""
    task = str(getattr(row.task, "value", row.task))
    key = (task, row.split)
    writer = self._splits.get(key)
    if writer is None:
      folder = self._folder / task / VERSION
      folder.mkdir(parents=True, exist_ok=True)
      writer = self._splits[key] = _SplitWriter(folder, row.split)
    writer.write(_serialize(row))

  def __exit__(self, kind: Any, *unused: object) -> None:
    if kind is not None:
      return
    infos: dict[str, list[tfds.core.SplitInfo]] = {}
    for (task, _), writer in self._splits.items():
      infos.setdefault(task, []).append(writer.close())
    for task, splits in infos.items():
      tfds.folder_dataset.write_metadata(
        data_dir=str(self._folder / task / VERSION),
        features=features(),
        split_infos=splits,
        version=VERSION,
        check_data=False,
        description=self._description,
      )
    self._folder.rename(self.final)

  def counts(self) -> dict[str, dict[str, int]]:
    """Rows written, by task type and split."""
    result: dict[str, dict[str, int]] = {}
    for (task, split), writer in sorted(self._splits.items()):
      result.setdefault(task, {})[split] = sum(writer.shard_lengths)
    return result

  def fingerprint(self) -> str:
    """SHA-256 over all records, as "sha256:<hex>"."""
    digest = hashlib.sha256()
    for (task, split), writer in sorted(self._splits.items()):
      digest.update(f"{task}/{split}:{writer.digest.hexdigest()}".encode())
    return f"sha256:{digest.hexdigest()}"
