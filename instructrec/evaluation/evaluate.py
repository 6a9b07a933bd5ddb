"""Metrics, intervals and differences of methods on the same requests."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import (
  bias,
  facts,
  intervals,
  metrics,
  results,
)
from instructrec.evaluation import differences as differences_lib
from instructrec.evaluation import selection as selection_lib

DEFAULT = selection_lib.Selection()


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


def from_scores(
  group: str,
  scores: Mapping[str, Float[np.ndarray, "requests candidates"]],
  labels: Int[np.ndarray, " requests"],
  *,
  request_ids: Sequence[str],
  where: Bool[np.ndarray, "requests candidates"] | None = None,
  known: facts.Facts | None = None,
  selection: selection_lib.Selection = DEFAULT,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
) -> results.EvaluationResult:
  """Metrics of several methods on the same requests.

  Args:
    group: name of the group.
    scores: each method's scores of the same candidates.
    labels: index of the right candidate.
    request_ids: id of each request.
    where: which slots hold candidates; None for all.
    known: targets, candidates and counts of the requests; None leaves out what
      is split by them.
    selection: the metrics.
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
    name: metrics.Ranks.of(values, labels, where=where)
    for name, values in scores.items()
  }
  return from_ranks(
    group,
    ranks,
    where.sum(1),
    request_ids=request_ids,
    known=known,
    selection=selection,
    seed=seed,
    num_resamples=num_resamples,
    descriptions=descriptions,
  )


def from_ranks(
  group: str,
  ranks: Mapping[str, metrics.Ranks],
  num_candidates: Int[np.ndarray, " requests"],
  *,
  request_ids: Sequence[str],
  known: facts.Facts | None = None,
  selection: selection_lib.Selection = DEFAULT,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
  chance: metrics.Ranks | None = None,
) -> results.EvaluationResult:
  """As `from_scores`, where the scores themselves are too many to hold.

  Args:
    group: name of the group.
    ranks: each method's ranks on the same requests.
    num_candidates: how many items each request ranks.
    request_ids: id of each request.
    known: see `from_scores`.
    selection: the metrics.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of the bootstrap and of the randomisation test.
    descriptions: a sentence on what a method is, for any of them.
    chance: ranks of an order that knows nothing, where lists may lack the
      right item; None for a tie of all of `num_candidates`.

  Returns:
    The result; methods sorted by the mean of NDCG@10, best first.
  """
  names = selection.names
  found = {
    name: metrics.from_ranks(r.greater, r.equal, names)
    for name, r in ranks.items()
  }
  if chance is None:
    chance = metrics.Ranks(np.zeros_like(num_candidates), num_candidates)
    by_chance = metrics.from_ranks(chance.greater, chance.equal, names)
    level = metrics.chance(num_candidates, names)
  else:
    by_chance = metrics.from_ranks(chance.greater, chance.equal, names)
    level = {name: float(value.mean()) for name, value in by_chance.items()}
  return from_values(
    group,
    found,
    num_candidates=num_candidates,
    chance=level,
    compared=selection.compared,
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
  compared: Sequence[str],
  num_nan: Mapping[str, int],
  expected_ranks: Mapping[str, Float[np.ndarray, " requests"]],
  request_ids: Sequence[str],
  known: facts.Facts | None = None,
  by_chance: Mapping[str, Float[np.ndarray, " requests"]] | None = None,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
  users: Sequence[str] | None = None,
) -> results.EvaluationResult:
  """As `from_scores`, where the metrics of each request are there already.

  Args:
    group: name of the group.
    values: method -> metric -> value of each request.
    num_candidates: how many items each request ranks.
    chance: each metric's level where the order says nothing.
    compared: metrics at which methods are compared.
    num_nan: scores that were not a number, by method.
    expected_ranks: method -> expected rank of the right candidate, by request.
    request_ids: id of each request.
    known: see `from_scores`.
    by_chance: as `chance`, of each request; needed where `known` is given.
    seed: of the bootstrap and of the randomisation test.
    num_resamples: of either.
    descriptions: a sentence on what a method is, for any of them.
    users: whose request each is; None for those of `known`. Where users
      repeat, intervals and tests draw users.

  Returns:
    The result; methods sorted by the mean of NDCG@10, best first.
  """
  if known is not None:
    known.check(group, num_candidates)
    users = known.users if users is None else users
  order = sorted(values, key=lambda name: -values[name]["NDCG@10"].mean())
  names = list(chance)
  methods, gaps = differences_lib.resample(
    {name: np.stack([values[name][m] for m in names], 1) for name in order},
    names,
    seed=seed,
    num_resamples=num_resamples,
    clusters=users,
  )
  return results.EvaluationResult(
    group=group,
    num_requests=len(request_ids),
    num_users=None if users is None else len(set(users)),
    num_candidates=(int(num_candidates.min()), int(num_candidates.max())),
    chance=dict(chance),
    compared=list(compared),
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
