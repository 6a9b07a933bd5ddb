"""Writes instructions as a TFDS data set, streaming, one config a task.

`<data_dir>/instructrec/<config>/1.0.0/` holds TFRecord shards and the
metadata with which `tfds.load("instructrec/sequential_p1_i0", data_dir=...)`
reads them, without any builder code. The config `fine_grained` holds the
teacher's texts.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Self

import tensorflow as tf
import tensorflow_datasets as tfds

from instructrec.instructions import format as instruction_format

NAME = "instructrec"
VERSION = "1.0.0"

_TEXTS = (
  "example_id",
  "template_id",
  "kind",
  "task_form",
  "preference",
  "intention",
  "intention_origin",
  "user_id",
  "request_id",
  "inputs",
  "prompt",
  "targets",
  "target_id",
  "wish_text",
  "wish_stance",
)
_TEXT_LISTS = (
  "candidates",
  "candidate_ids",
  "history_ids",
  "wish_sources",
  "wish_attributes",
)
_FINE_GRAINED_TEXTS = (
  "text_id",
  "kind",
  "origin",
  "user_id",
  "request_id",
  "text",
)


_CONTROL_TEXTS = ("next_id",)
_CONTROL_TEXT_LISTS = ("constraints", "label_ids", "teacher_ids", "unseen")
_CONTROL_NUMBERS = ("k", "epoch")


def features(config: str) -> tfds.features.FeaturesDict:
  """The features of a config's rows.

  Args:
    config: the TFDS config.

  Returns:
    Those of `instructions.format.Instruction`, `Control` or `FineGrained`.
  """
  text = tfds.features.Text()
  if config == instruction_format.FINE_GRAINED:
    return tfds.features.FeaturesDict(dict.fromkeys(_FINE_GRAINED_TEXTS, text))
  texts, text_lists, numbers = [*_TEXTS], [*_TEXT_LISTS], ["label"]
  if config.startswith(f"{instruction_format.CONTROL}_"):
    texts += _CONTROL_TEXTS
    text_lists += _CONTROL_TEXT_LISTS
    numbers += _CONTROL_NUMBERS
  return tfds.features.FeaturesDict(
    {
      **dict.fromkeys(texts, text),
      **dict.fromkeys(text_lists, tfds.features.Sequence(text)),
      **dict.fromkeys(numbers, tfds.features.Scalar(tf.int64)),
      "wish_bits": tfds.features.Scalar(tf.float32),
    }
  )


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
  """A file of records.

  Attributes:
    config: the TFDS config.
    split: the split.
    number: which shard of the split.
    num_records: how many records it holds.
    num_bytes: their size.
    sha256: of all of them.
  """

  config: str
  split: str
  number: int
  num_records: int
  num_bytes: int
  sha256: str


def write_shard(
  root: str | os.PathLike[str],
  config: str,
  split: str,
  number: int,
  records: Iterable[bytes],
) -> Shard:
  """Writes one file; its final name needs the number of shards.

  Args:
    root: the data set's folder.
    config: the TFDS config.
    split: the split.
    number: which shard.
    records: serialized examples.

  Returns:
    What was written.
  """
  with ShardWriter(root, config, split, number) as writer:
    for record in records:
      writer.write(record)
  return writer.shard


class ShardWriter:
  """Writes records to one file; arguments as for `write_shard`."""

  def __init__(
    self,
    root: str | os.PathLike[str],
    config: str,
    split: str,
    number: int,
  ) -> None:
    self._key = (config, split, number)
    self._digest = hashlib.sha256()
    self._count = self._size = 0
    path = part(root, *self._key)
    path.parent.mkdir(parents=True, exist_ok=True)
    self._writer = tf.io.TFRecordWriter(str(path))

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused: object) -> None:
    self._writer.close()

  def write(self, record: bytes) -> None:
    """Appends a record."""
    self._writer.write(record)
    self._digest.update(record)
    self._count += 1
    self._size += len(record)

  @property
  def shard(self) -> Shard:
    """What was written so far."""
    return Shard(*self._key, self._count, self._size, self._digest.hexdigest())


def part(
  root: str | os.PathLike[str], config: str, split: str, number: int
) -> pathlib.Path:
  """Where a shard is written; arguments as for `write_shard`."""
  name = f"{NAME}-{split}.{number:05d}"
  return pathlib.Path(root) / config / VERSION / name


def _ordered(shards: Iterable[Shard]) -> list[Shard]:
  return sorted(shards, key=lambda s: (s.config, s.split, s.number))


def fingerprint(shards: Iterable[Shard]) -> str:
  """SHA-256 over all records, as "sha256:<hex>".

  Args:
    shards: what was written, in any order.
  """
  digest = hashlib.sha256()
  for shard in _ordered(shards):
    digest.update(f"{shard.config}/{shard.split}:{shard.sha256}".encode())
  return f"sha256:{digest.hexdigest()}"


def finish(
  root: str | os.PathLike[str],
  shards: Iterable[Shard],
  output: str | os.PathLike[str],
  *,
  description: str,
) -> None:
  """Moves shards to where TFDS looks for them, and writes the metadata.

  Args:
    root: where the shards were written.
    shards: what was written.
    output: the data set's folder, on the same disk.
    description: for the metadata.
  """
  groups: dict[str, dict[str, list[Shard]]] = {}
  for shard in _ordered(shards):
    splits = groups.setdefault(shard.config, {})
    splits.setdefault(shard.split, []).append(shard)
  for config, splits in groups.items():
    folder = pathlib.Path(output) / config / VERSION
    folder.mkdir(parents=True)
    infos = []
    for split, found in splits.items():
      for place, shard in enumerate(found):
        name = f"{NAME}-{split}.tfrecord-{place:05d}-of-{len(found):05d}"
        part(root, config, split, shard.number).rename(folder / name)
      infos.append(_split_info(folder, split, found))
    tfds.folder_dataset.write_metadata(
      data_dir=str(folder),
      features=features(config),
      split_infos=infos,
      version=VERSION,
      check_data=False,
      description=description,
    )


def _split_info(
  folder: pathlib.Path, split: str, shards: list[Shard]
) -> tfds.core.SplitInfo:
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=[shard.num_records for shard in shards],
    num_bytes=sum(shard.num_bytes for shard in shards),
    filename_template=tfds.core.ShardedFileTemplate(
      data_dir=folder,
      dataset_name=NAME,
      split=split,
      filetype_suffix="tfrecord",
    ),
  )


_FEATURES = "features.json"
_TFDS_FEATURES = "tensorflow_datasets.core.features."


def check_features(folder: str | os.PathLike[str]) -> None:
  """Refuses metadata that would have TFDS import a module of their choice.

  `features.json` names a class for each field, and TFDS imports where it is.

  Args:
    folder: of a config and version.

  Raises:
    ValueError: where the file is missing, does not parse or names a class
      that is none of TFDS's own features.
  """
  path = pathlib.Path(folder) / _FEATURES
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f"{path} cannot be read: {error}; generate the data anew"
    ) from error
  for name in _class_names(found):
    if not name.startswith(_TFDS_FEATURES):
      raise ValueError(
        f"{path} names the class {name!r}, expected features of TFDS "
        f"({_TFDS_FEATURES}*); nothing was imported. Generate the data anew"
      )


def _class_names(found: Any) -> Iterator[str]:
  """What stands where TFDS looks for the name of a class."""
  if isinstance(found, dict):
    for key, value in found.items():
      named = key in ("pythonClassName", "python_class_name", "type")
      if named and isinstance(value, str):
        yield value
      yield from _class_names(value)
  elif isinstance(found, list):
    for value in found:
      yield from _class_names(value)
