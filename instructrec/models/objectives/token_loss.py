"""Cross entropy in nats, with z-loss and label smoothing."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from instructrec.models.networks import layers


class LossSums(NamedTuple):
  """What a batch adds up to, each token times its weight.

  Attributes:
    total: cross entropy plus z-loss, in nats; the only one with a gradient.
    z_loss: the z-loss alone, in nats.
    correct: the weights of the targets that have the largest logit.
  """

  total: Float[Array, ""]
  z_loss: Float[Array, ""]
  correct: Float[Array, ""]


class TokenLoss(NamedTuple):
  """Loss of every token, in nats.

  Attributes:
    total: cross entropy plus z-loss.
    z_loss: the z-loss alone.
  """

  total: Float[Array, "*dims"]
  z_loss: Float[Array, "*dims"]


class LogitSums(NamedTuple):
  """What the loss of a token asks of its logits over the vocabulary.

  Attributes:
    log_z: logsumexp of the logits.
    target: the logit of the target.
    total: sum of the logits.
    best: the token with the largest logit, the smallest id among equals.
  """

  log_z: Float[Array, "*dims"]
  target: Float[Array, "*dims"]
  total: Float[Array, "*dims"]
  best: Int[Array, "*dims"]


def logit_sums(
  logits: Float[Array, "*dims vocab"], targets: Int[Array, "*dims"]
) -> LogitSums:
  """The sums over the last axis, in float32."""
  logits = logits.astype(jnp.float32)
  fixed = jax.lax.stop_gradient(logits)
  # An argmax in two steps, which XLA vectorises on CPUs as it does not argmax.
  ids = jnp.arange(logits.shape[-1], dtype=jnp.int32)
  largest = fixed == jnp.max(fixed, axis=-1, keepdims=True)
  target = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  return LogitSums(
    log_z=jax.nn.logsumexp(logits, axis=-1),
    target=target[..., 0],
    total=jnp.sum(logits, axis=-1),
    best=jnp.min(jnp.where(largest, ids, len(ids)), axis=-1),
  )


def chunked_logit_sums(
  features: Float[Array, "*dims embed"],
  kernel: Float[Array, "embed vocab"],
  targets: Int[Array, "*dims"],
  *,
  num_chunks: int,
) -> LogitSums:
  """`logit_sums` of features @ kernel, without keeping the logits.

  One part of the vocabulary after the other; the backward pass takes each
  part's logits again, one product more. Its gradient of the kernel is made in
  parts too. Part k holds every `num_chunks`-th token from k on, so that a
  vocabulary that is split over devices stays split as it was.

  Args:
    features: float32 rows that the logits come from.
    kernel: the float32 matrix of the logits.
    targets: token ids in [0, vocab).
    num_chunks: parts, a divisor of the vocabulary's size.

  Returns:
    The sums, float32.

  Raises:
    ValueError: where the vocabulary does not divide.
  """
  embed, vocab_size = kernel.shape
  if num_chunks < 1 or vocab_size % num_chunks:
    raise ValueError(
      f"a vocabulary of {vocab_size} tokens does not divide into {num_chunks} "
      "chunks; choose a divisor"
    )
  size = vocab_size // num_chunks
  parts = jnp.moveaxis(kernel.reshape(embed, size, num_chunks), 2, 0)

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def sums(chunk: tuple[Array, Array]) -> tuple[LogitSums, Array]:
    first, part = chunk
    logits = jnp.dot(features, part)
    ids = first + num_chunks * jnp.arange(size)
    # No gather: a column that lies on another device would be fetched.
    mine = ids == targets[..., None]
    found = LogitSums(
      log_z=jax.nn.logsumexp(logits, axis=-1),
      target=jnp.sum(jnp.where(mine, logits, 0.0), axis=-1),
      total=jnp.sum(logits, axis=-1),
      best=first + num_chunks * jnp.argmax(logits, axis=-1),
    )
    return found, jnp.max(jax.lax.stop_gradient(logits), axis=-1)

  found, largest = jax.lax.map(sums, (jnp.arange(num_chunks), parts))
  # Parts interleave: the smallest id is not always in the first of them.
  best = jnp.where(largest == jnp.max(largest, axis=0), found.best, vocab_size)
  return LogitSums(
    log_z=jax.nn.logsumexp(found.log_z, axis=0),
    target=jnp.sum(found.target, axis=0),
    total=jnp.sum(found.total, axis=0),
    best=jnp.min(best, axis=0).astype(jnp.int32),
  )


def loss_sums(
  features: Float[Array, "*dims embed"],
  kernel: Float[Array, "embed vocab"],
  targets: Int[Array, "*dims"],
  weights: Float[Array, "*dims"],
  *,
  num_chunks: int = 1,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
) -> LossSums:
  """The loss of all targets where features @ kernel are the logits.

  Args:
    features: float32 rows that the logits come from.
    kernel: the float32 matrix of the logits.
    targets: token ids in [0, vocab).
    weights: of the targets; 0 is padding.
    num_chunks: parts of the vocabulary, see `chunked_logit_sums`; 1 keeps all
      logits.
    z_loss: see `token_loss`.
    label_smoothing: likewise.

  Returns:
    Float32 sums.
  """
  if num_chunks == 1:
    sums = logit_sums(layers.product(features, kernel), targets)
  else:
    sums = chunked_logit_sums(features, kernel, targets, num_chunks=num_chunks)
  tokens = token_loss(
    sums, kernel.shape[1], z_loss=z_loss, label_smoothing=label_smoothing
  )
  return LossSums(
    total=weighted_sum(tokens.total, weights),
    z_loss=jax.lax.stop_gradient(weighted_sum(tokens.z_loss, weights)),
    correct=weighted_sum(sums.best == targets, weights),
  )


def cross_entropy(
  logits: Float[Array, "*dims vocab"],
  targets: Int[Array, "*dims"],
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
) -> TokenLoss:
  """`token_loss` of logits that are at hand, float32 whatever they are."""
  return token_loss(
    logit_sums(logits, targets),
    logits.shape[-1],
    z_loss=z_loss,
    label_smoothing=label_smoothing,
  )


def token_loss(
  sums: LogitSums,
  vocab_size: int,
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
) -> TokenLoss:
  """Cross entropy of targets under softmax(logits), per token.

  With V tokens in the vocabulary, s the label smoothing, p = softmax(logits),
  log Z = logsumexp(logits) and the smoothed target distribution q (1 - s on
  the target, s / (V - 1) on every other token)::

    total = sum_v q_v (log q_v - log p_v) + z_loss (log Z)^2

  The first term is cross entropy less the entropy of q, hence 0 and not H(q)
  at its minimum p = q. Without smoothing it is -log p[target]. The second
  keeps logits near log-probabilities; it is T5X's z-loss.

  Args:
    sums: of the logits; unnormalised ones will do.
    vocab_size: V.
    z_loss: weight of (log Z)^2; T5 1.1 was trained with 1e-4.
    label_smoothing: mass taken from the target, in [0, 1).

  Returns:
    Float32 losses in nats, one a token. Padding is not treated specially:
    weigh it with 0.

  Raises:
    ValueError: if label_smoothing is not in [0, 1).
  """
  if not 0.0 <= label_smoothing < 1.0:
    raise ValueError(
      f"label_smoothing is {label_smoothing!r}; expected a number in [0, 1)"
    )
  log_z = sums.log_z
  log_p_target = sums.target - log_z
  regularizer = z_loss * jnp.square(log_z)
  if label_smoothing == 0.0:
    return TokenLoss(regularizer - log_p_target, regularizer)
  others = max(vocab_size - 1, 1)
  low = label_smoothing / others
  log_p_others = sums.total - vocab_size * log_z - log_p_target
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
