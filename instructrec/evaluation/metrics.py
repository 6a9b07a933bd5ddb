r"""Ranking metrics of candidate lists with one right candidate, in NumPy.

For a request let `greater` be the number of candidates that score above the
right one, and `equal` the number that score the same, itself included. Under
uniformly random tie-breaking the right one has each of the ranks
`greater + 1 ... greater + equal` with probability `1 / equal`, and a metric
is its expected value:

    HR@K   = (1 / equal) * #{ranks <= K}
    NDCG@K = (1 / equal) * sum of 1 / log2(rank + 1) over ranks <= K
    MRR    = (1 / equal) * sum of 1 / rank

The closed form takes differences of prefix sums over the ranks, so a tie costs
no more than any other score. A score that is not a number counts as worse than
any other, minus infinity included; `count_nan` says how many there are.
"""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

HIT_RATE_AT = (1, 3, 5, 10)
NDCG_AT = (3, 5, 10)
NAMES = (
  *(f"HR@{k}" for k in HIT_RATE_AT),
  *(f"NDCG@{k}" for k in NDCG_AT),
  "MRR",
)
# Rows of scores looked at together: comparisons stay in the cache, and a
# million lists need no more memory than a few thousand.
_CHUNK = 4_000


def _check(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  where: Bool[np.ndarray, "requests candidates"] | None,
) -> None:
  if scores.ndim != 2 or labels.shape != scores.shape[:1]:
    raise ValueError(
      f"scores have shape {scores.shape} and labels {labels.shape}; expected "
      "[requests, candidates] and [requests]"
    )
  if not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f"labels have dtype {labels.dtype}, expected integers: the index of the "
      "right candidate"
    )
  if where is not None and where.shape != scores.shape:
    raise ValueError(
      f"where has shape {where.shape}, expected that of the scores, "
      f"{scores.shape}"
    )
  if len(labels) and (labels.min() < 0 or labels.max() >= scores.shape[1]):
    raise ValueError(
      f"labels go from {labels.min()} to {labels.max()}, expected indices of "
      f"{scores.shape[1]} candidates"
    )
  if where is not None:
    empty = np.flatnonzero(~where[np.arange(len(labels)), labels])
    if len(empty):
      raise ValueError(
        f"the label of request {empty[0]} is {labels[empty[0]]}, a slot "
        "without candidate"
      )


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
    `greater` and `equal` (at least 1: the right candidate itself), int64.

  Raises:
    ValueError: where shapes or labels do not fit.
  """
  _check(scores, labels, where)
  greater = np.zeros(len(labels), np.int64)
  equal = np.ones(len(labels), np.int64)
  for start in range(0, len(labels), _CHUNK):
    rows = slice(start, start + _CHUNK)
    part = scores[rows]
    right = part[np.arange(len(part)), labels[rows]][:, None]
    above, same = part > right, part == right
    invalid = np.isnan(part)
    if invalid.any():
      # A number beats a NaN; NaN ties with NaN; else plain comparison.
      above |= ~invalid & np.isnan(right)
      same |= invalid & np.isnan(right)
    if where is not None:
      above &= where[rows]
      same &= where[rows]
    greater[rows] = np.count_nonzero(above, axis=1)
    equal[rows] = np.count_nonzero(same, axis=1)
  return greater, equal


def expected_rank(
  greater: Int[np.ndarray, " requests"],
  equal: Int[np.ndarray, " requests"],
) -> Float[np.ndarray, " requests"]:
  """Mean of the ranks that the right candidate may get; 1 is the best.

  Args:
    greater: candidates above the right one.
    equal: candidates tied with it, itself included.

  Returns:
    `greater + (equal + 1) / 2`.
  """
  return greater + (equal + 1) / 2


def count_nan(
  scores: Float[np.ndarray, "requests candidates"],
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> int:
  """How many scores of candidates are not numbers.

  Args:
    scores: any.
    where: which slots hold candidates; None for all.

  Returns:
    Their number.
  """
  total = 0
  for start in range(0, len(scores), _CHUNK):
    invalid = np.isnan(scores[start : start + _CHUNK])
    if where is not None:
      invalid &= where[start : start + _CHUNK]
    total += int(np.count_nonzero(invalid))
  return total


@dataclasses.dataclass(frozen=True)
class Ranks:
  """Where one method puts the right candidate of each request.

  Attributes:
    greater: candidates above it; see `tied_ranks`.
    equal: candidates tied with it, itself included.
    num_nan: scores that were not a number, over all requests.
  """

  greater: Int[np.ndarray, " requests"]
  equal: Int[np.ndarray, " requests"]
  num_nan: int = 0

  @classmethod
  def of(
    cls,
    scores: Float[np.ndarray, "requests candidates"],
    labels: Int[np.ndarray, " requests"],
    *,
    where: Bool[np.ndarray, "requests candidates"] | None = None,
  ) -> Self:
    """The ranks that scores give; args and errors are those of `tied_ranks`."""
    greater, equal = tied_ranks(scores, labels, where=where)
    return cls(greater, equal, count_nan(scores, where=where))


def from_ranks(
  greater: Int[np.ndarray, " requests"],
  equal: Int[np.ndarray, " requests"],
  *,
  hit_rate_at: Sequence[int] = HIT_RATE_AT,
  ndcg_at: Sequence[int] = NDCG_AT,
) -> dict[str, Float[np.ndarray, " requests"]]:
  """Expected metrics of each request; see the module.

  Args:
    greater: candidates above the right one.
    equal: candidates tied with it, itself included.
    hit_rate_at: cut-offs K of HR@K.
    ndcg_at: cut-offs K of NDCG@K.

  Returns:
    float64 values in [0, 1] by name, in the order of `NAMES`: hit rates,
    NDCGs, MRR.

  Raises:
    ValueError: where a cut-off is below 1.
  """
  if min((*hit_rate_at, *ndcg_at), default=1) < 1:
    raise ValueError(
      f"cut-offs are {tuple(hit_rate_at)} and {tuple(ndcg_at)}, expected 1 or "
      "more"
    )
  last = greater + equal
  ranks = np.arange(1, int(last.max(initial=1)) + 1)
  discounts = 1.0 / np.log2(ranks + 1.0)

  def expected(gains: Float[np.ndarray, " ranks"]) -> np.ndarray:
    prefix = np.concatenate([[0.0], np.cumsum(gains)])
    # A lone rank needs no prefix sums, whose difference would round.
    return np.where(
      equal == 1, gains[greater], (prefix[last] - prefix[greater]) / equal
    )

  result = {f"HR@{k}": expected((ranks <= k) * 1.0) for k in hit_rate_at}
  for k in ndcg_at:
    result[f"NDCG@{k}"] = expected(discounts * (ranks <= k))
  result["MRR"] = expected(1.0 / ranks)
  return result


def per_request(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
  hit_rate_at: Sequence[int] = HIT_RATE_AT,
  ndcg_at: Sequence[int] = NDCG_AT,
) -> dict[str, Float[np.ndarray, " requests"]]:
  """HR@K, NDCG@K and MRR of each request.

  Args:
    scores: higher is better.
    labels: index of the right candidate.
    where: which slots hold candidates; None for all.
    hit_rate_at: cut-offs K of HR@K.
    ndcg_at: cut-offs K of NDCG@K.

  Returns:
    float64 values by name, in the order of `NAMES`.

  Raises:
    ValueError: where shapes, labels or cut-offs do not fit.

  Example:
    >>> values = per_request(np.array([[0.1, 0.9, 0.5]]), np.array([2]))
    >>> float(values["HR@1"][0]), float(values["MRR"][0])
    (0.0, 0.5)
  """
  greater, equal = tied_ranks(scores, labels, where=where)
  return from_ranks(greater, equal, hit_rate_at=hit_rate_at, ndcg_at=ndcg_at)


def chance(
  num_candidates: Sequence[int] | Int[np.ndarray, " requests"] | int,
  *,
  hit_rate_at: Sequence[int] = HIT_RATE_AT,
  ndcg_at: Sequence[int] = NDCG_AT,
) -> dict[str, float]:
  """Each metric's mean where the order says nothing.

  Args:
    num_candidates: list length, or that of each request.
    hit_rate_at: cut-offs K of HR@K.
    ndcg_at: cut-offs K of NDCG@K.

  Returns:
    Means by name: the value of a constant scorer.

  Raises:
    ValueError: where there is no list, or one without candidates.
  """
  counts = np.atleast_1d(np.asarray(num_candidates, np.int64))
  if not len(counts) or counts.min() < 1:
    raise ValueError(
      f"num_candidates is {num_candidates}, expected lists of at least one "
      "candidate"
    )
  lengths, times = np.unique(counts, return_counts=True)
  values = from_ranks(
    np.zeros_like(lengths), lengths, hit_rate_at=hit_rate_at, ndcg_at=ndcg_at
  )
  # Shares, not a mean over requests: where all lists are of one length, the
  # level is that length's to the last bit, and a constant scorer's too.
  shares = times / len(counts)
  return {name: float(value @ shares) for name, value in values.items()}
