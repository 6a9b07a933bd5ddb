"""The cache gives what whole sequences give, whatever is done to it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.networks import decoding_state, keys_values, network

RNG = np.random.default_rng(5)


def _steps(module, params, inputs, shifted):
  """Logits of every position, one step at a time."""

  def apply(method, *args, **kwargs):
    return module.apply({"params": params}, *args, method=method, **kwargs)

  @jax.jit
  def start(inputs):
    memory = apply("read", network.Prompt(inputs), enable_dropout=False)
    return apply(
      "start_decoding",
      memory,
      sequences_per_prompt=len(shifted) // len(inputs),
      max_length=shifted.shape[1],
    )

  memory, cache = start(inputs)
  step = jax.jit(
    lambda tokens, cache: apply("decode_step", tokens, cache, memory)
  )
  logits = []
  for position in range(shifted.shape[1]):
    out, cache = step(shifted[:, position], cache)
    logits.append(out)
  return jnp.stack(logits, axis=1), cache, memory


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("written", [0, 3, 16, 34, 35])
def test_select_moves_what_is_written(scan, written):
  shape = (2, 3, 35, 1, 2) if scan else (3, 35, 1, 2)
  layer = keys_values.KeysValues(*RNG.normal(size=(2, *shape)))
  cache = decoding_state.DecodingCache(
    layers=layer if scan else (layer,), position=jnp.array(written)
  )
  order = np.array([2, 0, 0])
  moved = jax.jit(lambda cache: cache.select(order))(cache)
  assert int(moved.position) == written
  for old, new in zip(
    jax.tree.leaves(cache.layers), jax.tree.leaves(moved.layers), strict=True
  ):
    first = (..., slice(written), slice(None), slice(None))
    expected = np.take(old, order, axis=-4)[first]
    np.testing.assert_allclose(new[first], expected, rtol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
def test_a_wider_cache_keeps_what_it_holds(scan, tiny_config, make_setup):
  setup = make_setup(dataclasses.replace(tiny_config, scan_layers=scan))
  inputs = jnp.asarray(RNG.integers(2, 31, (1, 4)), jnp.int32)
  shifted = jnp.asarray(RNG.integers(2, 31, (2, 3)), jnp.int32)
  module = setup.model.module
  _, cache, memory = _steps(module, setup.params, inputs, shifted)
  wide = cache.widen(2)
  assert (cache.length, wide.length) == (3, 5)
  assert int(wide.position) == int(cache.position)
  for old, new in zip(
    jax.tree.leaves(cache.layers), jax.tree.leaves(wide.layers), strict=True
  ):
    np.testing.assert_array_equal(new[..., :3, :, :], old)
  # There is room for the next token.
  step = jax.jit(functools.partial(module.apply, method="decode_step"))
  _, extended = step({"params": setup.params}, shifted[:, 0], wide, memory)
  for new in jax.tree.leaves(extended.layers):
    assert np.any(np.asarray(new[..., 3, :, :]))
