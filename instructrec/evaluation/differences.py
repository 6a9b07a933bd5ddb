"""How methods differ on the same requests, each pair at each metric."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from instructrec.evaluation import intervals, significance


@dataclasses.dataclass(frozen=True)
class Difference:
  """How much better one method is than another on the same requests.

  Attributes:
    method: the one.
    reference: the other.
    metric: which metric.
    interval: mean difference with its paired bootstrap interval.
    p_value: of the paired randomisation test, two-sided.
    p_holm: `p_value` corrected for all pairs of the group at this metric.
    effect_size: mean over standard deviation of the differences; see
      `significance.effect_size`.
    num_better: requests that `method` serves better.
    num_worse: requests that `reference` serves better.
  """

  method: str
  reference: str
  metric: str
  interval: intervals.Interval
  p_value: float
  p_holm: float
  effect_size: float | None
  num_better: int
  num_worse: int

  @property
  def is_outside(self) -> bool:
    """Whether the interval leaves out zero."""
    return self.interval.excludes_zero

  @property
  def is_clear(self) -> bool:
    """Whether test and interval agree that the methods differ."""
    return self.p_holm < significance.LEVEL and self.is_outside

  def __neg__(self) -> "Difference":
    """The same comparison the other way round."""
    size = self.effect_size
    return dataclasses.replace(
      self,
      method=self.reference,
      reference=self.method,
      interval=-self.interval,
      # 0 has no sign, and None none either.
      effect_size=-size if size else size,
      num_better=self.num_worse,
      num_worse=self.num_better,
    )

  def to_json(self) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
      **dataclasses.asdict(self),
      "outside_zero": self.is_outside,
      "clear": self.is_clear,
    }

  @classmethod
  def from_json(cls, record: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gave.

    Args:
      record: JSON values.

    Returns:
      The difference.
    """
    fields = {f.name: record[f.name] for f in dataclasses.fields(cls)}
    interval = intervals.Interval(**fields.pop("interval"))
    return cls(interval=interval, **fields)


def resample(
  tables: Mapping[str, Float[np.ndarray, "requests metrics"]],
  metrics: Sequence[str],
  *,
  seed: int,
  num_resamples: int,
  clusters: Sequence[Any] | None = None,
) -> tuple[dict[str, dict[str, intervals.Interval]], list[Difference]]:
  """Intervals of all methods and of all their differences.

  One bootstrap serves both. The family of Holm's correction is all pairs of
  methods at one metric.

  Args:
    tables: each method's metrics of the same requests, best method first.
    metrics: names of the columns.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of either.
    clusters: what each request belongs to, such as its user; see
      `intervals.bootstrap`. Effect sizes and counts stay those of requests.

  Returns:
    Method -> metric -> interval, and each method against each one after it.
  """
  pairs = list(itertools.combinations(tables, 2))
  # Differences are columns of their own: taken after the resampling, equal
  # methods would differ by the rounding of two sums.
  gaps = [tables[a] - tables[b] for a, b in pairs]
  resampled = intervals.bootstrap(
    np.concatenate([*tables.values(), *gaps], axis=1),
    seed=seed,
    num_resamples=num_resamples,
    clusters=clusters,
  )
  width = len(metrics)
  rows = [resampled[i : i + width] for i in range(0, len(resampled), width)]
  methods = {
    name: dict(zip(metrics, row, strict=True))
    for name, row in zip(tables, rows[: len(tables)], strict=True)
  }
  if not pairs:
    return methods, []
  p_values = significance.randomisation_test(
    np.concatenate(gaps, axis=1),
    seed=seed,
    num_flips=num_resamples,
    clusters=clusters,
  ).reshape(len(pairs), width)
  corrected = np.stack([significance.holm(p) for p in p_values.T], axis=1)
  found = []
  for i, (method, reference) in enumerate(pairs):
    for j, metric in enumerate(metrics):
      gap = gaps[i][:, j]
      better, worse = significance.discordant(gap)
      found.append(
        Difference(
          method=method,
          reference=reference,
          metric=metric,
          interval=rows[len(tables) + i][j],
          p_value=float(p_values[i, j]),
          p_holm=float(corrected[i, j]),
          effect_size=significance.effect_size(gap),
          num_better=better,
          num_worse=worse,
        )
      )
  return methods, found
