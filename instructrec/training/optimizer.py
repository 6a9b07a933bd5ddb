"""Optimizers by name, for gin: Adafactor as T5X sets it, and AdamW."""

from typing import Any

import jax
import optax
from jaxtyping import Array

from instructrec.training import schedules


class Scheduled(optax.GradientTransformation):
  """An optimizer that says its learning rate.

  Attributes:
    learning_rate: a function of the updates made before.
  """

  learning_rate: schedules.Schedule

  @classmethod
  def of(
    cls,
    inner: optax.GradientTransformation,
    learning_rate: schedules.Schedule | float,
  ) -> "Scheduled":
    """The same optimizer, with what it was made with."""
    made = cls(inner.init, inner.update)
    made.learning_rate = (
      learning_rate if callable(learning_rate) else lambda step: learning_rate
    )
    return made


def learning_rate(
  optimizer: optax.GradientTransformation, step: int
) -> float | None:
  """The rate of an update.

  Args:
    optimizer: any; only those of this module say their rate.
    step: updates made before.

  Returns:
    The rate; None where it is not known.
  """
  if not isinstance(optimizer, Scheduled):
    return None
  return float(optimizer.learning_rate(step))


def _per_layer(
  transformation: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Applies a stateless transformation to each layer of scanned layers.

  What it computes over a whole parameter (a root mean square, say) must not
  run over the layers that share an array under `layers`: scanned and single
  layers would train differently.
  """

  def update(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
    def one(update: Array, param: Array) -> Array:
      return transformation.update(update, state, param)[0]

    def leaf(path: Any, update: Array, param: Array) -> Array:
      stacked = jax.tree_util.DictKey("layers") in path
      return (jax.vmap(one) if stacked else one)(update, param)

    return jax.tree_util.tree_map_with_path(leaf, updates, params), state

  return optax.GradientTransformation(transformation.init, update)


def adafactor(
  learning_rate: schedules.Schedule | float,
  *,
  decay_rate: float = 0.8,
  clipping_threshold: float = 1.0,
  multiply_by_parameter_scale: bool = True,
  min_dim_size_to_factor: int = 128,
) -> Scheduled:
  """Adafactor with the settings T5 was trained with.

  Second moments decay as `1 - (step + 1) ** -decay_rate`, updates are clipped
  to a root mean square of `clipping_threshold` per parameter and scaled by
  `max(rms(parameter), 1e-3)`; no momentum (Shazeer and Stern, 2018; the
  defaults of `t5x.adafactor.Adafactor`).

  Args:
    learning_rate: a number, or a schedule of the step.
    decay_rate: exponent of the second moment's decay.
    clipping_threshold: largest root mean square of an update.
    multiply_by_parameter_scale: whether the step is relative to the
      parameter's own size. True for pretrained T5 checkpoints.
    min_dim_size_to_factor: matrices smaller than this on either side keep
      full second moments.

  Returns:
    The gradient transformation.
  """
  # The chain of `optax.adafactor`, layer by layer where layers share an array.
  # (Its second moments are: the two longest axes are factored, and layers are
  # fewer than `min_dim_size_to_factor`.)
  chain = [
    optax.scale_by_factored_rms(
      decay_rate=decay_rate, min_dim_size_to_factor=min_dim_size_to_factor
    ),
    _per_layer(optax.clip_by_block_rms(clipping_threshold)),
    optax.scale_by_learning_rate(learning_rate, flip_sign=False),
  ]
  if multiply_by_parameter_scale:
    chain.append(_per_layer(optax.scale_by_param_block_rms()))
  return Scheduled.of(optax.chain(*chain, optax.scale(-1.0)), learning_rate)


def adamw(
  learning_rate: schedules.Schedule | float,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  weight_decay: float = 0.01,
  max_grad_norm: float | None = 1.0,
) -> Scheduled:
  """AdamW with gradient clipping by global norm.

  Args:
    learning_rate: a number, or a schedule of the step.
    b1: decay of the first moment.
    b2: decay of the second moment.
    weight_decay: decoupled weight decay per unit of learning rate.
    max_grad_norm: largest global gradient norm; None for no clipping.

  Returns:
    The gradient transformation.
  """
  adam = optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)
  if max_grad_norm is not None:
    adam = optax.chain(optax.clip_by_global_norm(max_grad_norm), adam)
  return Scheduled.of(adam, learning_rate)
