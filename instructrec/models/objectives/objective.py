"""The seam of objectives: what a model minimises, and in which unit.

An objective turns one reading of a batch into a sum and says what that sum is
divided by: tokens, lists, positions. The training step asks for the divisor of
the whole batch, so that neither microbatches nor devices change a gradient.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from instructrec.models.networks import title_matching

# Scores of a candidate: of its tokens by the decoder; of its title's vector.
LIKELIHOOD, MATCH = "likelihood", "match"

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

  def __call__(self, reading: "Reading") -> Outcome:
    """The summed loss of what was read, and its metrics."""

  def divisor(self, arrays: Arrays) -> Float[Array, ""]:
    """How many of its units a batch holds: what a mean is taken over."""


class Reading:
  """One pass of the encoder over a batch, and what objectives ask of it.

  The encoder runs once, whatever number of objectives asks.

  Args:
    apply: the network's methods, called with arguments and `method=`.
    arrays: the batch; see `models.protocol`.
    dropout_rng: None switches dropout off.
  """

  def __init__(
    self,
    apply: Callable[..., Any],
    arrays: Arrays,
    dropout_rng: PRNGKeyArray | None,
  ) -> None:
    self.arrays = arrays
    self._plain = apply
    self._apply = functools.partial(
      apply,
      enable_dropout=dropout_rng is not None,
      rngs=None if dropout_rng is None else {"dropout": dropout_rng},
    )

  @property
  def history(self) -> title_matching.Titles | None:
    """What is read item by item; None where the history is text."""
    return titles(self.arrays, "history")

  @functools.cached_property
  def _encoded(self) -> Float[Array, "batch positions embed"]:
    return self._apply(
      self.arrays["encoder_input_tokens"],
      self.arrays.get("encoder_segment_ids"),
      self.history,
      method="encode",
    )

  @functools.cached_property
  def _memory_mask(self) -> Bool[Array, "batch 1 #length positions"]:
    return self._plain(
      self.arrays["encoder_input_tokens"],
      self.history,
      self.arrays.get("encoder_segment_ids"),
      self.arrays.get("decoder_segment_ids"),
      method="memory_mask",
    )

  def features(
    self,
    decoder_input_tokens: Int[Array, "batch *candidates length"],
    decoder_target_tokens: Int[Array, "batch *candidates length"],
  ) -> Float[Array, "batch *candidates length embed"]:
    """What each target token is predicted from, but for the logits."""
    # Each candidate is a row of its own to the network.
    rows = (-1, decoder_target_tokens.shape[-1])
    found = self._apply(
      self._encoded,
      self._memory_mask,
      decoder_input_tokens.reshape(rows),
      decoder_target_tokens.reshape(rows),
      self.arrays.get("decoder_segment_ids"),
      method="decode",
    )
    return found.reshape(*decoder_target_tokens.shape, found.shape[-1])

  def logit_factors(
    self, features: Float[Array, "*dims embed"]
  ) -> tuple[Float[Array, "*dims embed"], Float[Array, "embed vocab"]]:
    """Rows and matrix whose product the logits are."""
    return self._plain(features, method="logit_factors")

  @functools.cached_property
  def states(self) -> title_matching.States:
    """Queries after each item of the history and after the request."""
    return self._plain(
      self._encoded,
      self.arrays["encoder_input_tokens"],
      self.history,
      method="states_of",
    )

  def title_vectors(
    self, wanted: title_matching.Titles
  ) -> Float[Array, "*dims embed"]:
    """What queries are matched with."""
    return self._apply(wanted, method="title_vectors")

  @property
  def popularity_weight(self) -> Float[Array, ""]:
    """What log popularity counts beside a match."""
    return self._plain(method="popularity_weight")


def titles(arrays: Arrays, name: str) -> title_matching.Titles | None:
  """The titles `<name>_tokens` with `<name>_items` of a batch, or None."""
  if f"{name}_tokens" not in arrays:
    return None
  return title_matching.Titles(
    tokens=arrays[f"{name}_tokens"], items=arrays[f"{name}_items"]
  )


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
