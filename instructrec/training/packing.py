"""Several examples in one row of a batch."""

from collections.abc import Sequence

import numpy as np

Batch = dict[str, np.ndarray]


def pack_features(batch: Batch, row_sizes: Sequence[int]) -> Batch:
  """Joins consecutive examples into rows.

  Args:
    batch: as `features.to_features` makes it, an example a row.
    row_sizes: how many of the examples share each row.

  Returns:
    The batch with `encoder_segment_ids`, `encoder_positions` and the same for
    the decoder; see `batches.BatchStream.batch`.
  """
  row_of = np.repeat(np.arange(len(row_sizes)), row_sizes)
  first = np.cumsum(row_sizes) - row_sizes
  segment = np.arange(len(row_of)) - first[row_of] + 1
  packed: Batch = {}
  for side, source in (
    ("encoder", "encoder_input_tokens"),
    ("decoder", "decoder_target_tokens"),
  ):
    where = batch[source] > 0
    lengths = where.sum(1)
    # An example starts where those before it in its row end.
    ends = np.cumsum(lengths)
    starts = ends - lengths - (ends - lengths)[first][row_of]
    example, column = np.nonzero(where)
    to = (row_of[example], starts[example] + column)
    shape = (len(row_sizes), batch[source].shape[1])

    def place(values: np.ndarray, shape=shape, to=to) -> np.ndarray:
      result = np.zeros(shape, values.dtype)
      result[to] = values
      return result

    for name, array in batch.items():
      if name.startswith(side):
        packed[name] = place(array[example, column])
    packed[f"{side}_segment_ids"] = place(segment[example].astype(np.int32))
    packed[f"{side}_positions"] = place(column.astype(np.int32))
  return packed
