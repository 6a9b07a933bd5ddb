r"""Where methods are good and what they show: strata, exposure, agreement.

A mean over requests hides that a method may live on the first place of the
list, on what everybody buys or on users with long histories. Strata split the
requests by what is known of them; exposure looks at what is shown; agreement
at whether the order in which candidates were presented decides.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import facts, intervals

METRICS = ("HR@1", "NDCG@10")
TOP_K = 10
"""Items of a list that count as shown."""
_HISTORY_FROM = (0, 1, 3, 6, 11, 21)
# Pairs of candidates compared at a time.
_CHUNK_PAIRS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Strata:
  """Requests in disjoint parts.

  Attributes:
    name: what they are split by.
    labels: of the parts.
    index: part of each request.
  """

  name: str
  labels: Sequence[str]
  index: Int[np.ndarray, " requests"]


def by_position(positions: Int[np.ndarray, " requests"]) -> Strata:
  """By the place of the right item in the presented list, from 1.

  Args:
    positions: from 0; -1 where the list lacks it.

  Returns:
    The strata, a place each, or ten of equal width where there are more than
    twenty places, and those that lack it; a method that reads no order is flat
    over the places.
  """
  last = int(positions.max()) + 1
  width = 1 if last <= 20 else -(-last // 10)
  starts = range(1, last + 1, width)
  labels = [_range(start, min(start + width - 1, last)) for start in starts]
  return Strata(
    "position of the target in the list",
    [*labels, "not in it"],
    np.where(positions < 0, len(labels), positions // width),
  )


def by_popularity(target_counts: Int[np.ndarray, " requests"]) -> Strata:
  """Deciles of requests by how often the training log has their target.

  Args:
    target_counts: interactions of each target in the training log.

  Returns:
    At most ten strata, rarest first: targets of the same count stay together.
  """
  lasts = (np.arange(1, 11) * len(target_counts) + 9) // 10 - 1
  ends = np.unique(np.sort(target_counts)[lasts])
  index = np.searchsorted(ends, target_counts)
  labels = []
  for part in range(len(ends)):
    inside = target_counts[index == part]
    labels.append(_range(int(inside.min()), int(inside.max())))
  name = "training interactions of the target (deciles of requests)"
  return Strata(name, labels, index)


def by_history(history_lengths: Int[np.ndarray, " requests"]) -> Strata:
  """By the items in the history: cold users first.

  Args:
    history_lengths: items of each request's history.

  Returns:
    The strata 0, 1-2, 3-5, 6-10, 11-20 and 21 or more.
  """
  ends = [start - 1 for start in _HISTORY_FROM[1:]]
  labels = [_range(*both) for both in zip(_HISTORY_FROM, ends, strict=False)]
  index = np.searchsorted(_HISTORY_FROM, history_lengths, side="right") - 1
  return Strata(
    "items in the history", [*labels, f"{_HISTORY_FROM[-1]} or more"], index
  )


def by_novelty(target_counts: Int[np.ndarray, " requests"]) -> Strata:
  """Cold items against the others: targets that training never saw.

  Args:
    target_counts: interactions of each target in the training log.

  Returns:
    Two strata.
  """
  return Strata(
    "whether training saw the target",
    ("never", "once or more"),
    (target_counts > 0).astype(np.int64),
  )


def _range(low: int, high: int) -> str:
  return str(low) if low == high else f"{low}-{high}"


@dataclasses.dataclass(frozen=True)
class Breakdown:
  """Metrics of each stratum that has requests.

  Attributes:
    name: what the requests are split by.
    labels: of the strata.
    counts: requests in each.
    chance: metric -> level of each stratum where the order says nothing.
    means: method -> metric -> mean of each stratum.
    errors: method -> metric -> standard error of each mean; 0 where a stratum
      has one request.
  """

  name: str
  labels: list[str]
  counts: list[int]
  chance: dict[str, list[float]]
  means: dict[str, dict[str, list[float]]]
  errors: dict[str, dict[str, list[float]]]


def breakdown(
  strata: Strata,
  values: Mapping[str, Mapping[str, Float[np.ndarray, " requests"]]],
  chance: Mapping[str, Float[np.ndarray, " requests"]],
  clusters: Int[np.ndarray, " requests"] | None = None,
) -> Breakdown:
  """Splits the metrics of all methods by strata.

  Args:
    strata: parts of the requests.
    values: method -> metric -> value of each request; `METRICS` among them.
    chance: metric -> level of each request where the order says nothing.
    clusters: numbers of what requests belong to; see
      `intervals.cluster_numbers`.

  Returns:
    HR@1 and NDCG@10 of each stratum; empty ones are left out.
  """
  counts = np.bincount(strata.index, minlength=len(strata.labels))
  parts = np.flatnonzero(counts).tolist()
  rows = [strata.index == part for part in parts]
  return Breakdown(
    name=strata.name,
    labels=[strata.labels[part] for part in parts],
    counts=counts[parts].tolist(),
    chance={m: [float(chance[m][row].mean()) for row in rows] for m in METRICS},
    means={
      method: {
        m: [float(found[m][row].mean()) for row in rows] for m in METRICS
      }
      for method, found in values.items()
    },
    errors={
      method: {
        m: [
          _error(found[m][row], None if clusters is None else clusters[row])
          for row in rows
        ]
        for m in METRICS
      }
      for method, found in values.items()
    },
  )


def _error(
  values: Float[np.ndarray, " requests"],
  clusters: Int[np.ndarray, " requests"] | None,
) -> float:
  """Standard error of the mean; by clusters where there are any."""
  if clusters is None:
    sums = values - values.mean()
  else:
    sums = np.bincount(clusters, values - values.mean())
    # Numbers of clusters that other strata have.
    sums = sums[np.bincount(clusters) > 0]
  count = len(sums)
  if count < 2:
    return 0.0
  return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))


def breakdowns(
  known: facts.Facts,
  values: Mapping[str, Mapping[str, Float[np.ndarray, " requests"]]],
  chance: Mapping[str, Float[np.ndarray, " requests"]],
) -> list[Breakdown]:
  """Splits by everything that is known of the requests.

  Args:
    known: of the requests.
    values: see `breakdown`.
    chance: see `breakdown`.

  Returns:
    By position (where there are lists), popularity, novelty and history.
  """
  strata = [
    *([] if known.positions is None else [by_position(known.positions)]),
    by_popularity(known.target_counts),
    by_novelty(known.target_counts),
    by_history(known.history_lengths),
  ]
  clusters = intervals.cluster_numbers(known.users, len(known.targets))
  return [breakdown(each, values, chance, clusters) for each in strata]


@dataclasses.dataclass(frozen=True)
class Exposure:
  """What a method shows in its first places, over all requests.

  Attributes:
    k: how many places.
    coverage: share of the catalogue that is shown to anyone.
    gini: 0 where all items are shown equally often, towards 1 where few items
      take all places.
    mean_popularity: mean training interactions of what is shown.
  """

  k: int
  coverage: float
  gini: float
  mean_popularity: float


def exposure(
  shown: Int[np.ndarray, "requests k"],
  item_counts: Int[np.ndarray, " items"],
) -> Exposure:
  """Coverage, Gini coefficient and popularity of what is shown.

  Args:
    shown: indices of the items in the first k places of each request.
    item_counts: training interactions of each item of the catalogue.

  Returns:
    The figures.

  Raises:
    ValueError: where nothing is shown, or an index is of no item.
  """
  size = len(item_counts)
  if not shown.size:
    raise ValueError(f"shown has shape {shown.shape}, expected [requests, k]")
  if shown.min() < 0 or shown.max() >= size:
    raise ValueError(
      f"shown items go from {shown.min()} to {shown.max()}, expected indices "
      f"of {size} items"
    )
  times = np.bincount(shown.ravel(), minlength=size)
  return Exposure(
    k=shown.shape[1],
    coverage=float(np.mean(times > 0)),
    gini=gini(times),
    mean_popularity=float(item_counts[shown].mean()),
  )


def gini(amounts: Int[np.ndarray, " items"]) -> float:
  """Gini coefficient: half the mean absolute difference over the mean.

  Args:
    amounts: at least 0, not all 0.

  Returns:
    0 (all equal) to `1 - 1 / items` (one has all).
  """
  size = len(amounts)
  ranks = np.arange(1, size + 1)
  spread = (2 * ranks - size - 1) @ np.sort(amounts)
  return float(spread / (size * amounts.sum()))


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Whether the order of presentation changes the ranking.

  Attributes:
    num_shuffles: orders in which the candidates were presented.
    num_requests: lists that were ranked in all of them.
    top_1: share of requests whose best candidate is the same in all of them.
    kendall_tau: mean of tau-b over requests and pairs of shuffles; 1 where the
      rankings are equal. None where every ranking is one tie.
    num_undefined: pairs of rankings left out of it, as one of them is one tie.
  """

  num_shuffles: int
  num_requests: int
  top_1: float
  kendall_tau: float | None
  num_undefined: int

  @property
  def _num_defined(self) -> int:
    pairs = self.num_shuffles * (self.num_shuffles - 1) // 2
    return pairs * self.num_requests - self.num_undefined

  def merge(self, other: "Agreement") -> "Agreement":
    """Of these requests and others.

    Args:
      other: of the same number of shuffles.

    Returns:
      The figures over both.

    Raises:
      ValueError: where the numbers of shuffles differ.
    """
    if self.num_shuffles != other.num_shuffles:
      raise ValueError(
        f"agreements of {self.num_shuffles} and {other.num_shuffles} shuffles "
        "do not merge; ask about all requests equally often"
      )
    both = (self, other)
    requests = sum(each.num_requests for each in both)
    defined = sum(each._num_defined for each in both)
    taus = sum((each.kendall_tau or 0.0) * each._num_defined for each in both)
    return Agreement(
      num_shuffles=self.num_shuffles,
      num_requests=requests,
      top_1=sum(each.top_1 * each.num_requests for each in both) / requests,
      kendall_tau=taus / defined if defined else None,
      num_undefined=self.num_undefined + other.num_undefined,
    )


