"""Tests of attention, by formula and by its sharing of keys and values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from instructrec.models import ranking_model
from instructrec.models.kernels import pallas_attention
from instructrec.models.networks import attention, keys_values, t5


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
    memory = layer.apply(variables, memory_of, True, method="project")
    return layer.apply(variables, x, memory, mask, None, True, method="attend")

  copied = attend(x, jnp.repeat(memory_of, 3, 0), jnp.repeat(mask, 3, 0))
  np.testing.assert_allclose(attend(x, memory_of, mask), copied, atol=1e-6)


@pytest.mark.parametrize(
  ("filled", "shown"),
  [(1, 16), (16, 16), (17, 64), (64, 64), (65, 140), (140, 140)],
)
def test_of_a_cache_what_is_written_is_looked_at(filled, shown):
  rows = np.arange(140, dtype=np.float32)[None, :, None, None]
  cache = keys_values.KeysValues(rows, 2 * rows)

  def look(part):
    written = jnp.arange(part.keys.shape[1]) < filled
    total = (part.values[0, :, 0, 0] * written).sum()
    return jnp.stack([jnp.float32(part.keys.shape[1]), total])

  found = jax.jit(lambda n: keys_values.within(cache, n, look))(filled)
  np.testing.assert_allclose(found, [shown, filled * (filled - 1)])


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
  memory = keys_values.KeysValues(
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
        query,
        memory,
        mask,
        bias,
        implementation="xla",
        dropout=nn.Dropout(0.0).bind({}),
        deterministic=True,
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
    return jax.jit(
      jax.value_and_grad(
        functools.partial(loss, fused), arguments, has_aux=True
      )
    )(query, memory, bias)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    outcome(True),
    outcome(False),
  )


@pytest.fixture(name="interpreted")
def interpreted_fixture(monkeypatch):
  """Lets the TPU kernel run anywhere."""
  kernel = functools.partial(
    pallas_attention.dot_product_attention, interpret=True
  )
  monkeypatch.setattr(pallas_attention, "dot_product_attention", kernel)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_fused_attention_drops_the_same_keys(implementation, tiny_config):
  config = dataclasses.replace(tiny_config, dropout_rate=0.4)
  x = _inputs(config, 2, 7)
  variables = _init(attention.Attention(config), x)
  mask = jnp.arange(7) < jnp.array([7, 5])[:, None, None, None]
  bias = jax.random.normal(jax.random.PRNGKey(6), (1, 2, 7, 7))

  def outcome(implementation, deterministic=False):
    layer = attention.Attention(
      dataclasses.replace(config, attention_implementation=implementation)
    )

    def loss(variables, x, bias):
      rngs = {"dropout": jax.random.PRNGKey(1)}
      y = layer.apply(variables, x, mask, bias, deterministic, rngs=rngs)
      return jnp.sum(jnp.sin(y)), y

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(
      variables, x, bias
    )

  expected = outcome("einsum")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    outcome(implementation),
    expected,
  )
  (_, kept_all), _ = outcome("einsum", deterministic=True)
  assert np.abs(kept_all - expected[0][1]).max() > 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_fused_attention_of_grouped_queries_has_the_same_loss(
  implementation, tiny_llama_config, make_setup
):
  tokens = np.array([[5, 9, 4, 1, 7, 3, 12, 0], [7, 3, 12, 8, 1, 2, 0, 0]])
  batch = {
    "decoder_input_tokens": np.where(tokens > 0, np.roll(tokens, 1, 1) + 1, 0),
    "decoder_target_tokens": tokens,
    "decoder_loss_weights": tokens > 0,
    "decoder_segment_ids": (tokens > 0) * [[1, 1, 1, 2, 2, 2, 2, 0]],
  }

  def outcome(name):
    config = dataclasses.replace(
      tiny_llama_config, attention_implementation=name, dropout_rate=0.2
    )
    setup = make_setup(config)
    step = jax.value_and_grad(setup.model.loss_fn, has_aux=True)
    (loss, _), gradients = jax.jit(step)(setup.params, batch, jax.random.key(2))
    return loss, gradients

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4),
    outcome(implementation),
    outcome("einsum"),
  )


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
  ("implementation", "scan"), [("xla", False), ("pallas", True)]
)
def test_a_network_with_fused_attention_has_the_same_loss(
  implementation, scan, tiny_config, make_setup, make_batch
):
  batch = make_batch([[5, 9, 4, 1], [7, 3, 12, 8, 1]], [[4, 1], [9, 2, 1]])
  packed = {
    "encoder_segment_ids": [[1, 1, 2, 2, 0, 0, 0, 0], [1] * 5 + [0] * 3],
    "decoder_segment_ids": [[1, 2, 0, 0, 0], [1] * 3 + [0] * 2],
  }
  batch |= {name: np.array(ids, np.int32) for name, ids in packed.items()}
  config = dataclasses.replace(
    tiny_config, scan_layers=scan, remat_policy="minimal" if scan else "none"
  )
  params = make_setup(config).params

  def outcome(implementation):
    cfg = dataclasses.replace(config, attention_implementation=implementation)
    model = ranking_model.NetworkRankingModel(t5.T5(cfg))
    step = jax.value_and_grad(model.loss_fn, has_aux=True)
    (loss, _), gradients = jax.jit(step)(params, batch, jax.random.key(2))
    return loss, gradients

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4),
    outcome(implementation),
    outcome("einsum"),
  )


def test_cudnn_is_never_replaced(tiny_config):
  if jax.default_backend() == "gpu":
    pytest.skip("there may be a cuDNN")
  config = dataclasses.replace(tiny_config, attention_implementation="cudnn")
  x = _inputs(tiny_config, 2, 4)
  with pytest.raises(RuntimeError, match="cuDNN"):
    _init(attention.Attention(config), x)
