"""Prompt and answer in one row, and several examples in one row of a batch."""

import operator
from collections.abc import Iterable, Sequence

import numpy as np

Batch = dict[str, np.ndarray]

# How many unfinished rows first-fit packing looks back on.
_OPEN_ROWS = 32


def first_fit(
  examples: Iterable[Sequence[int]], width: Sequence[int]
) -> list[list[int]]:
  """Lays examples into rows: each into the first that has room on all sides.

  Args:
    examples: the tokens of each on every side, such as its prompt and answer.
    width: tokens that a row takes on every side.

  Returns:
    For each row, the numbers of the examples that share it.
  """
  rows: list[list[int]] = []
  room: list[tuple[int, ...]] = []
  open_rows: list[int] = []
  for number, sizes in enumerate(examples):
    for row in open_rows:
      if all(map(operator.le, sizes, room[row])):
        rows[row].append(number)
        room[row] = tuple(map(operator.sub, room[row], sizes))
        break
    else:
      rows.append([number])
      room.append(tuple(map(operator.sub, width, sizes)))
      open_rows.append(len(rows) - 1)
      if len(open_rows) > _OPEN_ROWS:
        open_rows.remove(min(open_rows, key=lambda row: sum(room[row])))
  return rows


def join_features(batch: Batch, *, loss_on_targets_only: bool = True) -> Batch:
  """Puts each answer behind its prompt, as decoder-only networks train on it.

  Args:
    batch: as `features.to_features` makes it, an example a row.
    loss_on_targets_only: whether the answer alone is learnt; else the tokens
      of the prompt are too, but for the first, which nothing stands before.

  Returns:
    `decoder_input_tokens`, `decoder_target_tokens` (int32) and
    `decoder_loss_weights` (float32), as wide as prompts and answers together:
    each input is the token before its target.
  """
  sides = batch["encoder_input_tokens"], batch["decoder_target_tokens"]
  prompts = (sides[0] > 0).sum(1, keepdims=True)
  width = sum(side.shape[1] for side in sides)
  rows = np.zeros((len(prompts), width + 1), np.int32)
  for tokens, first in zip(sides, (0 * prompts, prompts), strict=True):
    example, column = np.nonzero(tokens)
    rows[example, first[example, 0] + column] = tokens[example, column]
  targets = rows[:, 1:]
  where = targets > 0
  learnt = where
  if loss_on_targets_only:
    learnt = where & (np.arange(targets.shape[1]) >= prompts - 1)
  return {
    "decoder_input_tokens": np.where(where, rows[:, :-1], 0),
    "decoder_target_tokens": targets,
    "decoder_loss_weights": learnt.astype(np.float32),
  }


def pack_features(batch: Batch, row_sizes: Sequence[int]) -> Batch:
  """Joins consecutive examples into rows.

  Args:
    batch: as `features.to_features` or `join_features` makes it, an example a
      row.
    row_sizes: how many of the examples share each row.

  Returns:
    The batch with `decoder_segment_ids` and `decoder_positions`, and where
    there are prompts the same of the encoder; see `batches.BatchStream.batch`.
  """
  row_of = np.repeat(np.arange(len(row_sizes)), row_sizes)
  first = np.cumsum(row_sizes) - row_sizes
  segment = np.arange(len(row_of)) - first[row_of] + 1
  packed: Batch = {}
  for side, source in (
    ("encoder", "encoder_input_tokens"),
    ("decoder", "decoder_target_tokens"),
  ):
    if source not in batch:
      continue
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
