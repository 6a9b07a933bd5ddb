"""The loss on one device: logits where there are targets, none for padding.

Logits over a vocabulary are much of a step, and targets that are not packed
are mostly padding. Compiled shapes are fixed, so the real targets are moved to
the front, and one of a few programs, each for a share of the rows, is chosen
while the step runs. On a mesh of several devices rows would have to move
between them: there all logits are made.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from instructrec.models.objectives import token_loss

LossFn = Callable[[Array, Array, Array, Array], token_loss.LossSums]

_NUM_SIZES = 8


def loss_sums(
  loss_fn: LossFn,
  features: Float[Array, "*dims embed"],
  kernel: Float[Array, "embed vocab"],
  targets: Int[Array, "*dims"],
  weights: Float[Array, "*dims"],
) -> token_loss.LossSums:
  """`loss_fn` of the positions whose weight is not 0, to an eighth of them all.

  The gradient is taken in the forward pass, so that no logits are kept for the
  backward pass and none are made again.

  Args:
    loss_fn: maps features, kernel, targets and weights of any number of rows
      to sums over them; a row of weight 0 adds nothing.
    features: rows that the logits come from.
    kernel: the matrix of the logits.
    targets: token ids.
    weights: of the targets; 0 is padding.

  Returns:
    The sums over all positions; `total` has gradients.
  """
  return _loss_sums(
    loss_fn,
    features.reshape(-1, features.shape[-1]),
    kernel,
    targets.reshape(-1),
    weights.reshape(-1),
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss_sums(loss_fn: LossFn, *arrays: Array) -> token_loss.LossSums:
  return _on_real_rows(lambda picked, *rows: loss_fn(*rows), *arrays)


def _forward(
  loss_fn: LossFn, *arrays: Array
) -> tuple[token_loss.LossSums, tuple[Array, ...]]:
  """The sums, and the gradients of features, kernel and weights."""
  num_rows = len(arrays[0])

  def of_picked(
    picked: Array,
    features: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
  ) -> tuple[token_loss.LossSums, tuple[Array, ...]]:
    def total(*of: Array) -> tuple[Array, token_loss.LossSums]:
      sums = loss_fn(of[0], of[1], targets, of[2])
      return sums.total, sums

    def put(rows: Array) -> Array:
      zeros = jnp.zeros((num_rows, *rows.shape[1:]), rows.dtype)
      return zeros.at[picked].set(rows, unique_indices=True)

    differentiate = jax.grad(total, argnums=(0, 1, 2), has_aux=True)
    (of_features, of_kernel, of_weights), sums = differentiate(
      features, kernel, weights
    )
    return sums, (put(of_features), of_kernel, put(of_weights))

  return _on_real_rows(of_picked, *arrays)


def _backward(
  loss_fn: LossFn, gradients: tuple[Array, ...], given: token_loss.LossSums
) -> tuple[Array | None, ...]:
  del loss_fn
  of_features, of_kernel, of_weights = (given.total * g for g in gradients)
  return of_features, of_kernel, None, of_weights


_loss_sums.defvjp(_forward, _backward)


def _on_real_rows(
  function: Callable[..., Any],
  features: Array,
  kernel: Array,
  targets: Array,
  weights: Array,
) -> Any:
  """Calls `function(picked, ...)` with the fewest rows that hold all real ones.

  It gets their places, and of features, targets and weights these rows alone.
  """
  is_padding = weights == 0
  order = jnp.argsort(is_padding, stable=True)
  step = -(-len(order) // _NUM_SIZES)

  def of_first(size: int) -> Any:
    picked = order[:size]
    return function(
      picked, features[picked], kernel, targets[picked], weights[picked]
    )

  sizes = range(step, len(order) + step, step)
  real = len(order) - jnp.sum(is_padding)
  return jax.lax.switch(
    jnp.maximum(real - 1, 0) // step,
    [functools.partial(of_first, size) for size in sizes],
  )
