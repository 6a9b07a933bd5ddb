"""Scores of the same candidates by name, and what they have to satisfy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

Parts = Mapping[str, Float[np.ndarray, "requests candidates"]]
Where = Bool[np.ndarray, "requests candidates"]


class ScoreWeightsError(ValueError):
  """Weights that do not fit: bad contents, missing parts, the wrong split."""


def check(
  parts: Parts,
  labels: Int[np.ndarray, " requests"] | None = None,
  where: Where | None = None,
) -> None:
  """Fails where parts, labels and slots are not of the same lists.

  Args:
    parts: scores by part.
    labels: index of the target or -1; None where there is none to look at.
    where: which slots hold candidates; None for all.

  Raises:
    ScoreWeightsError: where something does not fit; it is named.
  """
  shapes = {name: np.shape(part) for name, part in parts.items()}
  shape = next(iter(shapes.values()), ())
  if len(shape) != 2 or len(set(shapes.values())) > 1:
    raise ScoreWeightsError(
      f"the parts have the shapes {shapes}, expected [requests, candidates], "
      "the same for each"
    )
  if where is None:
    where = np.ones(shape, bool)
  if where.shape != shape or where.dtype != bool:
    raise ScoreWeightsError(
      f"where has shape {where.shape} and dtype {where.dtype}, expected "
      f"{shape} and bool"
    )
  for name, part in parts.items():
    if (np.isposinf(part) & where).any():
      row = int(np.argwhere(np.isposinf(part) & where)[0, 0])
      raise ScoreWeightsError(
        f"the part {name!r} of request {row} is infinite; expected numbers, or "
        "minus infinity where a candidate has no score"
      )
  if labels is None:
    return
  if labels.shape != shape[:1] or not np.issubdtype(labels.dtype, np.integer):
    raise ScoreWeightsError(
      f"labels have shape {labels.shape} and dtype {labels.dtype}, expected "
      f"integers of the {shape[0]} requests"
    )
  rows = np.flatnonzero(labels >= 0)
  beyond = labels[rows] >= shape[1]
  if beyond.any() or (labels < -1).any():
    raise ScoreWeightsError(
      f"labels go from {labels.min()} to {labels.max()}, expected indices of "
      f"{shape[1]} candidates, or -1"
    )
  empty = rows[~where[rows, labels[rows]]]
  if len(empty):
    raise ScoreWeightsError(
      f"the label of request {empty[0]} is {labels[empty[0]]}, a slot without "
      "candidate"
    )


def stack(blocks: Sequence[np.ndarray], fill: Any) -> np.ndarray:
  """Blocks of lists of different lengths as one array.

  Args:
    blocks: `[requests, candidates]` each.
    fill: what stands past the end of a list.

  Returns:
    The rows of all blocks, as wide as the widest.
  """
  width = max((block.shape[1] for block in blocks), default=0)
  rows = [
    np.pad(b, ((0, 0), (0, width - b.shape[1])), constant_values=fill)
    for b in blocks
  ]
  return np.concatenate(rows) if rows else np.zeros((0, width))


def nats(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  where: Where,
) -> Float[np.ndarray, " requests"]:
  """Negative log-probability of each target under a softmax over its list.

  Args:
    scores: of `ScoreWeights.combine`.
    labels: index of the target.
    where: which slots hold candidates.

  Returns:
    One number a request, from 0 on.
  """
  scores = np.where(where, scores, -np.inf)
  right = np.take_along_axis(scores, labels[:, None], 1)
  return np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1)) - (
    right - scores.max(1, keepdims=True)
  ).squeeze(1)
