"""Logits for real targets alone, beside logits for all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.objectives import real_targets, token_loss

_VOCAB = 12


def _arrays(num_real, shape=(4, 6)):
  """Features, kernel, targets, and weights of which `num_real` are not 0."""
  rng = np.random.default_rng(num_real)
  weights = np.zeros(shape, np.float32)
  real = rng.permutation(weights.size)[:num_real]
  # Unequal weights, so that no token's gradient hides another's.
  weights.flat[real] = rng.uniform(0.5, 2.0, num_real)
  return (
    jnp.asarray(rng.normal(size=(*shape, 8)), jnp.float32),
    jnp.asarray(rng.normal(size=(8, _VOCAB)), jnp.float32),
    jnp.asarray(rng.integers(0, _VOCAB, shape), jnp.int32),
    jnp.asarray(weights),
  )


def _gradient_fn(sums_fn):
  """Compiled: the sums, and gradients of features, kernel and weights."""

  def loss(features, kernel, weights, targets):
    sums = sums_fn(features, kernel, targets, weights)
    return 3.0 * sums.total, sums

  grad_fn = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
  return jax.jit(
    lambda features, kernel, targets, weights: grad_fn(
      features, kernel, weights, targets
    )
  )


@pytest.fixture(scope="module", params=[1, 3], name="pair")
def pair_fixture(request):
  """Real targets alone, and all; with a number of chunks."""
  plain = functools.partial(
    token_loss.loss_sums,
    num_chunks=request.param,
    z_loss=0.01,
    label_smoothing=0.1,
  )
  real = functools.partial(real_targets.loss_sums, plain)
  return _gradient_fn(real), _gradient_fn(plain)


@pytest.mark.parametrize("num_real", [0, 1, 3, 4, 13, 24])
def test_padding_changes_neither_loss_nor_gradients(num_real, pair):
  arrays = _arrays(num_real)
  real, every = pair
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    real(*arrays),
    every(*arrays),
  )


def test_fewer_targets_than_sizes():
  arrays = _arrays(2, shape=(1, 3))
  found = _gradient_fn(
    functools.partial(real_targets.loss_sums, token_loss.loss_sums)
  )(*arrays)
  expected = _gradient_fn(token_loss.loss_sums)(*arrays)
  np.testing.assert_allclose(found[0][0], expected[0][0], rtol=1e-6)


def test_what_padding_holds_is_not_looked_at():
  features, kernel, targets, weights = _arrays(5)
  spoilt = jnp.where(weights[..., None] == 0, jnp.nan, features)
  sums_fn = jax.jit(
    functools.partial(real_targets.loss_sums, token_loss.loss_sums)
  )
  np.testing.assert_allclose(
    sums_fn(spoilt, kernel, targets, weights),
    sums_fn(features, kernel, targets, weights),
    rtol=1e-6,
  )


@pytest.mark.parametrize(("num_real", "rows"), [(0, 3), (3, 3), (4, 6)])
def test_logits_are_taken_to_an_eighth_of_all_rows(num_real, rows):
  seen = []

  def counting(features, kernel, targets, weights):
    jax.debug.callback(lambda f: seen.append(len(f)), features)
    return token_loss.loss_sums(features, kernel, targets, weights)

  sums_fn = functools.partial(real_targets.loss_sums, counting)
  jax.block_until_ready(jax.jit(sums_fn)(*_arrays(num_real)))
  jax.effects_barrier()
  assert seen == [rows]


def test_no_logits_are_kept_for_the_backward_pass():
  features, kernel, targets, weights = _arrays(24)
  loss_fn = functools.partial(real_targets.loss_sums, token_loss.loss_sums)
  _, backward = jax.vjp(
    lambda f, k: loss_fn(f, k, targets, weights).total, features, kernel
  )
  kept = [leaf.shape for leaf in jax.tree.leaves(backward)]
  assert (24, 8) in kept
  assert (24, _VOCAB) not in kept
