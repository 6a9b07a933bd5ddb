"""Scores the candidate lists of a data set, in compiled batches.

Lists are sorted by the length of their instruction and padded only to the
next multiple of `_LENGTH_STEP`, so that a short instruction does not pay for
the longest one; each width is compiled once.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from instructrec import progress
from instructrec.models import protocol
from instructrec.training import batches, token_dataset

_LENGTH_STEP = 64
_TARGET_STEP = 8


def _round_up(value: int, step: int, limit: int) -> int:
  return min(-(-value // step) * step, limit)


def score_lists(
  model: protocol.RankingModel,
  params: Any,
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  *,
  inputs_length: int,
  targets_length: int,
  batch_size: int = 32,
  label: str = "score",
) -> Float[np.ndarray, "requests candidates"]:
  """Log-likelihood of each candidate of each request, in nats.

  Args:
    model: its `score_batch` scores a list with one encoder pass.
    params: the model's parameters.
    dataset: requests with candidate lists.
    examples: which of them.
    inputs_length: longest instruction, in tokens; longer ones are cut.
    targets_length: longest candidate, in tokens.
    batch_size: requests scored at once.
    label: what the progress line says.

  Returns:
    float64 scores; slots past the end of a list are minus infinity.

  Raises:
    ValueError: where a candidate is longer than `targets_length`: cut
      candidates could not be told apart.
  """
  longest = int(dataset.targets.lengths.max())
  if longest > targets_length:
    raise ValueError(
      f"{dataset.name} has candidates of {longest} tokens, expected at most "
      f"{targets_length}; raise the length of the targets"
    )
  width = int(dataset.num_candidates[examples].max())
  tokens = _round_up(longest, _TARGET_STEP, targets_length)
  score_fn = jax.jit(model.score_batch)
  lengths = np.minimum(dataset.inputs.lengths[examples], inputs_length)
  order = np.argsort(lengths, kind="stable")
  scores = np.full((len(examples), width), -np.inf)
  with progress.Progress(len(examples), label, unit="list") as line:
    for start in range(0, len(order), batch_size):
      chosen = order[start : start + batch_size]
      # The last batch is filled up with repeats, to be compiled as the others.
      filled = np.resize(chosen, batch_size)
      batch = batches.list_batch(
        dataset,
        examples[filled],
        inputs_length=_round_up(
          int(lengths[chosen].max()), _LENGTH_STEP, inputs_length
        ),
        targets_length=tokens,
        num_candidates=width,
      )
      result = np.asarray(score_fn(params, batch), np.float64)
      scores[chosen] = result[: len(chosen)]
      line.advance(len(chosen))
  return scores
