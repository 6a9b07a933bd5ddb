"""One update: what a batch is divided into, and by."""

import functools

import copy_run
import jax
import jax.numpy as jnp
import numpy as np
import optax

from instructrec.training import (
  optimizer,
  train_step,
)


def initial_state(transformation, batch):
  shapes = {name: array.shape for name, array in batch.items()}
  return jax.jit(
    lambda rng: train_step.init_state(
      copy_run.model(dropout=0.0), transformation, rng, shapes
    )
  )(jax.random.key(0))


def test_microbatches_add_up_to_the_whole_gradient():
  batch = copy_run.stream(pack=True).batch(0)
  state = initial_state(optimizer.adamw(1e-2), batch)

  def gradients(num_microbatches):
    return jax.jit(
      lambda params: train_step.compute_gradients(
        copy_run.model(dropout=0.0),
        params,
        batch,
        jax.random.key(1),
        num_microbatches,
      )
    )(state.params)

  whole, metrics = gradients(1)
  parts, part_metrics = gradients(4)
  copy_run.assert_trees_equal(parts, whole, rtol=1e-4, atol=1e-5)
  for name in metrics:
    np.testing.assert_allclose(
      part_metrics[name].compute(), metrics[name].compute(), rtol=1e-5
    )


def test_the_mean_over_tokens_is_the_sum_divided_by_their_number():
  batch = copy_run.stream(pack=True).batch(0)
  descent = optax.sgd(1e-3)
  state = initial_state(descent, batch)

  def moved(**kwargs):
    step = functools.partial(
      train_step.train_step,
      model=copy_run.model(dropout=0.0),
      optimizer=descent,
      **kwargs,
    )
    after, _ = jax.jit(step)(state, batch, jax.random.key(1))
    return jax.tree.map(jnp.subtract, after.params, state.params)

  tokens = batch["decoder_loss_weights"].sum()
  assert tokens > 1
  mean = jax.tree.map(lambda step: step * tokens, moved())
  copy_run.assert_trees_equal(
    mean, moved(mean_loss=False), rtol=1e-2, atol=1e-4
  )
