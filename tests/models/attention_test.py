"""Tests of attention, by formula and by its sharing of keys and values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

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


@pytest.mark.parametrize("cross", [False, True])
def test_fused_attention_has_the_same_values_and_gradients(cross):
  keys = jax.random.split(jax.random.PRNGKey(3), 4)
  queries, length = (5, 8) if cross else (8, 8)
  query = jax.random.normal(keys[0], (2, queries, 3, 4))
  memory = attention.KeysValues(
    keys=jax.random.normal(keys[1], (2, length, 3, 4)),
    values=jax.random.normal(keys[2], (2, length, 3, 4)),
  )
  # The last keys of the second row are padding.
  mask = jnp.arange(length) < jnp.array([[8], [6]])
  mask = mask[:, None, None, :]
  bias = None if cross else jax.random.normal(keys[3], (1, 3, queries, length))
  if not cross:
    mask = mask & jnp.tril(jnp.ones((queries, length), bool))

  def loss(fused, query, memory, bias):
    if fused:
      y = attention.fused_dot_product_attention(
        query, memory, mask, bias, implementation="xla", dropout_rate=0.0
      )
    else:
      y = attention.dot_product_attention(
        query,
        memory,
        mask,
        bias,
        dtype=jnp.float32,
        float32_logits=False,
        dropout=nn.Dropout(0.0).bind({}),
        deterministic=True,
      )
    return jnp.sum(jnp.sin(y)), y

  def outcome(fused):
    arguments = (0, 1) if cross else (0, 1, 2)
    return jax.value_and_grad(
      functools.partial(loss, fused), arguments, has_aux=True
    )(query, memory, bias)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    outcome(True),
    outcome(False),
  )


def test_fused_attention_does_not_forget_dropout(tiny_config):
  config = dataclasses.replace(tiny_config, attention_implementation="xla")
  fused = attention.Attention(config)
  x = _inputs(tiny_config, 2, 4)
  variables = _init(fused, x)
  mask = jnp.ones((1, 1, 4, 4), bool)
  rngs = {"dropout": jax.random.PRNGKey(0)}
  with pytest.raises(ValueError, match="set it to 0"):
    fused.apply(variables, x, mask, None, False, rngs=rngs)


def test_cudnn_is_never_replaced(tiny_config):
  if jax.default_backend() == "gpu":
    pytest.skip("there may be a cuDNN")
  config = dataclasses.replace(tiny_config, attention_implementation="cudnn")
  x = _inputs(tiny_config, 2, 4)
  with pytest.raises(RuntimeError, match="cuDNN"):
    _init(attention.Attention(config), x)
