"""What an evaluation found: methods, metrics, intervals, differences."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from instructrec.evaluation import (
  agreement,
  bias,
  facts,
  intervals,
  scored_lists,
)
from instructrec.evaluation import differences as differences_lib

SCHEMA_VERSION = 4


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
  """All methods on one group of requests.

  Attributes:
    group: name of the group, such as the task type.
    num_requests: how many lists.
    num_candidates: shortest and longest list.
    chance: each metric's level where the order says nothing.
    compared: metrics at which tables compare the methods; the first one is
      what a report begins with.
    methods: method -> metric -> mean and interval, best method first.
    differences: each method against each one after it, at each metric.
    num_nan: scores that were not a number, by method.
    per_request: method -> metric -> value of each request.
    request_ids: the requests, in the order of `per_request`.
    expected_ranks: method -> expected rank of the right candidate, by request.
    descriptions: what a method is, where it was said.
    num_resamples: of the bootstrap and of the randomisation test.
    list_lengths: items that each request ranks.
    known: targets, candidates and counts of each request, where they were
      given.
    lists: candidates with the scores of each method, where they were kept;
      read anew whenever they are gone through.
    breakdowns: metrics by what is known of the requests.
    exposures: what methods show of the whole catalogue, where it was ranked.
    agreements: how far a method's rankings agree over several orders of the
      same candidates, where it was asked more than once.
    runs: method -> metric -> mean of each run, where a method is several runs
      (seeds); single requests then hold the mean over runs.
    num_users: whose requests they are; None where that is not known. Where
      they are fewer than the requests, intervals and tests draw users.
  """

  group: str
  num_requests: int
  num_candidates: tuple[int, int]
  chance: dict[str, float]
  compared: list[str]
  methods: dict[str, dict[str, intervals.Interval]]
  differences: list[differences_lib.Difference]
  num_nan: dict[str, int]
  per_request: dict[str, dict[str, Float[np.ndarray, " requests"]]]
  request_ids: Sequence[str]
  expected_ranks: dict[str, Float[np.ndarray, " requests"]] = dataclasses.field(
    default_factory=dict
  )
  descriptions: dict[str, str] = dataclasses.field(default_factory=dict)
  num_resamples: int = intervals.NUM_RESAMPLES
  list_lengths: Int[np.ndarray, " requests"] | None = None
  known: facts.Facts | None = None
  lists: Iterable[scored_lists.ScoredLists] | None = None
  breakdowns: list[bias.Breakdown] = dataclasses.field(default_factory=list)
  exposures: dict[str, bias.Exposure] = dataclasses.field(default_factory=dict)
  agreements: dict[str, agreement.Agreement] = dataclasses.field(
    default_factory=dict
  )
  runs: dict[str, dict[str, list[float]]] = dataclasses.field(
    default_factory=dict
  )
  num_users: int | None = None

  @property
  def is_clustered(self) -> bool:
    """Whether some users have several requests."""
    return self.num_users is not None and self.num_users < self.num_requests

  def difference(
    self, method: str, reference: str, metric: str
  ) -> differences_lib.Difference:
    """How much better one method is than another.

    Args:
      method: the one.
      reference: the other.
      metric: which metric.

    Returns:
      The difference `method - reference`.

    Raises:
      KeyError: where there is no such pair or metric.
    """
    for found in self.differences:
      if found.metric == metric:
        if (found.method, found.reference) == (method, reference):
          return found
        if (found.reference, found.method) == (method, reference):
          return -found
    raise KeyError(
      f"no difference of {method!r} and {reference!r} at {metric!r}; the "
      f"methods are {list(self.methods)}, the metrics {list(self.chance)}"
    )

  def rows(self) -> list[dict[str, Any]]:
    """The table, a row for each method and metric, and for chance.

    Returns:
      Rows of `group, method, metric, mean, low, high`; chance has no interval.
    """
    found: list[dict[str, Any]] = [
      {
        "group": self.group,
        "method": name,
        "metric": metric,
        **dataclasses.asdict(interval),
      }
      for name, row in self.methods.items()
      for metric, interval in row.items()
    ]
    return found + [
      {
        "group": self.group,
        "method": "chance",
        "metric": metric,
        "mean": value,
        "low": None,
        "high": None,
      }
      for metric, value in self.chance.items()
    ]

  def to_json(self) -> dict[str, Any]:
    """Everything but the values of single requests, as JSON values."""
    return {
      "schema_version": SCHEMA_VERSION,
      "group": self.group,
      "num_requests": self.num_requests,
      "num_users": self.num_users,
      "num_candidates": list(self.num_candidates),
      "num_resamples": self.num_resamples,
      "chance": self.chance,
      "compared": self.compared,
      "methods": {
        name: {m: dataclasses.asdict(i) for m, i in row.items()}
        for name, row in self.methods.items()
      },
      "descriptions": self.descriptions,
      "differences": [d.to_json() for d in self.differences],
      "num_nan": self.num_nan,
      "breakdowns": [dataclasses.asdict(b) for b in self.breakdowns],
      "exposures": {
        name: dataclasses.asdict(e) for name, e in self.exposures.items()
      },
      "agreements": {
        name: dataclasses.asdict(a) for name, a in self.agreements.items()
      },
      "runs": self.runs,
    }

  @classmethod
  def from_json(cls, record: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gave.

    Args:
      record: JSON values.

    Returns:
      The result, without values of single requests: they are in the Parquet
      file of the report.

    Raises:
      ValueError: where the record is of another schema version.
    """
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
      raise ValueError(
        f"the result has schema_version {version}, expected {SCHEMA_VERSION}; "
        "evaluate again with this version of instructrec"
      )
    return cls(
      group=record["group"],
      num_requests=record["num_requests"],
      num_candidates=tuple(record["num_candidates"]),
      chance=dict(record["chance"]),
      compared=list(record["compared"]),
      methods={
        name: {m: intervals.Interval(**i) for m, i in row.items()}
        for name, row in record["methods"].items()
      },
      differences=[
        differences_lib.Difference.from_json(d) for d in record["differences"]
      ],
      num_nan=dict(record["num_nan"]),
      per_request={},
      request_ids=[],
      descriptions=dict(record["descriptions"]),
      num_resamples=record["num_resamples"],
      breakdowns=[bias.Breakdown(**b) for b in record["breakdowns"]],
      exposures={
        name: bias.Exposure(**e) for name, e in record["exposures"].items()
      },
      agreements={
        name: agreement.Agreement(**a)
        for name, a in record.get("agreements", {}).items()
      },
      runs=dict(record["runs"]),
      num_users=record.get("num_users"),
    )
