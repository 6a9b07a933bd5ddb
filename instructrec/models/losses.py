"""Cross entropy in nats, per token, with z-loss and label smoothing."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class TokenLoss(NamedTuple):
  """Loss of every token, in nats.

  Attributes:
    total: cross entropy plus z-loss.
    z_loss: the z-loss alone.
  """

  total: Float[Array, "*dims"]
  z_loss: Float[Array, "*dims"]


def cross_entropy(
  logits: Float[Array, "*dims vocab"],
  targets: Int[Array, "*dims"],
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
) -> TokenLoss:
  """Cross entropy of `targets` under softmax(logits), per token.

  With V tokens in the vocabulary, s the label smoothing, p = softmax(logits),
  log Z = logsumexp(logits) and the smoothed target distribution q (1 - s on
  the target, s / (V - 1) on every other token)::

    total = sum_v q_v (log q_v - log p_v) + z_loss (log Z)^2

  The first term is cross entropy less the entropy of q, hence 0 and not H(q)
  at its minimum p = q. Without smoothing it is -log p[target]. The second
  keeps logits near log-probabilities; it is T5X's z-loss.

  Args:
    logits: unnormalised, taken to float32.
    targets: token ids in [0, vocab).
    z_loss: weight of (log Z)^2; T5 1.1 was trained with 1e-4.
    label_smoothing: mass taken from the target, in [0, 1).

  Returns:
    Float32 losses in nats, of the shape of `targets`. Padding is not treated
    specially: weigh it with 0.

  Raises:
    ValueError: if label_smoothing is not in [0, 1).
  """
  if not 0.0 <= label_smoothing < 1.0:
    raise ValueError(
      f"label_smoothing is {label_smoothing!r}; expected a number in [0, 1)"
    )
  logits = logits.astype(jnp.float32)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  target_logit = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  log_p_target = target_logit[..., 0] - log_z
  regularizer = z_loss * jnp.square(log_z)
  if label_smoothing == 0.0:
    return TokenLoss(regularizer - log_p_target, regularizer)
  vocab_size = logits.shape[-1]
  others = max(vocab_size - 1, 1)
  low = label_smoothing / others
  log_p_others = jnp.sum(logits, axis=-1) - vocab_size * log_z - log_p_target
  smoothed = -(1.0 - label_smoothing) * log_p_target - low * log_p_others
  entropy = -(1.0 - label_smoothing) * jnp.log(
    1.0 - label_smoothing
  ) - label_smoothing * jnp.log(low)
  return TokenLoss(smoothed - entropy + regularizer, regularizer)


def weighted_sum(
  values: Float[Array, "*dims"], weights: Float[Array, "*dims"]
) -> Float[Array, ""]:
  """Sum of values times weights, in float32.

  A position of weight 0 contributes 0 whatever its value is, also if that is
  not finite.
  """
  weights = weights.astype(jnp.float32)
  values = jnp.where(weights == 0.0, 0.0, values.astype(jnp.float32))
  return jnp.sum(values * weights)
