"""The arrays that a `RankingModel` reads, from padded tokens (NumPy)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from instructrec.models import tokenizer

NUM_LOGS = 3
"""Numbers that batches have of each item: the logarithm of its popularity and,
up to a constant each, of its rates in a batch and among what is drawn."""


def shift_right(
  tokens: Int[np.ndarray, "*batch length"],
) -> Int[np.ndarray, "*batch length"]:
  """Decoder inputs of `tokens`: one step later, starting with 0."""
  shifted = np.zeros_like(tokens)
  shifted[..., 1:] = tokens[..., :-1]
  return shifted


def padded_lengths(
  lengths: Int[np.ndarray, "*batch"] | int,
) -> Int[np.ndarray, "*batch"]:
  """Lengths to pad to, so that few shapes are compiled.

  Args:
    lengths: in tokens.

  Returns:
    Each length rounded up to 2 or 3 times a power of two, 64 at least: at most
    half as much again, and two shapes an octave.
  """
  lengths = np.asarray(lengths)
  octave = 2 ** np.ceil(np.log2(np.maximum(lengths, 64))).astype(np.int64)
  between = octave * 3 // 4
  return np.where((lengths <= between) & (octave > 64), between, octave)


def to_features(
  inputs: Int[np.ndarray, "batch inputs_length"],
  targets: Int[np.ndarray, "batch *candidates targets_length"],
) -> dict[str, np.ndarray]:
  """The batch of unpacked examples or candidate lists.

  Args:
    inputs: instruction tokens, 0 where padded.
    targets: response tokens, 0 where padded; or a list of them per example.

  Returns:
    `encoder_input_tokens`, `decoder_input_tokens`, `decoder_target_tokens`
    (int32) and `decoder_loss_weights` (float32; 1 where there is a target).
  """
  return {
    "encoder_input_tokens": inputs,
    "decoder_input_tokens": shift_right(targets),
    "decoder_target_tokens": targets,
    "decoder_loss_weights": (targets > 0).astype(np.float32),
  }


def item_arrays(
  name: str,
  items: Int[np.ndarray, "batch items"],
  title_tokens: Int[np.ndarray, "items_plus_1 length"],
  logs: Float[np.ndarray, "items_plus_1 logs"],
) -> dict[str, np.ndarray]:
  """What a model reads of items that are named by number.

  Args:
    name: what they are: "history" or "choice".
    items: numbers from 1; 0 is none.
    title_tokens: of every item by number, row 0 zeros.
    logs: `NUM_LOGS` by number, row 0 zeros.

  Returns:
    `<name>_tokens` [batch, items, length] and `<name>_items` (int32), and
    `<name>_logs` [batch, items, logs] (float32).
  """
  return {
    f"{name}_tokens": np.take(title_tokens, items, axis=0),
    f"{name}_items": items.astype(np.int32),
    f"{name}_logs": np.take(logs, items, axis=0),
  }


def item_features(
  titles: Sequence[str],
  vocabulary: tokenizer.Tokenizer,
  *,
  history_length: int,
  title_length: int,
  numbers: Sequence[int] | None = None,
  logs: Float[np.ndarray, "items_plus_1 logs"] | None = None,
) -> dict[str, np.ndarray]:
  """The history of one request as the arrays that training batches have.

  The newest titles stand at the end, padding in front. Which slots are padding
  is told by the tokens: an item outside the table has the number 0, too.

  Args:
    titles: of the history, oldest first; may be empty.
    vocabulary: the run's.
    history_length: titles that are kept, the newest ones.
    title_length: width of a title, in tokens; longer ones lose their end.
    numbers: of these items in the run's item table, 0 where it lacks one;
      None for 0 everywhere.
    logs: of every item by number; None for zeros.

  Returns:
    `history_tokens` [1, history, title_length], `history_items` [1, history]
    and `history_logs` [1, history, logs].

  Raises:
    ValueError: where there is not one number a title.
  """
  if numbers is None:
    numbers = [0] * len(titles)
  if len(numbers) != len(titles):
    raise ValueError(
      f"{len(titles)} titles came with {len(numbers)} item numbers; expected "
      "one each"
    )
  kept = list(titles)[-history_length:]
  first = history_length - len(kept)
  items = np.zeros((1, history_length), np.int32)
  tokens = np.zeros((1, history_length, title_length), np.int32)
  found = np.zeros((1, history_length, NUM_LOGS), np.float32)
  for slot, ids in enumerate(vocabulary.encode_all(kept), start=first):
    cut = ids[:-1][:title_length]
    tokens[0, slot, : len(cut)] = cut
  if kept:
    items[0, first:] = list(numbers)[-history_length:]
  if logs is not None:
    found[:] = logs[items]
  return {
    "history_tokens": tokens,
    "history_items": items,
    "history_logs": found,
  }
