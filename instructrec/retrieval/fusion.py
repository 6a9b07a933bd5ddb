"""Two rankers' scores of the same lists as one score.

Scores are standardised within each list (mean 0, standard deviation 1), which
makes logits, counts and log-likelihoods comparable and keeps how clearly a
candidate leads; reciprocal ranks would throw that away. One weight is left: 0
is the first ranker's order and 1 the second's.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import metrics

WEIGHTS = tuple(i / 20 for i in range(21))


def standardize(
  scores: Float[np.ndarray, "requests candidates"],
) -> Float[np.ndarray, "requests candidates"]:
  """z-scores within each list.

  Args:
    scores: minus infinity past the end of a list.

  Returns:
    z-scores, all 0 where a list's scores are equal; scores that are not
    finite stay as they are.
  """
  finite = np.isfinite(scores)
  counts = np.maximum(finite.sum(1, keepdims=True), 1)
  values = np.where(finite, scores, 0.0)
  means = values.sum(1, keepdims=True) / counts
  values = np.where(finite, values - means, 0.0)
  deviation = np.sqrt((values**2).sum(1, keepdims=True) / counts)
  # Of equal scores only the rounding of their mean is left.
  spread = deviation > 1e-9 * np.maximum(np.abs(means), 1e-300)
  z = np.where(spread, values / np.where(spread, deviation, 1.0), 0.0)
  return np.where(finite, z, scores)


def fuse(
  first: Float[np.ndarray, "requests candidates"],
  second: Float[np.ndarray, "requests candidates"],
  weight: float,
) -> Float[np.ndarray, "requests candidates"]:
  """`(1 - weight) * z(first) + weight * z(second)`.

  Args:
    first: one ranker's scores.
    second: another's, of the same candidates.
    weight: of the second, from 0 to 1.

  Returns:
    The scores; at 0 and 1 the order of one ranker alone.

  Raises:
    ValueError: for a weight outside.
  """
  if not 0 <= weight <= 1:
    raise ValueError(f"weight is {weight}, expected 0 to 1")
  if weight in (0, 1):
    return standardize(second if weight else first)
  return (1 - weight) * standardize(first) + weight * standardize(second)


class WeightSearch:
  """Finds the weight with the best mean NDCG@10, list by list.

  Lists without their target add nothing at any weight, so they are left out.
  """

  def __init__(self) -> None:
    self._sums = np.zeros(len(WEIGHTS))

  def add(
    self,
    first: Float[np.ndarray, "requests candidates"],
    second: Float[np.ndarray, "requests candidates"],
    labels: Int[np.ndarray, " requests"],
    where: Bool[np.ndarray, "requests candidates"],
  ) -> None:
    """Adds lists of validation requests.

    Args:
      first: see `fuse`.
      second: see `fuse`.
      labels: index of the target; -1 where the list lacks it.
      where: which slots hold candidates.
    """
    has = labels >= 0
    for i, weight in enumerate(WEIGHTS):
      scores = fuse(first[has], second[has], weight)
      values = metrics.per_request(
        scores, labels[has], where=where[has], ndcg_at=(10,)
      )
      self._sums[i] += values["NDCG@10"].sum()

  @property
  def best(self) -> float:
    """The weight; of equally good ones, the smallest."""
    return WEIGHTS[int(np.argmax(self._sums))]
