"""Tests of attention, by formula and by its sharing of keys and values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import attention


@pytest.fixture(name="layer")
def layer_fixture(tiny_config):
  return attention.Attention(tiny_config)


def _inputs(tiny_config, *shape):
  return jax.random.normal(
    jax.random.PRNGKey(len(shape) + shape[0]), (*shape, tiny_config.emb_dim)
  )


def _init(layer, x):
  mask = jnp.ones((1, 1, x.shape[1], x.shape[1]), bool)
  return layer.init(jax.random.PRNGKey(0), x, mask, None, True)


def test_equals_the_formula(layer, tiny_config):
  x = _inputs(tiny_config, 2, 4)
  variables = _init(layer, x)
  mask = jnp.tril(jnp.ones((4, 4), bool))[None, None]
  bias = jax.random.normal(jax.random.PRNGKey(5), (1, 2, 4, 4))
  y = layer.apply(variables, x, mask, bias, True)

  w = {k: np.asarray(v["kernel"]) for k, v in variables["params"].items()}
  q, k, v = (
    (np.asarray(x) @ w[n]).reshape(2, 4, 2, 6)
    for n in ("query", "key", "value")
  )
  expected = np.zeros((2, 4, 2, 6), np.float32)
  for b, h, i in np.ndindex(2, 2, 4):
    # Unmasked keys only, and no division by the square root of 6.
    logits = k[b, : i + 1, h] @ q[b, i, h] + bias[0, h, i, : i + 1]
    p = np.exp(logits - logits.max())
    expected[b, i, h] = (p / p.sum()) @ v[b, : i + 1, h]
  np.testing.assert_allclose(
    y, expected.reshape(2, 4, 12) @ w["out"], atol=1e-5
  )


def test_sequences_share_the_memory_of_their_row(layer, tiny_config):
  memory_of = _inputs(tiny_config, 2, 5)
  variables = _init(layer, memory_of)
  x = _inputs(tiny_config, 6, 3)
  mask = jnp.array([[True] * 5, [True, True, False, False, False]])
  mask = mask[:, None, None, :]

  def attend(x, memory_of, mask):
    memory = layer.apply(variables, memory_of, method="project")
    return layer.apply(variables, x, memory, mask, None, True, method="attend")

  copied = attend(x, jnp.repeat(memory_of, 3, 0), jnp.repeat(mask, 3, 0))
  np.testing.assert_allclose(attend(x, memory_of, mask), copied, atol=1e-6)


def test_a_query_without_keys_is_finite(layer, tiny_config):
  x = _inputs(tiny_config, 1, 3)
  variables = _init(layer, x)
  mask = jnp.zeros((1, 1, 3, 3), bool)
  assert np.all(np.isfinite(layer.apply(variables, x, mask, None, True)))


def test_float32_logits_keep_bfloat16_sums(tiny_config):
  cfg = dataclasses.replace(
    tiny_config, dtype="bfloat16", float32_attention_logits=True
  )
  layer = attention.Attention(cfg)
  x = _inputs(cfg, 1, 3)
  mask = jnp.ones((1, 1, 3, 3), bool)
  y = layer.apply(_init(layer, x), x, mask, None, True)
  assert y.dtype == jnp.bfloat16
