"""The arrays that a `RankingModel` reads, from padded tokens (NumPy)."""

import numpy as np
from jaxtyping import Int


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
