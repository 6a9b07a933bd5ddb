"""What an evaluation found: methods, metrics, intervals, differences."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import bias, facts, intervals, metrics
from instructrec.evaluation import differences as differences_lib

SCHEMA_VERSION = 3


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
  """All methods on one group of requests.

  Attributes:
    group: name of the group, such as the task type.
    num_requests: how many lists.
    num_candidates: shortest and longest list.
    chance: each metric's level where the order says nothing.
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
    scores: method -> scores of the candidates, where they were kept.
    breakdowns: metrics by what is known of the requests.
    exposures: what methods show of the whole catalogue, where it was ranked.
    runs: method -> metric -> mean of each run, where a method is several runs
      (seeds); single requests then hold the mean over runs.
  """

  group: str
  num_requests: int
  num_candidates: tuple[int, int]
  chance: dict[str, float]
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
  scores: dict[str, Float[np.ndarray, "requests candidates"]] = (
    dataclasses.field(default_factory=dict)
  )
  breakdowns: list[bias.Breakdown] = dataclasses.field(default_factory=list)
  exposures: dict[str, bias.Exposure] = dataclasses.field(default_factory=dict)
  runs: dict[str, dict[str, list[float]]] = dataclasses.field(
    default_factory=dict
  )

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

  def differences_from(
    self, reference: str
  ) -> list[differences_lib.Difference]:
    """Each other method against one, at each metric.

    Args:
      reference: a method.

    Returns:
      The differences, best method first.

    Raises:
      KeyError: where there is no such method.
    """
    if reference not in self.methods:
      raise KeyError(
        f"no method {reference!r}; the methods are {list(self.methods)}"
      )
    return [
      self.difference(name, reference, metric)
      for name in self.methods
      if name != reference
      for metric in self.chance
    ]

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
      "num_candidates": list(self.num_candidates),
      "num_resamples": self.num_resamples,
      "chance": self.chance,
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
      runs=dict(record["runs"]),
    )


def _check(
  group: str,
  scores: Mapping[str, Float[np.ndarray, "requests candidates"]],
  labels: Int[np.ndarray, " requests"],
  request_ids: Sequence[str],
  descriptions: Mapping[str, str],
) -> None:
  if not scores:
    raise ValueError(f"{group}: there are no methods to evaluate")
  if not len(labels):
    raise ValueError(f"{group}: there are no requests to evaluate")
  if len(request_ids) != len(labels):
    raise ValueError(
      f"{group}: there are {len(request_ids)} request ids and {len(labels)} "
      "labels, expected one each a request"
    )
  shapes = {name: values.shape for name, values in scores.items()}
  if len(set(shapes.values())) > 1:
    raise ValueError(
      f"{group}: scores have shapes {shapes}, expected the same candidates "
      "for every method"
    )
  if unknown := set(descriptions) - set(scores):
    raise ValueError(
      f"{group}: descriptions of {sorted(unknown)}, expected some of the "
      f"methods {list(scores)}"
    )


@dataclasses.dataclass(frozen=True)
class Ranks:
  """Where one method puts the right candidate of each request.

  Attributes:
    greater: candidates above it; see `metrics.tied_ranks`.
    equal: candidates tied with it, itself included.
    num_nan: scores that were not a number, over all requests.
  """

  greater: Int[np.ndarray, " requests"]
  equal: Int[np.ndarray, " requests"]
  num_nan: int = 0


def evaluate(
  group: str,
  scores: Mapping[str, Float[np.ndarray, "requests candidates"]],
  labels: Int[np.ndarray, " requests"],
  *,
  request_ids: Sequence[str],
  where: Bool[np.ndarray, "requests candidates"] | None = None,
  known: facts.Facts | None = None,
  hit_rate_at: Sequence[int] = metrics.HIT_RATE_AT,
  ndcg_at: Sequence[int] = metrics.NDCG_AT,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
) -> EvaluationResult:
  """Metrics of several methods on the same requests.

  Args:
    group: name of the group.
    scores: each method's scores of the same candidates.
    labels: index of the right candidate.
    request_ids: id of each request.
    where: which slots hold candidates; None for all.
    known: targets, candidates and counts of the requests; None leaves out what
      is split by them and the TREC files.
    hit_rate_at: cut-offs K of HR@K, 1 among them.
    ndcg_at: cut-offs K of NDCG@K, 10 among them.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of the bootstrap and of the randomisation test.
    descriptions: a sentence on what a method is, for any of them.

  Returns:
    The result; methods sorted by the mean of NDCG@10, best first.

  Raises:
    ValueError: where shapes do not fit, or there is nothing to evaluate.
  """
  descriptions = dict(descriptions or {})
  _check(group, scores, labels, request_ids, descriptions)
  if where is None:
    where = np.ones(next(iter(scores.values())).shape, bool)
  positions = None if known is None else known.positions
  if positions is not None and not np.array_equal(positions, labels):
    raise ValueError(
      f"{group}: the labels are not the places of the targets among the "
      "candidates; expected the same lists in the same order"
    )
  ranks = {
    name: Ranks(
      *metrics.tied_ranks(values, labels, where=where),
      metrics.count_nan(values, where=where),
    )
    for name, values in scores.items()
  }
  result = evaluate_ranks(
    group,
    ranks,
    where.sum(1),
    request_ids=request_ids,
    known=known,
    hit_rate_at=hit_rate_at,
    ndcg_at=ndcg_at,
    seed=seed,
    num_resamples=num_resamples,
    descriptions=descriptions,
  )
  return dataclasses.replace(result, scores=dict(scores))


def evaluate_ranks(
  group: str,
  ranks: Mapping[str, Ranks],
  num_candidates: Int[np.ndarray, " requests"],
  *,
  request_ids: Sequence[str],
  known: facts.Facts | None = None,
  hit_rate_at: Sequence[int] = metrics.HIT_RATE_AT,
  ndcg_at: Sequence[int] = metrics.NDCG_AT,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
  chance: Ranks | None = None,
) -> EvaluationResult:
  """As `evaluate`, where the scores themselves are too many to hold.

  Args:
    group: name of the group.
    ranks: each method's ranks on the same requests.
    num_candidates: how many items each request ranks.
    request_ids: id of each request.
    known: see `evaluate`.
    hit_rate_at: cut-offs K of HR@K, 1 among them.
    ndcg_at: cut-offs K of NDCG@K, 10 among them.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of the bootstrap and of the randomisation test.
    descriptions: a sentence on what a method is, for any of them.
    chance: ranks of an order that knows nothing, where lists may lack the
      right item; None for a tie of all of `num_candidates`.

  Returns:
    The result; methods sorted by the mean of NDCG@10, best first.

  Raises:
    ValueError: where cut-offs do not fit.
  """
  if 10 not in ndcg_at or 1 not in hit_rate_at:
    raise ValueError(
      f"{group}: hit_rate_at is {tuple(hit_rate_at)}, ndcg_at is "
      f"{tuple(ndcg_at)}; expected 1 and 10 among them: methods are sorted by "
      "NDCG@10, and reports speak of HR@1"
    )
  found = {
    name: metrics.from_ranks(
      r.greater, r.equal, hit_rate_at=hit_rate_at, ndcg_at=ndcg_at
    )
    for name, r in ranks.items()
  }
  if chance is None:
    chance = Ranks(np.zeros_like(num_candidates), num_candidates)
    level = metrics.chance(
      num_candidates, hit_rate_at=hit_rate_at, ndcg_at=ndcg_at
    )
    by_chance = metrics.from_ranks(chance.greater, chance.equal)
  else:
    by_chance = metrics.from_ranks(
      chance.greater, chance.equal, hit_rate_at=hit_rate_at, ndcg_at=ndcg_at
    )
    level = {name: float(value.mean()) for name, value in by_chance.items()}
  return from_values(
    group,
    found,
    num_candidates=num_candidates,
    chance=level,
    by_chance=by_chance,
    num_nan={name: r.num_nan for name, r in ranks.items()},
    expected_ranks={
      name: metrics.expected_rank(r.greater, r.equal)
      for name, r in ranks.items()
    },
    request_ids=request_ids,
    known=known,
    seed=seed,
    num_resamples=num_resamples,
    descriptions=descriptions,
  )


def from_values(
  group: str,
  values: Mapping[str, Mapping[str, Float[np.ndarray, " requests"]]],
  *,
  num_candidates: Int[np.ndarray, " requests"],
  chance: Mapping[str, float],
  num_nan: Mapping[str, int],
  expected_ranks: Mapping[str, Float[np.ndarray, " requests"]],
  request_ids: Sequence[str],
  known: facts.Facts | None = None,
  by_chance: Mapping[str, Float[np.ndarray, " requests"]] | None = None,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
) -> EvaluationResult:
  """As `evaluate`, where the metrics of each request are there already.

  Args:
    group: name of the group.
    values: method -> metric -> value of each request.
    num_candidates: how many items each request ranks.
    chance: each metric's level where the order says nothing.
    num_nan: scores that were not a number, by method.
    expected_ranks: method -> expected rank of the right candidate, by request.
    request_ids: id of each request.
    known: see `evaluate`.
    by_chance: as `chance`, of each request; needed where `known` is given.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of either.
    descriptions: a sentence on what a method is, for any of them.

  Returns:
    The result; methods sorted by the mean of NDCG@10, best first.
  """
  if known is not None:
    known.check(group, num_candidates)
  order = sorted(values, key=lambda name: -values[name]["NDCG@10"].mean())
  names = list(chance)
  methods, gaps = differences_lib.resample(
    {name: np.stack([values[name][m] for m in names], 1) for name in order},
    names,
    seed=seed,
    num_resamples=num_resamples,
  )
  return EvaluationResult(
    group=group,
    num_requests=len(request_ids),
    num_candidates=(int(num_candidates.min()), int(num_candidates.max())),
    chance=dict(chance),
    methods=methods,
    differences=gaps,
    num_nan=dict(num_nan),
    per_request={name: dict(values[name]) for name in order},
    request_ids=list(request_ids),
    expected_ranks={name: expected_ranks[name] for name in order},
    descriptions=dict(descriptions or {}),
    num_resamples=num_resamples,
    list_lengths=num_candidates,
    known=known,
    breakdowns=[]
    if known is None or by_chance is None
    else bias.breakdowns(
      known, {name: values[name] for name in order}, by_chance
    ),
  )
