"""Tests of the losses, by formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.objectives import token_loss

LOGITS = np.random.default_rng(0).normal(size=(2, 3, 7)).astype(np.float32) * 3
TARGETS = np.random.default_rng(1).integers(0, 7, (2, 3)).astype(np.int32)


def _loss(**settings):
  return token_loss.cross_entropy(
    jnp.asarray(LOGITS), jnp.asarray(TARGETS), **settings
  )


def _log_z():
  return np.log(np.exp(LOGITS.astype(np.float64)).sum(-1))


def test_uniform_logits_cost_log_vocab():
  loss = token_loss.cross_entropy(jnp.zeros((1, 8)), jnp.array([3]))
  np.testing.assert_allclose(loss.total, [np.log(8)], rtol=1e-6)


def test_is_minus_the_log_probability_of_the_target():
  chosen = np.take_along_axis(LOGITS, TARGETS[..., None], -1)[..., 0]
  np.testing.assert_allclose(_loss().total, _log_z() - chosen, rtol=1e-5)
  np.testing.assert_array_equal(_loss().z_loss, np.zeros((2, 3)))


def test_z_loss_is_the_squared_log_normalizer():
  with_z = _loss(z_loss=0.01)
  np.testing.assert_allclose(with_z.z_loss, 0.01 * _log_z() ** 2, rtol=1e-5)
  np.testing.assert_allclose(
    with_z.total, _loss().total + with_z.z_loss, rtol=1e-5
  )


def test_smoothing_is_the_divergence_from_the_smoothed_target():
  s = 0.2
  q = np.full(LOGITS.shape, s / 6)
  np.put_along_axis(q, TARGETS[..., None], 1 - s, -1)
  log_p = LOGITS - _log_z()[..., None]
  expected = (q * (np.log(q) - log_p)).sum(-1)
  np.testing.assert_allclose(
    _loss(label_smoothing=s).total, expected, rtol=1e-4
  )


def test_smoothing_is_zero_at_its_minimum():
  s, vocab = 0.1, 11
  q = jnp.full((vocab,), s / (vocab - 1)).at[4].set(1 - s)

  def at(logits):
    return token_loss.cross_entropy(
      logits, jnp.array(4), label_smoothing=s
    ).total

  np.testing.assert_allclose(at(jnp.log(q)), 0.0, atol=1e-6)
  np.testing.assert_allclose(jax.grad(at)(jnp.log(q)), 0.0, atol=1e-6)


def test_huge_logits_and_bfloat16_stay_finite():
  logits = jnp.array([[1e4, -1e4, 0.0]], jnp.bfloat16)
  loss = token_loss.cross_entropy(logits, jnp.array([1]), z_loss=1e-4)
  assert loss.total.dtype == jnp.float32
  assert np.all(np.isfinite(loss.total))


def test_smoothing_out_of_range_is_an_error():
  with pytest.raises(ValueError, match=r"label_smoothing is 1\.0; expected"):
    _loss(label_smoothing=1.0)


def test_weight_zero_hides_even_what_is_not_finite():
  values = jnp.array([1.0, jnp.inf, jnp.nan, 2.0])
  weights = jnp.array([1.0, 0.0, 0.0, 0.5])
  assert token_loss.weighted_sum(values, weights) == 2.0


def test_sums_of_a_batch_are_those_of_its_tokens():
  kernel = jnp.array([[0.0, 2.0], [3.0, 0.0]])
  features = jnp.array([[[1.0, 0.0], [0.0, 1.0], [jnp.nan, 1.0]]])
  targets = jnp.array([[1, 1, 0]])
  weights = jnp.array([[1.0, 0.5, 0.0]])
  sums = token_loss.loss_sums(features, kernel, targets, weights, z_loss=0.1)
  tokens = token_loss.cross_entropy(
    jnp.dot(features, kernel), targets, z_loss=0.1
  )
  for found, values in (
    (sums.total, tokens.total),
    (sums.z_loss, tokens.z_loss),
    (sums.correct, jnp.array([[1.0, 0.0, 1.0]])),
  ):
    expected = values[0, 0] + 0.5 * values[0, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def _sums_and_gradients(sums_fn, features, kernel, targets, settings):
  def loss(features, kernel):
    sums = sums_fn(features, kernel, targets)
    tokens = token_loss.token_loss(sums, kernel.shape[1], **settings)
    # Unequal weights, so that no token's gradient hides another's.
    weights = jnp.arange(1.0, 1.0 + targets.size).reshape(targets.shape)
    return token_loss.weighted_sum(tokens.total, weights), sums

  return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
    features, kernel
  )


def _whole(features, kernel, targets):
  return token_loss.logit_sums(jnp.dot(features, kernel), targets)


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 12])
@pytest.mark.parametrize(
  "settings", [{}, {"z_loss": 0.01, "label_smoothing": 0.1}]
)
def test_chunks_change_neither_loss_nor_gradients(num_chunks, settings):
  rng = np.random.default_rng(2)
  features = rng.normal(size=(2, 5, 8)).astype(np.float32)
  kernel = rng.normal(size=(8, 12)).astype(np.float32)
  targets = rng.integers(0, 12, (2, 5)).astype(np.int32)
  chunked = functools.partial(
    token_loss.chunked_logit_sums, num_chunks=num_chunks
  )
  arguments = (features, kernel, targets, settings)
  found = _sums_and_gradients(chunked, *arguments)
  expected = _sums_and_gradients(_whole, *arguments)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=2e-6),
    found,
    expected,
  )
  assert found[0][1].best.dtype == jnp.int32


@pytest.mark.parametrize("num_chunks", [2, 4])
def test_the_smallest_of_equal_tokens_is_best_in_chunks_too(num_chunks):
  # Columns 5 and 6 are equal and lie in different chunks.
  kernel = jnp.array([[0.0, 1.0, 1.0, 0.0, 2.0, 3.0, 3.0, 1.0]])
  sums = token_loss.chunked_logit_sums(
    jnp.ones((3, 1)), kernel, jnp.zeros(3, jnp.int32), num_chunks=num_chunks
  )
  np.testing.assert_array_equal(sums.best, [5, 5, 5])


def test_chunks_never_hold_all_logits():
  def loss(features, kernel, targets):
    sums = token_loss.chunked_logit_sums(
      features, kernel, targets, num_chunks=4
    )
    return token_loss.token_loss(sums, 64, z_loss=0.1).total.sum()

  features, kernel = jnp.ones((32, 8)), jnp.ones((8, 64))
  program = jax.jit(jax.grad(loss, (0, 1))).lower(
    features, kernel, jnp.zeros(32, jnp.int32)
  )
  text = program.compile().as_text()
  assert "f32[32,16]" in text
  assert "32,64]" not in text
  assert "4,32,16]" not in text


def test_chunks_divide_the_vocabulary():
  with pytest.raises(ValueError, match="7 tokens does not divide into 2"):
    token_loss.chunked_logit_sums(
      jnp.ones((1, 2)), jnp.ones((2, 7)), jnp.array([0]), num_chunks=2
    )
