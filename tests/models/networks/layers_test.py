"""Tests of the building blocks, by formula."""

import jax
import jax.numpy as jnp
import numpy as np

from instructrec.models.networks import layers


def test_rms_norm_divides_by_root_mean_square():
  x = np.array([[3.0, 4.0]], np.float32)
  scale = np.array([1.0, 2.0], np.float32)
  y = layers.RMSNorm().apply({"params": {"scale": scale}}, jnp.asarray(x))
  np.testing.assert_allclose(y, x / np.sqrt(12.5) * scale, rtol=1e-6)


def test_rms_norm_of_zeros_is_zero_with_a_finite_gradient():
  norm = layers.RMSNorm()
  params = {"params": {"scale": jnp.ones(4)}}
  gradient = jax.grad(lambda x: norm.apply(params, x).sum())(jnp.zeros((1, 4)))
  assert np.all(np.isfinite(gradient))


def test_embedding_is_unscaled():
  embed = layers.Embed(vocab_size=5, features=3)
  table = np.arange(15, dtype=np.float32).reshape(5, 3)
  variables = {"params": {"embedding": jnp.asarray(table)}}
  vectors = embed.apply(variables, jnp.array([[4, 0]]))
  np.testing.assert_array_equal(vectors, table[[[4, 0]]])


def test_gated_mlp_multiplies_its_branches(tiny_config):
  mlp = layers.GatedMlp(tiny_config)
  x = jax.random.normal(jax.random.PRNGKey(1), (1, 3, tiny_config.emb_dim))
  params = mlp.init(jax.random.PRNGKey(0), x, True)["params"]
  w = jax.tree.map(np.asarray, params)
  gate = jax.nn.gelu(x @ w["wi_0"]["kernel"], approximate=True)
  expected = (gate * (x @ w["wi_1"]["kernel"])) @ w["wo"]["kernel"]
  np.testing.assert_allclose(
    mlp.apply({"params": params}, x, True), expected, atol=1e-5
  )
