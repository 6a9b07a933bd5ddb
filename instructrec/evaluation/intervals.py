"""Bootstrap intervals of means over requests (percentile method).

Requests are drawn with replacement, as many as there are, and the mean is
taken anew; the interval reaches from one quantile of these means to another
(Efron and Tibshirani, 1993, chapter 13). It speaks of other requests of the
same kind. It says nothing of other training seeds.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

NUM_RESAMPLES = 10_000
# Weights of the resamples held at a time, in bytes.
_CHUNK_BYTES = 32 * 2**20


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


def _weights(
  rng: np.random.Generator, count: int, num_resamples: int
) -> Float[np.ndarray, "resamples requests"]:
  """How often each request is drawn in each resample."""
  weights = np.empty((num_resamples, count))
  for row in weights:
    # Faster than `rng.multinomial`, which draws a binomial for each request.
    row[:] = np.bincount(rng.integers(0, count, count), minlength=count)
  return weights


def bootstrap(
  values: Float[np.ndarray, "requests metrics"],
  *,
  seed: int,
  num_resamples: int = NUM_RESAMPLES,
  level: float = 0.95,
) -> list[Interval]:
  """Percentile bootstrap of the mean of each column.

  Requests are drawn with replacement, the same ones for all columns, so that
  columns may be differences of paired methods.

  Args:
    values: one row a request.
    seed: of the resampling.
    num_resamples: how many resamples.
    level: share of the resampled means inside the interval.

  Returns:
    An interval for each column.

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
  count = len(values)
  chunk = max(1, _CHUNK_BYTES // (8 * count))
  means = np.concatenate(
    [
      _weights(rng, count, min(chunk, num_resamples - start)) @ values / count
      for start in range(0, num_resamples, chunk)
    ]
  )
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
) -> Interval:
  """Mean of `values - reference` of the same requests, with its interval.

  Args:
    values: a metric of one method, by request.
    reference: the metric of another method on the same requests.
    seed: of the resampling.
    num_resamples: how many resamples.
    level: share of the resampled means inside the interval.

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
  )
  return interval
