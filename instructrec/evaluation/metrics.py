r"""Ranking metrics of candidate lists with one right candidate, in NumPy.

For a request let `greater` be the number of candidates that score above the
right one, and `equal` the number that score the same, itself included. Under
uniformly random tie-breaking the right one has each of the ranks
`greater + 1 ... greater + equal` with probability `1 / equal`, and a metric
is its expected value:

    HR@K   = (1 / equal) * #{ranks <= K}
    NDCG@K = (1 / equal) * sum of 1 / log2(rank + 1) over ranks <= K
    MRR    = (1 / equal) * sum of 1 / rank

A score that is not a number counts as worse than any other.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

HIT_RATE_AT = (1, 3, 5, 10)
NDCG_AT = (3, 5, 10)
NAMES = (
  *(f"HR@{k}" for k in HIT_RATE_AT),
  *(f"NDCG@{k}" for k in NDCG_AT),
  "MRR",
)
# Rows of scores looked at together: 16 MiB of 100 float64 candidates.
_CHUNK = 20_000


def tied_ranks(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> tuple[Int[np.ndarray, " requests"], Int[np.ndarray, " requests"]]:
  """Counts what scores above, and the same as, the right candidate.

  Args:
    scores: higher is better.
    labels: index of the right candidate.
    where: which slots hold candidates; None for all.

  Returns:
    `greater` and `equal` (at least 1: the right candidate itself).

  Raises:
    ValueError: where shapes or labels do not fit.
  """
  if scores.ndim != 2 or labels.shape != scores.shape[:1]:
    raise ValueError(
      f"scores have shape {scores.shape} and labels {labels.shape}; expected "
      "[requests, candidates] and [requests]"
    )
  if where is not None and where.shape != scores.shape:
    raise ValueError(
      f"where has shape {where.shape}, expected that of the scores, "
      f"{scores.shape}"
    )
  rows = np.arange(len(labels))
  if len(labels) and (labels.min() < 0 or labels.max() >= scores.shape[1]):
    raise ValueError(
      f"labels go from {labels.min()} to {labels.max()}, expected indices of "
      f"{scores.shape[1]} candidates"
    )
  if where is not None and not where[rows, labels].all():
    row = int(np.flatnonzero(~where[rows, labels])[0])
    raise ValueError(
      f"the label of request {row} is {labels[row]}, a slot without candidate"
    )
  right = scores[rows, labels][:, None]
  invalid = np.isnan(scores)
  right_invalid = np.isnan(right)
  # A number beats a NaN; NaN ties with NaN; else plain comparison.
  greater = (scores > right) | (~invalid & right_invalid)
  equal = (scores == right) | (invalid & right_invalid)
  if where is not None:
    greater &= where
    equal &= where
  return greater.sum(1), equal.sum(1)


def _prefix(values: Float[np.ndarray, " ranks"]) -> Float[np.ndarray, " n"]:
  return np.concatenate([[0.0], np.cumsum(values)])


def from_ranks(
  greater: Int[np.ndarray, " requests"],
  equal: Int[np.ndarray, " requests"],
) -> dict[str, Float[np.ndarray, " requests"]]:
  """Expected metrics of each request; see the module.

  Args:
    greater: candidates above the right one.
    equal: candidates tied with it, itself included.

  Returns:
    float64 values in [0, 1] by name, in the order of `NAMES`.
  """
  last = greater + equal
  num_ranks = int(last.max(initial=1))
  ranks = np.arange(1, num_ranks + 1)
  discounts = 1.0 / np.log2(ranks + 1.0)

  def expected(gains: Float[np.ndarray, " ranks"]) -> np.ndarray:
    prefix = _prefix(gains)
    return (prefix[last] - prefix[greater]) / equal

  result = {f"HR@{k}": expected((ranks <= k) * 1.0) for k in HIT_RATE_AT}
  for k in NDCG_AT:
    result[f"NDCG@{k}"] = expected(discounts * (ranks <= k))
  result["MRR"] = expected(1.0 / ranks)
  return result


def per_request(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> dict[str, Float[np.ndarray, " requests"]]:
  """HR@K, NDCG@K and MRR of each request.

  Args:
    scores: higher is better.
    labels: index of the right candidate.
    where: which slots hold candidates; None for all.

  Returns:
    float64 values by name, in the order of `NAMES`.

  Raises:
    ValueError: where shapes or labels do not fit.

  Example:
    >>> values = per_request(np.array([[0.1, 0.9, 0.5]]), np.array([2]))
    >>> float(values["HR@1"][0]), float(values["MRR"][0])
    (0.0, 0.5)
  """
  greater = np.zeros(len(labels), np.int64)
  equal = np.ones(len(labels), np.int64)
  for start in range(0, len(labels), _CHUNK):
    rows = slice(start, start + _CHUNK)
    greater[rows], equal[rows] = tied_ranks(
      scores[rows],
      labels[rows],
      where=None if where is None else where[rows],
    )
  return from_ranks(greater, equal)


def chance(num_candidates: Sequence[int] | int) -> dict[str, float]:
  """Each metric's mean where the order says nothing.

  Args:
    num_candidates: list length, or that of each request.

  Returns:
    Means by name: the value of a constant scorer.
  """
  counts = np.atleast_1d(np.asarray(num_candidates, np.int64))
  values = from_ranks(np.zeros_like(counts), counts)
  return {name: float(value.mean()) for name, value in values.items()}
