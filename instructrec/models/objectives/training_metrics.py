"""What a training step reports, as metrics that merge over microbatches."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Bool, Float

from instructrec.models.objectives import token_loss


@flax.struct.dataclass
class Sum(clu_metrics.Metric):
  """A total that adds up over microbatches, steps and hosts.

  Attributes:
    total: float32.
  """

  total: Any

  @classmethod
  def empty(cls) -> "Sum":
    """The sum of nothing."""
    return cls(total=jnp.zeros((), jnp.float32))

  @classmethod
  def from_model_output(cls, values: Float[Array, "*dims"], **_: Any) -> "Sum":
    """The sum of `values`."""
    return cls(total=jnp.sum(values).astype(jnp.float32))

  def merge(self, other: "Sum") -> "Sum":
    """Both together."""
    return type(self)(total=self.total + other.total)

  def compute(self) -> Float[Array, ""]:
    """The total."""
    return self.total


@flax.struct.dataclass
class Largest(clu_metrics.Metric):
  """The largest value over microbatches, steps and hosts.

  Attributes:
    value: float32; minus infinity of nothing.
  """

  value: Any

  @classmethod
  def empty(cls) -> "Largest":
    """The largest of nothing."""
    return cls(value=jnp.full((), -jnp.inf, jnp.float32))

  @classmethod
  def of(
    cls, values: Float[Array, "*dims"], where: Bool[Array, "*dims"]
  ) -> "Largest":
    """The largest of what counts.

    Args:
      values: of each unit.
      where: the units that count.
    """
    found = jnp.where(where, values, -jnp.inf).max()
    return cls(value=found.astype(jnp.float32))

  def merge(self, other: "Largest") -> "Largest":
    """That of both together."""
    return type(self)(value=jnp.maximum(self.value, other.value))

  def compute(self) -> Float[Array, ""]:
    """The value."""
    return self.value


@flax.struct.dataclass
class Smallest(clu_metrics.Metric):
  """The smallest value, likewise; infinity of nothing."""

  value: Any

  @classmethod
  def empty(cls) -> "Smallest":
    """The smallest of nothing."""
    return cls(value=jnp.full((), jnp.inf, jnp.float32))

  @classmethod
  def of(
    cls, values: Float[Array, "*dims"], where: Bool[Array, "*dims"]
  ) -> "Smallest":
    """The smallest of what counts; see `Largest.of`."""
    found = jnp.where(where, values, jnp.inf).min()
    return cls(value=found.astype(jnp.float32))

  def merge(self, other: "Smallest") -> "Smallest":
    """That of both together."""
    return type(self)(value=jnp.minimum(self.value, other.value))

  def compute(self) -> Float[Array, ""]:
    """The value."""
    return self.value


def mean(
  values: Float[Array, "*dims"], where: Bool[Array, "*dims"]
) -> clu_metrics.Average:
  """The mean of what counts, as a metric; its types are those of a merge.

  Args:
    values: of each unit.
    where: the units that count.
  """
  return clu_metrics.Average(
    total=jnp.where(where, values, 0.0).sum().astype(jnp.float32),
    count=where.sum().astype(jnp.float32),
  )


def of_objective(
  total: Float[Array, ""],
  divisor: Float[Array, ""],
  metrics: Mapping[str, clu_metrics.Metric],
  weights: Float[Array, "*dims"],
) -> dict[str, clu_metrics.Metric]:
  """The metrics of one batch, under whatever objective.

  Args:
    total: the summed loss.
    divisor: the units that it is a sum over.
    metrics: the objective's own.
    weights: loss weights of the target tokens; 0 is padding.

  Returns:
    Its own, with loss: nats per unit of the objective; target_tokens: sum of
    the weights.
  """
  own = dict(metrics)
  own["loss"] = clu_metrics.Average(total=total, count=divisor)
  own.setdefault("target_tokens", Sum.from_model_output(weights))
  return own


def of_batch(
  loss: token_loss.LossSums, weights: Float[Array, "*dims"]
) -> dict[str, clu_metrics.Metric]:
  """The metrics of one batch.

  `clu`'s own constructor of averages takes only masks; here total and count
  are floats, so that a merge keeps their types, as a compiled loop demands.

  Args:
    loss: what the batch adds up to.
    weights: loss weights; 0 is padding.

  Returns:
    loss: nats per target token, with z-loss and smoothing; z_loss: nats per
    target token; accuracy: fraction of target tokens that were predicted;
    target_tokens: sum of the weights.
  """
  target_tokens = Sum.from_model_output(weights)
  count = target_tokens.total
  return {
    "loss": clu_metrics.Average(total=loss.total, count=count),
    "z_loss": clu_metrics.Average(total=loss.z_loss, count=count),
    "accuracy": clu_metrics.Average(total=loss.correct, count=count),
    "target_tokens": target_tokens,
  }


def nothing(
  shapes: Mapping[str, clu_metrics.Metric],
) -> dict[str, clu_metrics.Metric]:
  """Metrics of nothing, to which others can be merged in a compiled loop.

  Args:
    shapes: metrics, or shapes and types of theirs.
  """
  return {
    name: jax.tree.map(
      lambda empty, like: jnp.asarray(empty, like.dtype),
      type(metric).empty(),
      metric,
    )
    for name, metric in shapes.items()
  }


def merge(
  merged: Mapping[str, clu_metrics.Metric],
  more: Mapping[str, clu_metrics.Metric],
) -> dict[str, clu_metrics.Metric]:
  """Metrics of some batches together with those of further ones.

  Args:
    merged: of what came before; empty at the beginning.
    more: metrics of the same names.

  Returns:
    Both together.
  """
  return {
    name: merged[name].merge(metric) if merged else metric
    for name, metric in more.items()
  }


def compute(metrics: Mapping[str, clu_metrics.Metric]) -> dict[str, float]:
  """The values of metrics; waits for the device."""
  return {name: float(metric.compute()) for name, metric in metrics.items()}


@dataclasses.dataclass(frozen=True)
class Throughput:
  """Rates of a batch, for a trainer that times its steps outside the model.

  T5X does: it sets the duration of metrics of its own classes, which gin hands
  over here. The embedded runner measures rates itself and needs none of this.

  Attributes:
    rate: class of a numerator over time, made by
      `from_model_output(numerator=...)`; `t5x.metrics.TimeRate`.
    steps_rate: class of steps over time, made by `from_model_output()`;
      `t5x.metrics.StepsPerTime`.
  """

  rate: Any
  steps_rate: Any

  def __call__(self, batch: Mapping[str, Any]) -> dict[str, clu_metrics.Metric]:
    """Steps, rows, and tokens of instructions and responses, a second."""
    tokens = (batch["decoder_target_tokens"] > 0).sum()
    if "encoder_input_tokens" in batch:
      tokens += (batch["encoder_input_tokens"] > 0).sum()
    rows = jnp.asarray(len(batch["decoder_target_tokens"]))
    return {
      "timing/steps_per_second": self.steps_rate.from_model_output(),
      "timing/rows_per_second": self.rate.from_model_output(numerator=rows),
      "timing/tokens_per_second": self.rate.from_model_output(numerator=tokens),
    }
