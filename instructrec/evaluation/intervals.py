"""Bootstrap intervals of means over requests (percentile method).

Requests are drawn with replacement, as many as there are, and the mean is
taken anew; the interval reaches from one quantile of these means to another
(Efron and Tibshirani, 1993, chapter 13). It speaks of other requests of the
same kind. It says nothing of other training seeds.

Requests of one user are not independent: whoever is easy to serve once is so
again, and intervals that take ten requests of a user for ten users' are too
narrow. Where users repeat they are what is drawn, with all of their requests
(cluster bootstrap; Cameron, Gelbach and Miller, 2008).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special

NUM_RESAMPLES = 10_000
# Weights of the resamples held at a time, in bytes.
_CHUNK_BYTES = 32 * 2**20
# Draws that are counted at once; more would leave the processor's cache.
_COUNTED = 8192


@dataclasses.dataclass(frozen=True)
class Interval:
  """A mean with its bootstrap interval.

  Attributes:
    mean: over the requests.
    low: lower end.
    high: upper end.
  """

  mean: float
  low: float
  high: float

  @property
  def excludes_zero(self) -> bool:
    """Whether zero lies outside."""
    return self.low > 0 or self.high < 0

  def __neg__(self) -> "Interval":
    """The interval of the negated values."""
    return Interval(-self.mean, -self.high, -self.low)


def over_seeds(means: Sequence[float], level: float = 0.95) -> Interval:
  """Student's interval of what another training seed would come to.

  It says nothing of other requests.

  Args:
    means: of each training seed, two or more.
    level: of the interval.

  Returns:
    The mean with its interval.

  Raises:
    ValueError: where there are fewer than two.
  """
  if len(means) < 2:
    raise ValueError(
      f"there are {len(means)} training seeds, expected at least 2: one says "
      "nothing of others"
    )
  mean = float(np.mean(means))
  error = np.std(means, ddof=1) / np.sqrt(len(means))
  reach = float(special.stdtrit(len(means) - 1, (1.0 + level) / 2.0) * error)
  return Interval(mean, mean - reach, mean + reach)


def _weights(
  rng: np.random.Generator, count: int, num_resamples: int
) -> Float[np.ndarray, "resamples requests"]:
  """How often each request is drawn in each resample."""
  weights = np.empty((num_resamples, count))
  # Faster than `rng.multinomial`, which draws a binomial for each request.
  # Several resamples are counted at once, each in a stretch of its own.
  at_once = max(1, _COUNTED // count)
  for start in range(0, num_resamples, at_once):
    part = weights[start : start + at_once]
    drawn = rng.integers(0, count, part.shape)
    drawn += count * np.arange(len(part))[:, None]
    counts = np.bincount(drawn.ravel(), minlength=part.size)
    part[:] = counts.reshape(part.shape)
  return weights


def cluster_numbers(
  clusters: Sequence[Any] | np.ndarray | None, count: int
) -> Int[np.ndarray, " requests"] | None:
  """Numbers of the clusters, where there are any.

  Args:
    clusters: what each request belongs to, such as its user; None for itself.
    count: how many requests there are.

  Returns:
    Numbers from 0 in the order in which clusters appear; None where each
    request stands for itself.

  Raises:
    ValueError: where there is another number of requests.
  """
  if clusters is None:
    return None
  if len(clusters) != count:
    raise ValueError(
      f"clusters are of {len(clusters)} requests, expected {count}: one each, "
      "such as its user"
    )
  names: dict[Any, int] = {}
  numbers = [names.setdefault(name, len(names)) for name in clusters]
  return None if len(names) == count else np.array(numbers, np.int64)


def bootstrap(
  values: Float[np.ndarray, "requests metrics"],
  *,
  seed: int,
  num_resamples: int = NUM_RESAMPLES,
  level: float = 0.95,
  clusters: Sequence[Any] | np.ndarray | None = None,
) -> list[Interval]:
  """Percentile bootstrap of the mean of each column.

  Requests are drawn with replacement, the same ones for all columns, so that
  columns may be differences of paired methods.

  Args:
    values: one row a request.
    seed: of the resampling.
    num_resamples: how many resamples.
    level: share of the resampled means inside the interval.
    clusters: what each request belongs to, such as its user: clusters are drawn
      then, as many as there are, each with all of its requests. None, or
      different ones, draw requests.

  Returns:
    An interval for each column; its mean is over requests in any case.

  Raises:
    ValueError: where there are no requests, a value is not finite, or
      `level` or `num_resamples` is out of range.
  """
  if values.ndim != 2:
    raise ValueError(
      f"values have shape {values.shape}, expected [requests, metrics]"
    )
  if not len(values):
    raise ValueError("there are no requests to resample")
  if not np.isfinite(values).all():
    row, column = np.argwhere(~np.isfinite(values))[0]
    raise ValueError(
      f"column {column} of request {row} is {values[row, column]}, not a "
      "number; metrics must be defined"
    )
  if not 0 < level < 1:
    raise ValueError(f"level is {level}, expected a share between 0 and 1")
  if num_resamples < 1:
    raise ValueError(f"num_resamples is {num_resamples}, expected 1 or more")
  rng = np.random.default_rng(seed)
  numbers = cluster_numbers(clusters, len(values))
  if numbers is None:
    sums, sizes = values, np.ones((len(values), 1))
  else:
    sums = np.zeros((numbers.max() + 1, values.shape[1]))
    np.add.at(sums, numbers, values)
    sizes = np.bincount(numbers)[:, None].astype(np.float64)
  count = len(sums)
  chunk = max(1, _CHUNK_BYTES // (8 * count))
  drawn = (
    _weights(rng, count, min(chunk, num_resamples - start))
    for start in range(0, num_resamples, chunk)
  )
  means = np.concatenate([w @ sums / (w @ sizes) for w in drawn])
  # No mean lies outside its values. Rounding would let a constant's do so, and
  # a difference that is always 0 must not come out as clear.
  means = np.clip(means, values.min(0), values.max(0))
  centre = np.clip(values.mean(0), values.min(0), values.max(0))
  tail = (1 - level) / 2
  low, high = np.quantile(means, [tail, 1 - tail], axis=0)
  return [
    Interval(float(mean), float(a), float(b))
    for mean, a, b in zip(centre, low, high, strict=True)
  ]


def paired_difference(
  values: Float[np.ndarray, " requests"],
  reference: Float[np.ndarray, " requests"],
  *,
  seed: int,
  num_resamples: int = NUM_RESAMPLES,
  level: float = 0.95,
  clusters: Sequence[Any] | np.ndarray | None = None,
) -> Interval:
  """Mean of `values - reference` of the same requests, with its interval.

  Args:
    values: a metric of one method, by request.
    reference: the metric of another method on the same requests.
    seed: of the resampling.
    num_resamples: how many resamples.
    level: share of the resampled means inside the interval.
    clusters: see `bootstrap`.

  Returns:
    The interval of the difference.

  Raises:
    ValueError: where the two are not of the same requests; see `bootstrap`.
  """
  if values.shape != reference.shape:
    raise ValueError(
      f"values have shape {values.shape} and the reference "
      f"{reference.shape}; expected the same requests in the same order"
    )
  (interval,) = bootstrap(
    (values - reference)[:, None],
    seed=seed,
    num_resamples=num_resamples,
    level=level,
    clusters=clusters,
  )
  return interval
