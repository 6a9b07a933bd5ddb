"""Bootstrap intervals of means over requests (percentile method)."""

import dataclasses

import numpy as np
from jaxtyping import Float

_CHUNK = 256


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


def bootstrap(
  values: Float[np.ndarray, "requests metrics"],
  *,
  seed: int,
  num_resamples: int = 2000,
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
    ValueError: where there are no requests, or a value is not a number.
  """
  if not len(values):
    raise ValueError("there are no requests to resample")
  if np.isnan(values).any():
    raise ValueError("a metric is not a number; metrics must be defined")
  rng = np.random.default_rng(seed)
  count = len(values)
  means = []
  for start in range(0, num_resamples, _CHUNK):
    size = min(_CHUNK, num_resamples - start)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=size)
    means.append(weights @ values / count)
  tail = (1 - level) / 2
  low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
  return [
    Interval(float(mean), float(a), float(b))
    for mean, a, b in zip(values.mean(0), low, high, strict=True)
  ]
