"""Item sequences as padded batches for the sequence encoder.

Tokens are places in the catalogue plus one: 0 is padding, at the end of a row,
and `num_items + 1` the mask of BERT4Rec. Batches hold sequences of like length
and as many of them as fill a fixed number of slots, so that little of the
softmax over the catalogue is spent on padding, and few shapes are compiled.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

PADDING = 0


def pad(
  sequences: Sequence[Int[np.ndarray, " length"]], width: int
) -> Int[np.ndarray, "sequences width"]:
  """Tokens of sequences, the newest `width` of each, padded at the end.

  Args:
    sequences: places in the catalogue, oldest first.
    width: of the result.

  Returns:
    int32 tokens.
  """
  result = np.full((len(sequences), width), PADDING, np.int32)
  for row, sequence in zip(result, sequences, strict=True):
    newest = sequence[-width:]
    row[: len(newest)] = newest + 1
  return result


def widths(max_length: int) -> list[int]:
  """Widths of batches: 2, 3, 4, 6, 8, 12 ... up to `max_length`.

  Neighbours differ by at most a half, so a third of a row at most is padding.
  """
  steps = sorted({2**k for k in range(1, 20)} | {3 * 2**k for k in range(19)})
  return [w for w in steps if w < max_length] + [max_length]


def batches(
  sequences: Sequence[Int[np.ndarray, " length"]],
  *,
  max_length: int,
  batch_slots: int,
  rng: np.random.Generator,
) -> Iterator[Int[np.ndarray, "rows width"]]:
  """One epoch: every sequence once, in random order.

  Args:
    sequences: places in the catalogue, oldest first.
    max_length: widest batch; the newest items of longer sequences are kept.
    batch_slots: tokens of a batch, padding included; a multiple of every
      width is not needed.
    rng: of the order.

  Yields:
    int32 tokens; a batch that is not full ends in empty rows.
  """
  limits = widths(max_length)
  lengths = np.array([min(len(s), max_length) for s in sequences])
  bucket = np.searchsorted(limits, lengths)
  parts: list[tuple[int, np.ndarray]] = []
  for i, width in enumerate(limits):
    members = rng.permutation(np.flatnonzero(bucket == i))
    rows = max(1, batch_slots // width)
    parts += [
      (width, members[start : start + rows])
      for start in range(0, len(members), rows)
    ]
  for place in rng.permutation(len(parts)):
    width, members = parts[place]
    rows = max(1, batch_slots // width)
    batch = np.full((rows, width), PADDING, np.int32)
    batch[: len(members)] = pad([sequences[m] for m in members], width)
    yield batch
