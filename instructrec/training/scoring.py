"""Scores the candidate lists of a data set, in compiled batches.

Lists go into buckets by the length of their instruction and of their longest
candidate, so that no list is padded to the longest of all; each bucket is
compiled once.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from instructrec import progress
from instructrec.models import protocol
from instructrec.models import scoring as candidate_scoring
from instructrec.training import batches, token_dataset

_INPUT_STEP = 128
_TARGET_STEP = 16


def _buckets(
  lengths: Int[np.ndarray, " requests"], step: int, limit: int
) -> Int[np.ndarray, " requests"]:
  """Each length rounded up to `step` times a power of two, or to `limit`."""
  doublings = np.ceil(np.log2(np.maximum(lengths / step, 1))).astype(np.int64)
  return np.minimum(step * 2**doublings, limit)


@functools.lru_cache(maxsize=8)
def _score_fn(
  model: protocol.RankingModel, normalizations: tuple[str, ...]
) -> Callable[[Any, Any], dict[str, jax.Array]]:
  """Scores under each normalisation from one pass, compiled once a shape."""

  def score(params: Any, batch: batches.Batch) -> dict[str, jax.Array]:
    _, auxiliary = model.score_batch(params, batch, return_intermediates=True)
    decoder = auxiliary["decoder"]
    (tokens,), (weights,) = decoder["token_scores"], decoder["loss_weights"]
    return {
      name: candidate_scoring.candidate_scores(
        tokens, weights, normalization=name
      )
      for name in normalizations
    }

  return jax.jit(score)


def score_lists(
  model: protocol.RankingModel,
  params: Any,
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  *,
  inputs_length: int,
  targets_length: int,
  normalizations: Sequence[str] = (),
  batch_size: int = 32,
  label: str = "score",
) -> dict[str, Float[np.ndarray, "requests candidates"]]:
  """Log-likelihood of each candidate of each request, in nats.

  Args:
    model: its `score_batch` scores a list with one encoder pass.
    params: the model's parameters.
    dataset: requests with candidate lists.
    examples: which of them.
    inputs_length: longest instruction, in tokens; longer ones are cut.
    targets_length: longest candidate, in tokens.
    normalizations: "sum" over a candidate's tokens, "mean" over them, or both;
      empty for the model's own.
    batch_size: requests scored at once.
    label: what the progress line says.

  Returns:
    float64 scores by normalisation, all from one pass; slots past the end of
    a list are minus infinity.

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
  inputs = _buckets(
    np.minimum(dataset.inputs.lengths[examples], inputs_length),
    _INPUT_STEP,
    inputs_length,
  )
  assert dataset.lists is not None
  longest_of_list = np.maximum.reduceat(
    dataset.targets.lengths, dataset.lists[:-1]
  )
  targets = _buckets(longest_of_list[examples], _TARGET_STEP, targets_length)
  names = tuple(normalizations) or (model.score_normalization,)
  # Models are compared by identity, which their protocol does not say.
  score_fn = _score_fn(model, names)  # type: ignore[arg-type]
  scores = {name: np.full((len(examples), width), -np.inf) for name in names}
  shapes = np.stack([inputs, targets], axis=1)
  with progress.Progress(len(examples), label, unit="list") as line:
    for shape in np.unique(shapes, axis=0):
      (members,) = np.nonzero((shapes == shape).all(1))
      for start in range(0, len(members), batch_size):
        chosen = members[start : start + batch_size]
        # The last batch is filled up with repeats, to be compiled as the
        # others.
        batch = batches.list_batch(
          dataset,
          examples[np.resize(chosen, batch_size)],
          inputs_length=int(shape[0]),
          targets_length=int(shape[1]),
          num_candidates=width,
        )
        for name, found in score_fn(params, batch).items():
          scores[name][chosen] = np.asarray(found, np.float64)[: len(chosen)]
        line.advance(len(chosen))
  return scores
