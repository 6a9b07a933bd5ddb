"""What each part of a score is worth: all of them, one fewer, one alone."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from instructrec.evaluation import intervals, metrics, published
from instructrec.retrieval import score_parts, score_weights
from instructrec.retrieval.score_parts import Parts, ScoreWeightsError, Where

METRICS = ("HR@1", "NDCG@10", "nats")
ALL = "all"
Figures = dict[str, intervals.Interval]


@dataclasses.dataclass(frozen=True)
class AblationRow:
  """One choice of parts on the same requests.

  Attributes:
    name: `all`, `without PART` or `PART alone`.
    parts: which parts were weighed.
    weights: of these parts; empty where two halves had weights of their own.
    means: HR@1, NDCG@10 and nats of the target with their intervals.
    differences: of these to `all`, paired; more nats are worse.
  """

  name: str
  parts: tuple[str, ...]
  weights: dict[str, float]
  means: Figures
  differences: Figures

  def to_json(self) -> dict[str, Any]:
    """All of it as JSON values."""
    return {**dataclasses.asdict(self), "parts": list(self.parts)}


def cross_fitted(
  parts: Parts,
  labels: Int[np.ndarray, " requests"],
  where: Where,
  *,
  names: Sequence[str] | None = None,
  l2: float = score_weights.L2,
  seed: int = 0,
  clusters: Sequence[Any] | np.ndarray | None = None,
) -> Float[np.ndarray, "requests candidates"]:
  """Scores of each half by weights that were fitted on the other.

  No request is scored by weights that know its target, so that the same
  requests may fit and evaluate.

  Args:
    parts: each part's scores of the same candidates.
    labels: index of the target; -1 where the list lacks it.
    where: which slots hold candidates.
    names: which parts; None for all.
    l2: see `score_weights.FitLog`.
    seed: of the halves.
    clusters: what each request belongs to, such as its user: a half has all
      requests of one or none. None for halves of requests.

  Returns:
    The weighted sums; see `ScoreWeights.combine`.

  Raises:
    ScoreWeightsError: where a half has no list with its target.
  """
  score_parts.check(parts, labels, where)
  chosen = {name: parts[name] for name in names or parts}
  numbers = intervals.cluster_numbers(clusters, len(labels))
  if numbers is None:
    numbers = np.arange(len(labels))
  order = np.random.default_rng(seed).permutation(numbers.max(initial=-1) + 1)
  halves = [
    np.flatnonzero(np.isin(numbers, half)) for half in np.array_split(order, 2)
  ]
  scores = np.full(where.shape, -np.inf)
  for own, other in (halves, halves[::-1]):
    fit = score_weights.ScoreWeightsFit(l2=l2, split="half", seed=seed)
    fit.add(
      {n: part[other] for n, part in chosen.items()},
      labels[other],
      where[other],
    )
    scores[own] = fit.fit().combine(
      {n: part[own] for n, part in chosen.items()}, where[own]
    )
  return scores


def ablation(
  parts: Parts,
  labels: Int[np.ndarray, " requests"],
  where: Where,
  *,
  fits: score_weights.ScoreWeightsFit | None = None,
  l2: float = score_weights.L2,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  clusters: Sequence[Any] | None = None,
) -> list[AblationRow]:
  """Figures of all parts, of each left out, and of each alone.

  The weights of each row are fitted anew. Lists without their target are left
  out: no weights bring it back.

  Args:
    parts: each part's scores of the candidates to evaluate on.
    labels: index of the target; -1 where the list lacks it.
    where: which slots hold candidates.
    fits: gathered validation lists, which fit the weights; None where two
      halves of these requests fit each other's (see `cross_fitted`).
    l2: of the cross-fitted weights; see `score_weights.FitLog`.
    seed: of the halves and of the bootstrap.
    num_resamples: of the bootstrap.
    clusters: what each request belongs to, such as its user; see
      `intervals.bootstrap`. Halves are of whole clusters.

  Returns:
    The rows, `all` first; of a single part it is the only one.

  Raises:
    ScoreWeightsError: where no list has its target.
  """
  score_parts.check(parts, labels, where)
  has = labels >= 0
  if not has.any():
    raise ScoreWeightsError(
      f"none of the {len(labels)} lists has its target; expected some to "
      "compare parts on"
    )
  parts = {name: part[has] for name, part in sorted(parts.items())}
  labels, where = labels[has], where[has]
  groups = None if clusters is None else np.asarray(clusters)[has]
  values, weights = {}, {}
  choices = _choices(tuple(parts))
  for name, chosen in choices.items():
    if fits is None:
      scores = cross_fitted(
        parts,
        labels,
        where,
        names=chosen,
        l2=l2,
        seed=seed,
        clusters=groups,
      )
    else:
      own = fits.fit(chosen)
      scores, weights[name] = own.combine(parts, where), own.weights
    values[name] = _values(scores, labels, where)
  found = _resampled(values, seed, num_resamples, groups)
  return [
    AblationRow(name, chosen, weights.get(name, {}), *found[name])
    for name, chosen in choices.items()
  ]


def table(
  name: str,
  rows: Sequence[AblationRow],
  num_requests: int | None = None,
  num_users: int | None = None,
) -> published.Table:
  """An ablation as a table to publish or to print.

  Args:
    name: of the table.
    rows: from `ablation`.
    num_requests: how many requests they are of.
    num_users: how many users these are of.

  Returns:
    The table, differences to `all`; `published_page.table` prints it.
  """
  return published.Table(
    name=name,
    metrics=list(METRICS),
    rows=[
      published.Row(
        name=row.name,
        description=", ".join(
          f"{part} {weight:.4g}" for part, weight in row.weights.items()
        ),
        metrics={
          metric: published.Figure(i.mean, i.low, i.high)
          for metric, i in row.means.items()
        },
        differences={}
        if row.name == ALL
        else {
          metric: published.Gap(i.mean, i.low, i.high)
          for metric, i in row.differences.items()
        },
      )
      for row in rows
    ],
    num_requests=num_requests,
    num_users=num_users,
    reference=ALL,
    compared=list(METRICS),
  )


def _choices(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
  """Names of the rows with the parts that they weigh."""
  if len(names) == 1:
    return {ALL: names}
  return {
    ALL: names,
    **{f"without {n}": tuple(o for o in names if o != n) for n in names},
    **{f"{n} alone": (n,) for n in names},
  }


def _values(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  where: Where,
) -> Float[np.ndarray, "requests metrics"]:
  """`METRICS` of each request."""
  found = metrics.per_request(scores, labels, where=where)
  found["nats"] = score_parts.nats(scores, labels, where)
  return np.stack([found[name] for name in METRICS], axis=1)


def _resampled(
  values: Mapping[str, Float[np.ndarray, "requests metrics"]],
  seed: int,
  num_resamples: int,
  clusters: np.ndarray | None,
) -> dict[str, tuple[Figures, Figures]]:
  """Means of each row, and its differences to all parts, by metric."""
  # One bootstrap: the same requests are drawn for all rows.
  columns = [*values.values(), *(v - values[ALL] for v in values.values())]
  found = intervals.bootstrap(
    np.concatenate(columns, axis=1),
    seed=seed,
    num_resamples=num_resamples,
    clusters=clusters,
  )
  width = len(METRICS)
  named = [
    dict(zip(METRICS, found[i : i + width], strict=True))
    for i in range(0, len(found), width)
  ]
  count = len(values)
  pairs = zip(named[:count], named[count:], strict=True)
  return dict(zip(values, pairs, strict=True))
