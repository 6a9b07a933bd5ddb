"""The seam of objectives: what a model minimises, and in which unit.

An objective turns one reading of a batch into a sum and says what that sum is
divided by: tokens, lists, positions. The training step asks for the divisor of
the whole batch, so that neither microbatches nor devices change a gradient.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float

from instructrec.models.networks.reading import Reading

# Scores of a candidate: of its tokens by the decoder; of its title's vector;
# the log of how often it was taken, beside a match.
LIKELIHOOD, MATCH, POPULARITY = "likelihood", "match", "popularity"

Arrays = Mapping[str, Array]
Metrics = dict[str, clu_metrics.Metric]


class Outcome(NamedTuple):
  """What an objective makes of a batch.

  Attributes:
    total: the summed loss in nats, to differentiate.
    metrics: what else is known; merges over microbatches.
  """

  total: Float[Array, ""]
  metrics: Metrics


class Objective(Protocol):
  """A loss over batches, behind which networks can change."""

  @property
  def trains(self) -> frozenset[str]:
    """Which scores it makes fit to rank by: LIKELIHOOD, MATCH."""

  def check(self, arrays: Arrays, *, titles: bool) -> None:
    """Raises ValueError where the batch or the network lacks something.

    Args:
      arrays: see `models.protocol`.
      titles: whether the network matches titles.
    """

  def __call__(self, reading: Reading) -> Outcome:
    """The summed loss of what was read, and its metrics."""

  def divisor(self, arrays: Arrays) -> Float[Array, ""]:
    """How many of its units a batch holds: what a mean is taken over."""


class Repeats(NamedTuple):
  """How often the parameters are updated by what was drawn once.

  Attributes:
    number: updates, at most.
    metric: of the objective; where it exceeds `limit`, no more are made.
    limit: of the metric's mean over the batch.
  """

  number: int
  metric: str
  limit: float


@runtime_checkable
class DrawingObjective(Objective, Protocol):
  """An objective that draws what it learns from by the network itself.

  Asked for its loss it draws by itself, unless the batch holds what `draw`
  gave: so trainers that know nothing of it make one update of each draw.
  """

  @property
  def repeats(self) -> Repeats | None:
    """How often one draw is learnt from; None for once."""

  def draw(self, reading: Reading) -> Arrays:
    """What the loss is to find in the batch, by row; has no gradient."""


def require(arrays: Arrays, names: Sequence[str], objective: str) -> None:
  """Raises ValueError where a batch lacks what an objective reads."""
  missing = [name for name in names if name not in arrays]
  if missing:
    raise ValueError(
      f"the objective {objective} reads {', '.join(missing)}, which the batch "
      f"lacks; it has {', '.join(sorted(arrays))}. In the embedded runner set "
      "NUM_DRAWN (choice_*) and HISTORY_LENGTH (history_*); under T5X take a "
      "mixture whose name ends in _items, with lengths for 'choices' and "
      "'history'"
    )


def normalizing_factor(factor: float | int | str | None) -> float | None:
  """The constant that the summed loss is divided by.

  Args:
    factor: None leaves the sum.

  Returns:
    The same.

  Raises:
    ValueError: for T5X's special factors, which are strings and which gin hands
      over unchecked, and numbers that are not positive.
  """
  if isinstance(factor, str) or (factor is not None and factor <= 0):
    raise ValueError(
      f"loss_normalizing_factor is {factor!r}; expected a positive number or "
      "None (factors that depend on the batch would change with the number "
      "of microbatches)"
    )
  return factor


@dataclasses.dataclass(frozen=True)
class WeightedSum:
  """Several objectives on one reading.

  The sums are added, each times its weight, and divided by what the first one
  counts: a weight is what a unit of an objective (a token, say) counts against
  a unit of the first (a position). So the sum stays a sum over microbatches.

  Attributes:
    objectives: which.
    weights: one each, positive.
  """

  objectives: Sequence[Objective]
  weights: Sequence[float]

  def __post_init__(self) -> None:
    """Checks the weights.

    Raises:
      ValueError: where there is not one positive weight each.
    """
    if len(self.objectives) != len(self.weights) or not self.objectives:
      raise ValueError(
        f"{len(self.objectives)} objectives with {len(self.weights)} weights; "
        "expected one weight each, and at least one"
      )
    if min(self.weights) <= 0:
      raise ValueError(f"weights are {self.weights}; expected positive numbers")

  @property
  def trains(self) -> frozenset[str]:
    """See `Objective`."""
    return frozenset().union(*(part.trains for part in self.objectives))

  @property
  def repeats(self) -> Repeats | None:
    """See `DrawingObjective`; of the first part that has some."""
    found = (part.repeats for part in self._drawing)
    return next(filter(None, found), None)

  @property
  def _drawing(self) -> list[DrawingObjective]:
    return [p for p in self.objectives if isinstance(p, DrawingObjective)]

  def draw(self, reading: Reading) -> Arrays:
    """See `DrawingObjective`; of all parts together."""
    drawn: dict[str, Array] = {}
    for part in self._drawing:
      drawn |= part.draw(reading)
    return drawn

  def check(self, arrays: Arrays, *, titles: bool) -> None:
    """See `Objective`."""
    for part in self.objectives:
      part.check(arrays, titles=titles)

  def __call__(self, reading: Reading) -> Outcome:
    """See `Objective`."""
    total, metrics = jnp.zeros(()), Metrics()
    for part, weight in zip(self.objectives, self.weights, strict=True):
      outcome = part(reading)
      total += weight * outcome.total
      metrics |= outcome.metrics
    return Outcome(total, metrics)

  def divisor(self, arrays: Arrays) -> Float[Array, ""]:
    """See `Objective`."""
    return self.objectives[0].divisor(arrays)
