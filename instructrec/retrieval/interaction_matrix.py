"""Who touched what, as a sparse matrix of sequences by items."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Int


def binary(
  sequences: Sequence[Int[np.ndarray, " length"]], num_items: int
) -> scipy.sparse.csr_array:
  """Ones where a sequence has an item, however often.

  Args:
    sequences: each row's items.
    num_items: number of columns.

  Returns:
    float32 `[sequences, items]`.
  """
  counts = [len(sequence) for sequence in sequences]
  rows = np.repeat(np.arange(len(sequences)), counts)
  columns = np.concatenate([np.zeros(0, np.int64), *sequences])
  values = np.ones(len(columns), np.float32)
  matrix = scipy.sparse.coo_array(
    (values, (rows, columns)), shape=(len(sequences), num_items)
  ).tocsr()
  matrix.data[:] = 1.0
  return matrix
