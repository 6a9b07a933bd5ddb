"""Paired tests of methods on the same requests, corrected for their number.

Under the hypothesis that two methods do not differ, the sign of each request's
difference is a coin's (Fisher, 1935; in retrieval: Smucker et al., CIKM 2007).
The p-value is how often flipped signs give a mean as far from zero as the one
that was found, itself counted, so that it is never 0 (Phipson and Smyth, 2010).
Wilcoxon's and the sign test are left out: they look at ranks and signs, not at
means, and over thousands of requests call methods different that are not
(Ihemelandu and Ekstrand, SIGIR 2023).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from instructrec.evaluation import intervals

NUM_FLIPS = 10_000
LEVEL = 0.05
# Signs of the flips held at a time, in bytes.
_CHUNK_BYTES = 32 * 2**20
# Means that differ by rounding alone are the same.
_ROUNDING = 1e-9


def randomisation_test(
  differences: Float[np.ndarray, "requests columns"],
  *,
  seed: int,
  num_flips: int = NUM_FLIPS,
  clusters: Sequence[Any] | np.ndarray | None = None,
) -> Float[np.ndarray, " columns"]:
  """Two-sided p-value of each column's mean; signs are flipped by request.

  A request's sign is the same in all columns, so that columns may be metrics
  and pairs of methods.

  Args:
    differences: of two methods, one row a request.
    seed: of the signs.
    num_flips: how often all signs are drawn.
    clusters: what each request belongs to, such as its user: all requests of
      one have the same sign then. None, or different ones, for a sign each.

  Returns:
    `(1 + flips at least as far from zero) / (1 + num_flips)`.

  Raises:
    ValueError: where there are no requests, a difference is not finite, or
      `num_flips` is below 1.
  """
  if differences.ndim != 2 or not len(differences):
    raise ValueError(
      f"differences have shape {differences.shape}, expected [requests, "
      "columns] with at least one request"
    )
  if not np.isfinite(differences).all():
    row, column = np.argwhere(~np.isfinite(differences))[0]
    raise ValueError(
      f"column {column} of request {row} is {differences[row, column]}, not a "
      "number; metrics must be defined"
    )
  if num_flips < 1:
    raise ValueError(f"num_flips is {num_flips}, expected 1 or more")
  numbers = intervals.cluster_numbers(clusters, len(differences))
  if numbers is not None:
    sums = np.zeros((numbers.max() + 1, differences.shape[1]))
    np.add.at(sums, numbers, differences)
    differences = sums
  rng = np.random.default_rng(seed)
  # A request without any difference has no sign to flip.
  moved = differences[(differences != 0).any(1)]
  total = moved.sum(0)
  scale = np.abs(moved).sum(0)
  far = np.abs(total) - _ROUNDING * scale
  as_far = np.zeros(differences.shape[1], np.int64)
  chunk = max(1, _CHUNK_BYTES // (8 * max(1, len(moved))))
  for start in range(0, num_flips, chunk):
    size = min(chunk, num_flips - start)
    kept = rng.integers(0, 2, (size, len(moved)), np.int8).astype(np.float64)
    as_far += (np.abs(2 * (kept @ moved) - total) >= far).sum(0)
  return (1 + as_far) / (1 + num_flips)


def holm(
  p_values: Float[np.ndarray, " comparisons"],
) -> Float[np.ndarray, " comparisons"]:
  """Holm's step-down correction over a family of comparisons.

  Rejecting where the result is at most alpha makes any false finding in the
  whole family no likelier than alpha, however the tests depend on each other
  (Holm, 1979).

  Args:
    p_values: of all comparisons of the family.

  Returns:
    Adjusted p-values, in the same order.

  Raises:
    ValueError: where a p-value is not between 0 and 1.
  """
  p_values = np.asarray(p_values, np.float64)
  if not ((p_values >= 0) & (p_values <= 1)).all():
    raise ValueError(f"p-values are {p_values}, expected shares from 0 to 1")
  order = np.argsort(p_values, kind="stable")
  left = len(p_values) - np.arange(len(p_values))
  adjusted = np.empty_like(p_values)
  adjusted[order] = np.minimum(1, np.maximum.accumulate(left * p_values[order]))
  return adjusted


def effect_size(differences: Float[np.ndarray, " requests"]) -> float | None:
  """Mean difference over the standard deviation of differences.

  Cohen's d of paired values. It does not grow with the number of requests, as
  certainty does: 0.2 is called small, 0.5 medium, 0.8 large.

  Args:
    differences: of two methods, by request.

  Returns:
    The ratio; 0 where no request differs, None where all differ by the same
    amount or there is only one.
  """
  if not differences.any():
    return 0.0
  if len(differences) < 2 or np.ptp(differences) == 0:
    return None
  return float(differences.mean() / differences.std(ddof=1))


def discordant(
  differences: Float[np.ndarray, " requests"],
) -> tuple[int, int]:
  """How many requests one method serves better, and how many worse.

  Of hit rates without ties these are the two counts that McNemar's test
  compares.

  Args:
    differences: of two methods, by request.

  Returns:
    Requests with a positive, and with a negative difference.
  """
  return int((differences > 0).sum()), int((differences < 0).sum())
