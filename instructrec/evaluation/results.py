"""What an evaluation found: methods, metrics, intervals, differences."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import intervals, metrics

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Difference:
  """How much better one method is than another on the same requests.

  Attributes:
    method: the one.
    reference: the other.
    metric: which metric.
    interval: mean difference with its paired bootstrap interval.
  """

  method: str
  reference: str
  metric: str
  interval: intervals.Interval

  @property
  def is_outside(self) -> bool:
    """Whether the interval leaves out zero."""
    return self.interval.low > 0 or self.interval.high < 0


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
  """All methods on one group of requests.

  Attributes:
    group: name of the group, such as the task type.
    num_requests: how many lists.
    num_candidates: shortest and longest list.
    chance: each metric's level where the order says nothing.
    methods: method -> metric -> mean and interval, best method first.
    differences: each method against the next best, at each metric.
    num_nan: scores that were not a number, by method.
    per_request: method -> metric -> value of each request.
    request_ids: the requests, in the order of `per_request`.
  """

  group: str
  num_requests: int
  num_candidates: tuple[int, int]
  chance: dict[str, float]
  methods: dict[str, dict[str, intervals.Interval]]
  differences: list[Difference]
  num_nan: dict[str, int]
  per_request: dict[str, dict[str, Float[np.ndarray, " requests"]]]
  request_ids: Sequence[str]

  def to_json(self) -> dict[str, Any]:
    """Everything but the values of single requests, as JSON values."""
    return {
      "schema_version": SCHEMA_VERSION,
      "group": self.group,
      "num_requests": self.num_requests,
      "num_candidates": list(self.num_candidates),
      "chance": self.chance,
      "methods": {
        name: {m: dataclasses.asdict(i) for m, i in row.items()}
        for name, row in self.methods.items()
      },
      "differences": [
        {**dataclasses.asdict(d), "outside_zero": d.is_outside}
        for d in self.differences
      ],
      "num_nan": self.num_nan,
    }


def evaluate(
  group: str,
  scores: Mapping[str, Float[np.ndarray, "requests candidates"]],
  labels: Int[np.ndarray, " requests"],
  *,
  request_ids: Sequence[str],
  where: Bool[np.ndarray, "requests candidates"] | None = None,
  seed: int = 0,
  num_resamples: int = 2000,
) -> EvaluationResult:
  """Metrics of several methods on the same requests.

  Args:
    group: name of the group.
    scores: each method's scores of the same candidates.
    labels: index of the right candidate.
    request_ids: id of each request.
    where: which slots hold candidates; None for all.
    seed: of the bootstrap.
    num_resamples: of the bootstrap.

  Returns:
    The result; methods sorted by the mean of NDCG@10, best first.

  Raises:
    ValueError: where shapes do not fit.
  """
  any_scores = next(iter(scores.values()))
  if where is None:
    where = np.ones(any_scores.shape, bool)
  counts = where.sum(1)
  per_request = {
    name: metrics.per_request(values, labels, where=where)
    for name, values in scores.items()
  }
  order = sorted(
    per_request, key=lambda name: -per_request[name]["NDCG@10"].mean()
  )
  tables = {
    name: np.stack(list(per_request[name].values()), axis=1) for name in order
  }
  columns = list(tables.values()) + [
    tables[a] - tables[b] for a, b in itertools.pairwise(order)
  ]
  found = intervals.bootstrap(
    np.concatenate(columns, axis=1), seed=seed, num_resamples=num_resamples
  )
  width = len(metrics.NAMES)
  rows = [found[i : i + width] for i in range(0, len(found), width)]
  return EvaluationResult(
    group=group,
    num_requests=len(labels),
    num_candidates=(int(counts.min()), int(counts.max())),
    chance=metrics.chance(counts),
    methods={
      name: dict(zip(metrics.NAMES, row, strict=True))
      for name, row in zip(order, rows, strict=False)
    },
    differences=[
      Difference(method, reference, metric, interval)
      for method, reference, row in zip(
        order, order[1:], rows[len(order) :], strict=False
      )
      for metric, interval in zip(metrics.NAMES, row, strict=True)
    ],
    num_nan={
      name: int(np.isnan(values[where]).sum())
      for name, values in scores.items()
    },
    per_request={name: per_request[name] for name in order},
    request_ids=list(request_ids),
  )
