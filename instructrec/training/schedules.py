"""Learning-rate schedules: functions of the step, in gin by name."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""] | float]


def constant(value: float, *, warmup_steps: int = 0) -> Schedule:
  """A constant rate after a linear warm-up from zero.

  Args:
    value: the rate.
    warmup_steps: steps until it is reached; 0 for none.

  Returns:
    A function of the step.
  """
  return optax.join_schedules(
    [
      optax.linear_schedule(0.0, value, max(warmup_steps, 1)),
      optax.constant_schedule(value),
    ],
    [warmup_steps],
  )


def rsqrt(value: float, *, warmup_steps: int = 10_000) -> Schedule:
  """Inverse square root decay: `value / sqrt(max(step, warmup_steps))`.

  T5's pretraining schedule (Raffel et al., 2020, section 3.1.2) has
  `value = 1.0`.

  Args:
    value: the numerator.
    warmup_steps: steps with a constant rate.

  Returns:
    A function of the step.

  Raises:
    ValueError: where there is no such step; the first rate would be infinite.
  """
  if warmup_steps < 1:
    raise ValueError(
      f"schedules.rsqrt: warmup_steps is {warmup_steps}, expected 1 or more"
    )
  return lambda step: value / jnp.sqrt(jnp.maximum(step, warmup_steps))


def cosine(
  value: float, *, train_steps: int, warmup_steps: int = 0, final: float = 0.0
) -> Schedule:
  """Linear warm-up, then a cosine from `value` to `final * value`.

  Args:
    value: the peak rate.
    train_steps: the step at which the final rate is reached.
    warmup_steps: steps of linear warm-up from zero.
    final: last rate, as a fraction of the peak.

  Returns:
    A function of the step.

  Raises:
    ValueError: where the warm-up leaves no steps to decay.
  """
  if not 0 <= warmup_steps < train_steps:
    raise ValueError(
      f"schedules.cosine: warmup_steps is {warmup_steps}, expected at least 0 "
      f"and less than train_steps ({train_steps}); set --gin.WARMUP_STEPS or "
      "--gin.TRAIN_STEPS"
    )
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0 if warmup_steps else value,
    peak_value=value,
    warmup_steps=warmup_steps,
    decay_steps=train_steps,
    end_value=final * value,
  )
