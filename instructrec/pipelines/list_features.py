"""What SeqIO tasks whose names end in `_asked` say of the lists they ask for.

Behind SeqIO's cache, rows become the arrays of `alignment/list_arrays.py`, by
the same code as in the embedded runner, and get a key that their lists are
drawn by. The lengths of such tasks have one name more, with three numbers:
`{"lists": (10, 20, 100)}` is a longest list of 10 titles, a longest history of
20 and a retriever's best 100. Keys follow SeqIO's seeds, new in each epoch.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from instructrec.alignment import asked, list_arrays
from instructrec.pipelines import item_features

SUFFIX = "_asked"
LENGTH = "lists"
"""Name of a length, beside `inputs` and `targets`."""
LENGTHS = (12, 20, 100)
"""Room for all rows of `instructrec generate`, where no length is given."""
KEYS = "list_keys"
_LIKE = {
  **list_arrays.zeros(1, items=1, history=1, teacher=1),
  KEYS: np.zeros((1, 2), np.int32),
}
Row = Mapping[str, tf.Tensor]


def lengths(
  sequence_length: Mapping[str, Any] | None,
) -> tuple[int, int, int] | None:
  """Longest list, history and retriever's list; None where it is not said.

  Args:
    sequence_length: of a task's features.

  Raises:
    ValueError: where the length is no such three numbers.
  """
  found = (sequence_length or {}).get(LENGTH)
  if found is None:
    return None
  if isinstance(found, int) or len(found) != 3 or min(found) < 1:
    raise ValueError(
      f"feature {LENGTH!r} has the length {found!r}; expected three numbers "
      "(titles of a list, items of a history, items of a retriever's best), "
      "such as (10, 20, 100)"
    )
  titles, history, best = map(int, found)
  return titles, history, best


def output_features() -> dict[str, seqio.Feature]:
  """The features that these tasks have beside those of text.

  What is one number a row is an array of one: SeqIO's evaluator measures all.
  """
  numbers = seqio.PassThroughVocabulary(2**31 - 1)
  return {
    name: seqio.Feature(
      numbers,
      add_eos=False,
      rank=max(1, like.ndim - 1),
      dtype=tf.as_dtype(like.dtype),
    )
    for name, like in _LIKE.items()
  }


def are_wanted(sequence_length: Mapping[str, Any]) -> bool:
  """Whether lengths ask for the arrays.

  SeqIO's evaluator drops the length and names the arrays themselves.
  """
  return lengths(sequence_length) is not None or KEYS in sequence_length


def shapes(spec: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
  """Shapes of a row's arrays as models read them.

  Args:
    spec: of the examples.

  Raises:
    ValueError: where these have none.
  """
  if missing := set(_LIKE) - set(spec):
    raise ValueError(
      f"the examples have no {sorted(missing)}; name a task or mixture that "
      f"ends in {SUFFIX}, or leave {LENGTH} out of the lengths"
    )
  return {
    name: tuple(spec[name].shape) if like.ndim > 1 else ()
    for name, like in _LIKE.items()
  }


class Lists:
  """The preprocessor of one task.

  The items are read when a data set is asked for, from where the source reads
  its rows.

  Args:
    source: of the task.
  """

  def __init__(self, source: seqio.TfdsDataSource) -> None:
    self._source = source

  def arrays(
    self,
    ds: tf.data.Dataset,
    sequence_length: Mapping[str, Any] | None = None,
  ) -> tf.data.Dataset:
    """Adds `list_*`.

    Args:
      ds: rows of a control task.
      sequence_length: may have `lists`; else there is room for `LENGTHS`.

    Returns:
      The rows with arrays. A row that has no room or that no list can be drawn
      for is an error when it is read.
    """
    titles, history, best = lengths(sequence_length) or LENGTHS
    reader = _reader(*item_features.place(self._source))
    source = list_arrays.ListArrays(reader, titles, history, best)
    like = list_arrays.zeros(
      1, items=len(reader), history=history, teacher=best
    )

    def of_row(*values: Any) -> list[np.ndarray]:
      columns = zip(list_arrays.COLUMNS, values, strict=True)
      made = source.of_rows({name: [_texts(value)] for name, value in columns})
      return [made[name][0] for name in like]

    def convert(row: Row, seed: tf.Tensor) -> dict[str, tf.Tensor]:
      made = tf.numpy_function(
        of_row,
        [row[name] for name in list_arrays.COLUMNS],
        [tf.as_dtype(array.dtype) for array in like.values()],
        # The same for the same row: iterators can be saved.
        stateful=False,
      )
      found = dict(row)
      for (name, array), value in zip(like.items(), made, strict=True):
        shape = array.shape[1:]
        value = tf.ensure_shape(value, shape)
        found[name] = value if shape else value[None]
      # SeqIO's seeds are those of every host, its rows are not.
      own = tf.strings.to_hash_bucket_fast(row["example_id"], 2**31 - 1)
      key = tf.random.experimental.stateless_fold_in(tf.stack(seed), own)
      found[KEYS] = tf.ensure_shape(tf.cast(key, tf.int32), [2])
      return found

    return seqio.map_over_dataset(convert, num_seeds=1)(ds)


def _texts(value: Any) -> Any:
  """What TensorFlow gives for a number, a text or texts."""
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, np.ndarray) and value.ndim:
    return [text.decode() for text in value]
  return int(value)


@functools.lru_cache(maxsize=4)
def _reader(path: str, written: int) -> asked.Reader:
  """What reads the rows beside a table of items."""
  del written  # Another file under the same name is read anew.
  return asked.Reader(item_features.read_catalog(path))
