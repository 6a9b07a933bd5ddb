"""What SeqIO tasks whose names end in `_items` say of items.

Before SeqIO's cache, ids become item numbers; behind it come what depends on
lengths or is drawn anew each epoch. The lengths of such tasks have two more
names, each with a pair: `{"history": (20, 24), "choices": (17, 24)}` is the 20
newest titles of a history and a target with 16 drawn items, of 24 tokens each.
The arrays are those of `training/item_arrays.py`; draws follow SeqIO's seeds.
"""

import contextlib
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import seqio
import tensorflow as tf

from instructrec import checksums
from instructrec.data import catalog
from instructrec.instructions.format import TaskForm
from instructrec.training import item_table

SUFFIX = "_items"
LENGTHS = ("history", "choices")
"""Names of lengths, beside `inputs` and `targets`."""
TITLE_LENGTH = 24
"""Width of a title where no length is given, in tokens."""
Row = Mapping[str, tf.Tensor]
Pair = tuple[int, int]


class Encoder:
  """A SeqIO vocabulary that encodes as our tokenizer does."""

  def __init__(self, vocabulary: seqio.Vocabulary) -> None:
    """Takes the vocabulary."""
    self._vocabulary = vocabulary

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, with EOS at the end."""
    words = self._vocabulary
    return [[*words.encode(text), words.eos_id] for text in texts]


def place(source: seqio.TfdsDataSource) -> tuple[str, int]:
  """Where the table of a task's items lies.

  Args:
    source: where the task reads its rows.

  Returns:
    Its path, and when it was written.

  Raises:
    FileNotFoundError: where there is none.
  """
  reads = source.tfds_dataset
  folder = reads.data_dir
  if folder is None:
    # TFDS's default or TFDS_DATA_DIR: <folder>/<name>/<config>/<version>.
    folder = str(reads.builder.data_dir).rstrip("/").rsplit("/", 3)[0]
  path = f"{folder}/{item_table.FILE}"
  if not tf.io.gfile.exists(path):
    raise FileNotFoundError(
      f"{reads.name} in {folder} has no {item_table.FILE} beside it; make "
      "the data anew with `instructrec generate`"
    )
  return path, int(tf.io.gfile.stat(path).mtime_nsec)


@functools.lru_cache(maxsize=4)
def read_table(path: str, written: int) -> item_table.ItemTable:
  """The table of a folder, which may be in a bucket.

  Args:
    path: see `place`.
    written: likewise.

  Returns:
    The table.

  Raises:
    DamagedError: where it was changed.
  """
  del written  # Another file under the same name is read anew.
  with _copied(path) as copy:
    return item_table.ItemTable.read(copy)


def read_catalog(path: str) -> catalog.Catalog:
  """The items of a folder with all that is known of them.

  Args:
    path: see `place`.

  Returns:
    The catalogue.

  Raises:
    DamagedError: where the table was changed.
  """
  with _copied(path) as copy:
    return catalog.Catalog(pl.read_parquet(copy, glob=False))


@contextlib.contextmanager
def _copied(path: str) -> Iterator[pathlib.Path]:
  """A table on this machine, checked."""
  checksums.verify(
    path.removesuffix(f"/{item_table.FILE}"),
    "make the data again with `instructrec generate`, or copy them again",
    [item_table.FILE],
  )
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / item_table.FILE
    tf.io.gfile.copy(path, str(copy))
    yield copy


@functools.lru_cache(maxsize=8)
def _title_tokens(path: str, written: int, model: str, length: int) -> Any:
  """Titles by item number, tokenized once for all tasks of a mixture."""
  vocabulary = seqio.SentencePieceVocabulary(model)
  table = read_table(path, written)
  tokens, _ = table.title_tokens(Encoder(vocabulary), length)
  return tokens


def pair(lengths: Mapping[str, Any] | None, name: str) -> Pair | None:
  """How many titles of how many tokens; None where it is not said.

  Args:
    lengths: of a task's features.
    name: "history" or "choices".

  Returns:
    Titles and tokens of each.

  Raises:
    ValueError: where the length is no such pair.
  """
  found = (lengths or {}).get(name)
  if found is None:
    return None
  if isinstance(found, int) or len(found) != 2 or min(found) < 1:
    raise ValueError(
      f"feature {name!r} has the length {found!r}; expected a pair (titles, "
      "tokens), such as (20, 24)"
    )
  titles, tokens = found
  return int(titles), int(tokens)


def output_features() -> dict[str, seqio.Feature]:
  """The features that these tasks have beside those of text."""
  numbers = seqio.PassThroughVocabulary(2**31 - 1)
  ranks = {"items": 1, "tokens": 2, "logs": 2}
  found = {
    f"{name}_{part}": (rank, tf.float32 if part == "logs" else tf.int32)
    for name in ("history", "choice")
    for part, rank in ranks.items()
  }
  found["choice_follows"] = 1, tf.int32
  return {
    name: seqio.Feature(numbers, add_eos=False, rank=rank, dtype=dtype)
    for name, (rank, dtype) in found.items()
  }


class Items:
  """The preprocessors of one task.

  The item table is read when a data set is asked for, from where the source
  reads its rows.

  Args:
    source: of the task.
  """

  def __init__(self, source: seqio.TfdsDataSource) -> None:
    self._source = source

  def numbers(self, ds: tf.data.Dataset) -> tf.data.Dataset:
    """Adds `history_items`, `target_item` and `candidate_items` (int32).

    Of tasks whose responses are lists also `answer_items`.

    Args:
      ds: tokenized rows.

    Returns:
      The rows with item numbers; 0 is no item.

    Raises:
      ValueError: where rows have no prompt, as those of older data.
      FileNotFoundError: where there is no item table.
    """
    if missing := {"prompt", "target_id"} - set(ds.element_spec):
      raise ValueError(
        f"the rows of {self._source.tfds_dataset.name} have no "
        f"{sorted(missing)}; make the data anew with `instructrec generate`"
      )
    table = read_table(*place(self._source))
    lookup = tf.lookup.StaticHashTable(
      tf.lookup.KeyValueTensorInitializer(
        tf.constant(table.item_ids),
        tf.range(1, len(table) + 1, dtype=tf.int32),
      ),
      0,
    )

    def convert(row: Row) -> dict[str, tf.Tensor]:
      # The history of the others is no part of the instruction.
      shown = row["prompt_pretokenized"] != row["inputs_pretokenized"]
      count = tf.where(shown, tf.size(row["history_ids"]), 0)
      is_item = tf.cast(row["task_form"] != TaskForm.T0.value, tf.int32)
      answers = {}
      if "label_ids" in row:
        # Without a number of items, they are what is asked about.
        listed = tf.where(row["k"] > 0, tf.size(row["label_ids"]), 0)
        answers["answer_items"] = lookup[row["label_ids"]][:listed]
      return {
        **row,
        "history_items": lookup[row["history_ids"]][:count],
        "target_item": lookup[row["target_id"]],
        "candidate_items": lookup[row["candidate_ids"]] * is_item,
        **answers,
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

  def arrays(
    self,
    ds: tf.data.Dataset,
    output_features: Mapping[str, seqio.Feature],
    sequence_length: Mapping[str, Any] | None = None,
  ) -> tf.data.Dataset:
    """Adds `history_*` and `choice_*`; single targets get drawn items.

    Args:
      ds: rows with item numbers.
      output_features: of the task.
      sequence_length: may have `history` and `choices`; without the first, all
        titles are kept, without the second, nothing is drawn.

    Returns:
      The rows with arrays.
    """
    path, written = place(self._source)
    table = read_table(path, written)
    model = output_features["inputs"].vocabulary.sentencepiece_model_file
    history, choices = (pair(sequence_length, name) for name in LENGTHS)
    is_list = output_features["targets"].rank == 2
    drawn = choices[0] - 1 if choices else 0
    rate = table.targets_per_row(history[0] if history else 0)
    logs = tf.constant(table.logs(rate, drawn))
    titles = {
      name: tf.constant(
        _title_tokens(path, written, model, (size or (0, TITLE_LENGTH))[1])
      )
      for name, size in (("history", history), ("choice", choices))
    }
    draw = _draw_fn(table, drawn)

    def convert(row: Row, seed: tf.Tensor) -> dict[str, tf.Tensor]:
      shown = row["history_items"]
      if history:
        shown = shown[-history[0] :]
        shown = tf.pad(shown, [[history[0] - tf.size(shown), 0]])
      found = dict(row)
      if not is_list:
        target, listed = _target(row, seed)
        chosen = tf.concat([target[None], draw(seed)], axis=0)
        found["choice_follows"] = tf.cast(~listed, tf.int32)[None]
      else:
        found["choice_follows"] = tf.ones(1, tf.int32)
        chosen = row["candidate_items"]
        if choices:
          chosen = chosen[: choices[0]]
          chosen = tf.pad(chosen, [[0, choices[0] - tf.size(chosen)]])
      for name, items in (("history", shown), ("choice", chosen)):
        found[f"{name}_items"] = items
        found[f"{name}_tokens"] = tf.gather(titles[name], items)
        found[f"{name}_logs"] = tf.gather(logs, items)
      return found

    return seqio.map_over_dataset(convert, num_seeds=1)(ds)


def _target(row: Row, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """As `ItemArrays.targets`, from other seeds."""
  if "answer_items" not in row:
    return row["target_item"], tf.constant(False)
  answers = row["answer_items"]
  count = tf.size(answers)
  own = tf.random.experimental.stateless_fold_in(seed, 1)
  number = tf.random.stateless_uniform([], own, dtype=tf.float64)
  place = tf.cast(number * tf.cast(count, tf.float64), tf.int32)
  # The target stands behind an empty list.
  either = tf.concat([answers, row["target_item"][None]], axis=0)
  return either[place], count > 0


def _draw_fn(
  table: item_table.ItemTable, drawn: int
) -> Callable[[tf.Tensor], tf.Tensor]:
  """Draws items as `ItemArrays.draw` does, from other seeds."""
  cumulative = tf.constant(np.cumsum(table.shares))

  def draw(seed: tf.Tensor) -> tf.Tensor:
    numbers = tf.random.stateless_uniform(
      [2, drawn], tf.cast(tf.stack(seed), tf.int64), dtype=tf.float64
    )
    popular = tf.searchsorted(
      cumulative, numbers[1] * cumulative[-1], side="right"
    )
    alike = tf.cast(numbers[1] * len(table), tf.int32)
    found = tf.where(numbers[0] < 0.5, popular, alike)
    return tf.minimum(found, len(table) - 1) + 1

  return draw


def append_eos(
  ds: tf.data.Dataset,
  output_features: Mapping[str, seqio.Feature],
  sequence_length: Mapping[str, Any] | None = None,
) -> tf.data.Dataset:
  """As SeqIO's `append_eos_after_trim`, prompts as wide as `inputs`.

  Args:
    ds: tokenized rows.
    output_features: of the task.
    sequence_length: of `inputs` and `targets`.

  Returns:
    Rows that end with EOS.
  """
  lengths = dict(sequence_length or {})
  if "inputs" in lengths:
    lengths["prompt"] = lengths["inputs"]
  return seqio.preprocessors.append_eos_after_trim(
    ds, output_features=output_features, sequence_length=lengths or None
  )
