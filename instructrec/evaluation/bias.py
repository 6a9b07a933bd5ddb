"""Where methods are good and what they show: strata and exposure.

A mean over requests hides that a method may live on the first place of the
list, on what everybody buys or on users with long histories. Strata split the
requests by what is known of them; exposure looks at what is shown.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from instructrec.evaluation import facts, intervals

METRICS = ("HR@1", "NDCG@10")
TOP_K = 10
"""Items of a list that count as shown."""
_HISTORY_FROM = (0, 1, 3, 6, 11, 21)


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


def popularity_ranks(
  item_counts: Int[np.ndarray, " items"],
) -> Float[np.ndarray, " items"]:
  """How popular each item is among the others, whatever the counts' scale.

  Args:
    item_counts: training interactions of each.

  Returns:
    Share of the other items that were taken less often, ties half; the mean
    is 1 / 2.
  """
  ordered = np.sort(item_counts)
  below = np.searchsorted(ordered, item_counts, side="left")
  upto = np.searchsorted(ordered, item_counts, side="right")
  return (below + upto - 1) / 2 / max(1, len(ordered) - 1)


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