def agreement(
  scores: Float[np.ndarray, "shuffles requests candidates"],
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> Agreement:
  """How far the rankings of differently presented candidates agree.

  Args:
    scores: of each shuffle, put back so that a candidate has the same column
      in all of them.
    where: which slots hold candidates; None for all.

  Returns:
    The figures.

  Raises:
    ValueError: where there are fewer than two shuffles or candidates, no
      request, or a score is not a number.
  """
  if scores.ndim != 3 or min(scores.shape[0], scores.shape[2]) < 2:
    raise ValueError(
      f"scores have shape {scores.shape}, expected [shuffles, requests, "
      "candidates] with at least two shuffles and two candidates"
    )
  if not scores.shape[1]:
    raise ValueError("there are no requests to compare")
  if where is None:
    where = np.ones(scores.shape[1:], bool)
  if num_nan := int(np.isnan(scores[:, where]).sum()):
    raise ValueError(
      f"{num_nan} scores are not a number, expected an order of all candidates"
    )
  scores = np.where(where, scores, -np.inf)
  best = (scores == scores.max(2, keepdims=True)) & where
  first, second = np.triu_indices(scores.shape[2], 1)
  rows = max(1, _CHUNK_PAIRS // len(first))
  taus = []
  for start in range(0, scores.shape[1], rows):
    part = scores[:, start : start + rows]
    # Which of two candidates is ahead, for all pairs: -1, 0 or 1. A comparison
    # and no difference: infinite scores have none.
    left, right = part[..., first], part[..., second]
    here = where[start : start + rows]
    here = here[:, first] & here[:, second]
    signs = [
      ((a > b).astype(np.float32) - (a < b)) * here
      for a, b in zip(left, right, strict=True)
    ]
    norms = [np.sqrt((sign**2).sum(1, dtype=np.float64)) for sign in signs]
    for a, b in itertools.combinations(range(len(signs)), 2):
      norm = norms[a] * norms[b]
      defined = norm > 0
      together = (signs[a] * signs[b]).sum(1, dtype=np.float64)
      taus.append(
        np.where(defined, together / np.where(defined, norm, 1), np.nan)
      )
  tau = np.concatenate(taus)
  undefined = int(np.isnan(tau).sum())
  return Agreement(
    num_shuffles=len(scores),
    num_requests=scores.shape[1],
    top_1=float((best == best[0]).all(axis=(0, 2)).mean()),
    kendall_tau=None if undefined == len(tau) else float(np.nanmean(tau)),
    num_undefined=undefined,
  )
