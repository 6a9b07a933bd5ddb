"""Whether what a run came to may take the place of what it began with.

A policy that earns more need not serve better: rewards can be gamed, and lists
that obey can be bad ones. So it is promoted where the metrics themselves say
so, on requests that it was not trained on: something of control rises for
certain, nothing of it falls for certain, and accuracy falls by no more than a
stated share.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from instructrec.evaluation import intervals, markdown

CONFIDENCE = 0.95
"""That of all intervals of control together (Bonferroni)."""


@dataclasses.dataclass(frozen=True)
class Change:
  """A metric before and after, on the same requests.

  Attributes:
    name: of the metric.
    before: its mean before.
    after: its mean after.
    difference: after - before, paired.
    higher_is_better: whether a rise is a gain.
    num_requests: how many have the metric.
  """

  name: str
  before: float
  after: float
  difference: intervals.Interval
  higher_is_better: bool
  num_requests: int

  @property
  def is_known(self) -> bool:
    """Whether all of its figures are numbers."""
    ends = self.difference.low, self.difference.high
    return all(map(math.isfinite, (self.before, self.after, *ends)))

  @property
  def gain(self) -> intervals.Interval:
    """The difference, so that above 0 is better."""
    return self.difference if self.higher_is_better else -self.difference

  @property
  def is_better(self) -> bool:
    """Whether it gets better, and the interval leaves out 0."""
    return self.gain.low > 0

  @property
  def is_worse(self) -> bool:
    """Whether it gets worse, and the interval leaves out 0."""
    return self.gain.high < 0

  @property
  def share_lost(self) -> float:
    """What is lost of the value before; 0 where nothing is."""
    lost = max(0.0, -self.gain.mean)
    return lost / abs(self.before) if lost else 0.0

  def __str__(self) -> str:
    return (
      f"{self.name} {self.before:.3f} -> {self.after:.3f}, "
      f"{markdown.signed(self.difference)}"
    )

  def to_json(self) -> dict[str, Any]:
    """All of it as JSON values; what is no number is None."""
    gap = self.difference
    return {
      "name": self.name,
      "before": _number(self.before),
      "after": _number(self.after),
      "difference": {
        "mean": _number(gap.mean),
        "low": _number(gap.low),
        "high": _number(gap.high),
      },
      "higher_is_better": self.higher_is_better,
      "num_requests": self.num_requests,
      "better": self.is_better,
      "worse": self.is_worse,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
  """What promotion asks for.

  Attributes:
    max_accuracy_loss: share of a metric of accuracy that may be lost.

  Raises:
    ValueError: where it is no share.
  """

  max_accuracy_loss: float = 0.05

  def __post_init__(self) -> None:
    """Checks the share."""
    if not 0.0 <= self.max_accuracy_loss < 1.0:
      raise ValueError(
        f"max_accuracy_loss is {self.max_accuracy_loss}, expected a share of "
        "at least 0 and below 1"
      )


@dataclasses.dataclass(frozen=True)
class Promotion:
  """A decision, with what it rests on.

  Attributes:
    promoted: what it came to.
    reasons: why, in sentences.
    control: the metrics of control.
    accuracy: those of accuracy.
    thresholds: what was asked for.
  """

  promoted: bool
  reasons: tuple[str, ...]
  control: tuple[Change, ...] = ()
  accuracy: tuple[Change, ...] = ()
  thresholds: Thresholds = Thresholds()

  def __str__(self) -> str:
    word = "promoted" if self.promoted else "refused"
    return f"{word}: {'; '.join(self.reasons)}"

  def to_json(self) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
      "promoted": self.promoted,
      "reasons": list(self.reasons),
      "control": [change.to_json() for change in self.control],
      "accuracy": [change.to_json() for change in self.accuracy],
      "thresholds": dataclasses.asdict(self.thresholds),
    }


def level(num_metrics: int) -> float:
  """Of the interval of each of several metrics, which are right together."""
  return 1.0 - (1.0 - CONFIDENCE) / max(1, num_metrics)


def decide(
  control: Sequence[Change],
  accuracy: Sequence[Change],
  thresholds: Thresholds = Thresholds(),
) -> Promotion:
  """Promotes or refuses; see the module.

  Args:
    control: metrics of control, their intervals of `level`.
    accuracy: metrics of accuracy.
    thresholds: what is asked for.

  Returns:
    The decision.

  Raises:
    ValueError: where there is no metric of the one or the other.
  """
  if not control or not accuracy:
    raise ValueError(
      f"there are {len(control)} metrics of control and {len(accuracy)} of "
      "accuracy, expected some of both: rows with a wish, and rows of a user"
    )
  against = [
    f"{change} is no number"
    for change in (*control, *accuracy)
    if not change.is_known
  ]
  if not against:
    against += [f"{change}: worse" for change in control if change.is_worse]
    against += [
      f"{change}: {change.share_lost:.0%} of it is lost, and "
      f"{thresholds.max_accuracy_loss:.0%} may be"
      for change in accuracy
      if change.share_lost > thresholds.max_accuracy_loss
    ]
    gains = [str(change) for change in control if change.is_better]
    if not gains:
      found = "; ".join(map(str, control))
      against.append(f"no metric of control is better for certain: {found}")
  return Promotion(
    promoted=not against,
    reasons=tuple(against or gains),
    control=tuple(control),
    accuracy=tuple(accuracy),
    thresholds=thresholds,
  )


def _number(value: float) -> float | None:
  return value if math.isfinite(value) else None
