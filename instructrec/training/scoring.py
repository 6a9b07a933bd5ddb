"""Scores the candidate lists of a data set, in compiled batches.

Lists are scored as trees (`models/candidate_tree.py`). They go into buckets by
the length of their instruction and the size of their tree, so that no list is
padded to the longest of all; each bucket is compiled once, for as many
requests as fit a budget of tokens.
"""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from instructrec import progress
from instructrec.models import candidate_tree, features, protocol
from instructrec.training import token_dataset

# Lists whose trees are counted at once.
_BLOCK = 1024


@functools.partial(jax.jit, static_argnums=0)
def _score(
  model: protocol.RankingModel, params: Any, batch: dict[str, np.ndarray]
) -> jax.Array:
  # Compiled once a model and shape, however often `score_lists` is called.
  return model.score_batch(params, batch)


def _num_nodes(
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  longest: Int[np.ndarray, " requests"],
) -> Int[np.ndarray, " requests"]:
  """Size of each list's tree; `longest` is that of each list's candidates."""
  counts = dataset.num_candidates
  found = []
  for start in range(0, len(examples), _BLOCK):
    block = slice(start, start + _BLOCK)
    targets = dataset.pad_lists(
      examples[block],
      int(longest[block].max()),
      int(counts[examples[block]].max()),
    )
    found.append(candidate_tree.num_nodes(targets))
  return np.concatenate(found)


def _batches(
  members: Int[np.ndarray, " members"], most: int
) -> list[Int[np.ndarray, " batch"]]:
  """Cuts `members` into batches of one size.

  The last one is filled up with repeats, to be compiled as the others.
  """
  count = -(-len(members) // most)
  size = -(-len(members) // count)
  return [
    np.resize(members[start : start + size], size)
    for start in range(0, len(members), size)
  ]


def score_lists(
  model: protocol.RankingModel,
  params: Any,
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  *,
  inputs_length: int,
  targets_length: int,
  batch_size: int = 32,
  max_tokens: int = 16384,
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
    batch_size: most requests scored at once.
    max_tokens: most tokens of a batch, those of the instructions and of the
      candidates' trees together; a single request may have more.
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
  inputs = np.minimum(dataset.inputs.lengths[examples], inputs_length)
  inputs = np.minimum(features.padded_lengths(inputs), inputs_length)
  assert dataset.lists is not None
  targets = np.maximum.reduceat(dataset.targets.lengths, dataset.lists[:-1])
  targets = targets[examples]
  nodes = features.padded_lengths(_num_nodes(dataset, examples, targets))
  scores = np.full((len(examples), width), -np.inf)
  shapes = np.stack([inputs, nodes], axis=1)
  with progress.Progress(len(examples), label, unit="list") as line:
    for shape in np.unique(shapes, axis=0):
      (members,) = np.nonzero((shapes == shape).all(1))
      length = int(targets[members].max())
      most = int(np.clip(max_tokens // shape.sum(), 1, batch_size))
      for chosen in _batches(members, most):
        batch = candidate_tree.to_features(
          dataset.inputs.pad(examples[chosen], int(shape[0])),
          dataset.pad_lists(examples[chosen], length, width),
          int(shape[1]),
        )
        scores[chosen] = np.asarray(_score(model, params, batch), np.float64)
        line.advance(len(np.unique(chosen)))
  return scores
