"""One update: what a batch is divided into, and by."""

import functools

import copy_run
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from instructrec.models.objectives import objective, training_metrics
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


class Follower:
  """Draws once where it stands, and then goes from there to 1."""

  def __init__(self, number, limit):
    self.repeats = objective.Repeats(number, "moved", limit)

  def drawn(self, params, batch):
    start = jnp.broadcast_to(params["x"], batch["weights"].shape)
    return {**batch, "start": start, "row": -batch["weights"]}

  def loss_divisor(self, batch):
    return batch["weights"].sum()

  def loss_fn(self, params, batch, rng):
    weights, x = batch["weights"], params["x"]
    ones = jnp.ones_like(weights, bool)
    metrics = {
      "moved": training_metrics.mean(jnp.abs(x - batch["start"]), ones),
      "other": training_metrics.mean(batch["row"] != -weights, ones),
    }
    return (weights * 0.5 * (x - 1.0) ** 2).sum(), metrics


def test_the_norm_is_of_the_mean_gradient_before_it_is_clipped():
  """It is looked at, and what is learnt goes by what was clipped."""
  model, weights = Follower(1, 9.0), jnp.asarray([1.0, 3.0])
  model.repeats = None
  descent = optax.chain(optax.clip_by_global_norm(0.25), optax.sgd(1.0))
  state, metrics = train_step.train_step(
    train_step.start_from({"x": jnp.zeros(())}, descent),
    {"weights": weights, "row": -weights, "start": jnp.zeros(2)},
    jax.random.key(0),
    model=model,
    optimizer=descent,
  )
  assert metrics[train_step.GRAD_NORM].compute() == 1.0
  assert state.params["x"] == 0.25


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize(
  ("number", "limit", "made", "left"),
  [
    (3, 9.0, 3, 1 / 8),
    # After two updates it has moved by 3/4, and no more are made.
    (5, 0.6, 2, 1 / 4),
    (5, 0.1, 1, 1 / 2),
  ],
)
def test_what_was_drawn_once_is_learnt_from_until_it_is_too_far(
  number, limit, made, left, num_microbatches
):
  """Each update halves what is left; the rate is the same in all of a step."""
  descent = optax.sgd(lambda step: jnp.where(step == 0, 0.5, 1.0))
  step = jax.jit(
    functools.partial(
      train_step.train_step,
      model=Follower(number, limit),
      optimizer=descent,
      num_microbatches=num_microbatches,
    )
  )
  state = train_step.start_from({"x": jnp.zeros(())}, descent)
  batch = {"weights": jnp.asarray([1.0, 3.0, 2.0, 2.0])}
  state, metrics = step(state, batch, jax.random.key(0))
  assert int(state.step) == 1
  assert 1.0 - state.params["x"] == left
  assert metrics[train_step.UPDATES].compute() == made
  # What was drawn of a row stays with it.
  assert metrics["other"].compute() == 0.0
  # The next step begins where it stands, with its own rate.
  state, _ = step(state, batch, jax.random.key(0))
  assert state.params["x"] == 1.0
