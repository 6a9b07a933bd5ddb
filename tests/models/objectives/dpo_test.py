"""DPO over sampled lists, held to numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.objectives import dpo, policy

ITEMS = jnp.asarray([[[0, 1], [0, -1], [0, 1]]])
LOG_PROBS = jnp.asarray([[[-1.0, -2.0], [-1.5, 9.0], [-0.5, -0.5]]])
REFERENCE = jnp.asarray([[[-2.0, -2.0], [-1.0, 0.0], [-1.0, -1.0]]])


def _loss(log_probs, lists):
  samples = policy.Samples(
    log_probs, log_probs, REFERENCE, jnp.zeros((1, 3, 2)), ITEMS
  )
  lists = jnp.asarray(lists)
  everywhere = jnp.ones((1, 3, 2), bool)
  worth = policy.Rewards(jnp.zeros((1, 3, 2)), lists, everywhere)
  return dpo.DPO(divergence_weight=0.5)(samples, worth)


def test_the_better_list_is_held_against_all_worse_ones():
  """Implied rewards are .5, -.25 and .5: a tie with one, ahead of another."""
  total, metrics = jax.jit(_loss)(LOG_PROBS, [[3.0, 1.0, 2.0]])
  expected = np.log(1.0 + np.exp(-0.75) + np.exp(0.0))
  # Three lists of two places, of which the divisor is.
  np.testing.assert_allclose(total, 6 * expected, rtol=1e-6)
  assert metrics["policy/preferred"].compute() == 0.0
  # What is worth the same as the better one is no worse.
  total, metrics = jax.jit(_loss)(LOG_PROBS, [[3.0, 1.0, 3.0]])
  np.testing.assert_allclose(total, 6 * np.log(1 + np.exp(-0.75)), rtol=1e-6)
  assert metrics["policy/preferred"].compute() == 1.0


def test_the_better_list_rises_and_the_worse_fall():
  gradient = jax.grad(lambda x: _loss(x, [[3.0, 1.0, 2.0]])[0])(LOG_PROBS)
  shares = np.exp([-0.75, 0.0]) / (1 + np.exp(-0.75) + 1)
  expected = 6 * 0.5 * np.array([-shares.sum(), *shares])
  np.testing.assert_allclose(gradient[0, :, 0], expected, rtol=1e-5)
  assert gradient[0, 1, 1] == 0.0


def test_lists_that_are_worth_the_same_teach_nothing():
  def total(log_probs):
    return _loss(log_probs, [[2.0, 2.0, 2.0]])[0]

  found, gradient = jax.jit(jax.value_and_grad(total))(LOG_PROBS)
  assert found == 0.0
  np.testing.assert_array_equal(gradient, 0.0)


def test_a_reference_that_costs_nothing_is_refused():
  with pytest.raises(ValueError, match=r"divergence_weight is 0.0"):
    dpo.DPO(divergence_weight=0.0)
