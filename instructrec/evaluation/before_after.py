"""Lists of a run before and after it was aligned, for the same requests."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import (
  control,
  control_report,
  differences,
  intervals,
  promotion,
)

BEFORE, AFTER = "before", "after"
MISTAKES = "mistakes"
"""Entries of a list with something wrong, and those that it lacks."""
_MISTAKES = ("TooMany", "TooFew", "NonExist", "RepeatItem", "InHistory")


class Measure(NamedTuple):
  """A metric of one method over some of the requests.

  Attributes:
    name: what it is called.
    method: whose lists.
    column: which metric.
    direction: of the wishes that count; None for all requests.
    higher_is_better: whether a rise is a gain.
  """

  name: str
  method: str
  column: str
  direction: control.Direction | None = None
  higher_is_better: bool = True


class Compared(NamedTuple):
  """A metric over a group of requests."""

  before: intervals.Interval
  after: intervals.Interval
  difference: differences.Difference


@dataclasses.dataclass(frozen=True, eq=False)
class BeforeAfter:
  """Metrics of each request, before and after.

  Attributes:
    groups: requests by name of the group.
    directions: `control.Direction` of what each request asks.
    clusters: what belongs together, such as a user's requests.
    before: by method and metric, a value for each request; NaN where it has
      none.
    after: likewise.
    seed: of the resampling.
    num_resamples: likewise.

  Raises:
    ValueError: where both are not of the same methods and metrics.
  """

  groups: Mapping[str, Int[np.ndarray, " some"]]
  directions: Int[np.ndarray, " requests"]
  clusters: Sequence[str]
  before: control_report.Columns
  after: control_report.Columns
  seed: int = 0
  num_resamples: int = intervals.NUM_RESAMPLES

  def __post_init__(self) -> None:
    """Checks the names."""
    one, other = (
      {method: set(columns) for method, columns in each.items()}
      for each in (self.before, self.after)
    )
    if one != other:
      raise ValueError(
        f"before there are {one}, after {other}; expected the same methods "
        "and metrics"
      )

  @property
  def methods(self) -> tuple[str, ...]:
    """Whose lists there are."""
    return tuple(self.before)

  def change(self, measure: Measure, level: float) -> promotion.Change | None:
    """A metric over all requests that have it.

    Args:
      measure: which.
      level: of the interval.

    Returns:
      The change; None where the method or the requests are missing.
    """
    if measure.method not in self.before:
      return None
    old, new = (
      each[measure.method][measure.column] for each in (self.before, self.after)
    )
    wanted = np.ones(len(old), bool)
    if measure.direction is not None:
      wanted = self.directions == measure.direction
    # What is NaN before for want of a definition is so after as well.
    wanted &= ~np.isnan(old) | ~np.isnan(new)
    if not wanted.any():
      return None
    old, new = old[wanted], new[wanted]
    unknown = intervals.Interval(*[float("nan")] * 3)
    known = np.isfinite(old).all() and np.isfinite(new).all()
    return promotion.Change(
      name=measure.name,
      before=float(old.mean()),
      after=float(new.mean()),
      difference=intervals.paired_difference(
        new,
        old,
        seed=self.seed,
        num_resamples=self.num_resamples,
        level=level,
        clusters=np.asarray(self.clusters)[wanted],
      )
      if known
      else unknown,
      higher_is_better=measure.higher_is_better,
      num_requests=len(old),
    )

  def compared(self, group: str, method: str) -> dict[str, Compared]:
    """All metrics of a group's lists.

    Args:
      group: which.
      method: whose.

    Returns:
      By metric; those that no request has are left out.
    """
    rows = self.groups[group]
    sides = {
      AFTER: {n: c[rows] for n, c in self.after[method].items()},
      BEFORE: {n: c[rows] for n, c in self.before[method].items()},
    }
    found: dict[str, Compared] = {}
    clusters = np.asarray(self.clusters)[rows]
    for where, names in _alike(sides):
      means, gaps = differences.resample(
        {
          side: np.stack([columns[name][where] for name in names], 1)
          for side, columns in sides.items()
        },
        names,
        seed=self.seed,
        num_resamples=self.num_resamples,
        clusters=list(clusters[where]),
      )
      for gap in gaps:
        found[gap.metric] = Compared(
          means[BEFORE][gap.metric], means[AFTER][gap.metric], gap
        )
    return {name: found[name] for name in sides[AFTER] if name in found}


def with_mistakes(
  columns: Mapping[str, Float[np.ndarray, " lists"]],
) -> dict[str, Float[np.ndarray, " lists"]]:
  """Columns with all that is wrong with each list as one more.

  Args:
    columns: of `control_lists.per_list`.
  """
  total = np.sum([columns[name] for name in _MISTAKES], axis=0)
  return {**columns, MISTAKES: total}


def _alike(
  sides: Mapping[str, Mapping[str, Float[np.ndarray, " lists"]]],
) -> Iterator[tuple[Bool[np.ndarray, " lists"], list[str]]]:
  """Metrics that the same requests have, which are resampled together."""
  groups: dict[bytes, list[str]] = {}
  for name in next(iter(sides.values())):
    known = np.isfinite([columns[name] for columns in sides.values()]).all(0)
    groups.setdefault(known.tobytes(), []).append(name)
  for mask, names in groups.items():
    where = np.frombuffer(mask, bool)
    if where.any():
      yield where, names
