"""The cache gives what whole sequences give, whatever is done to it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.networks import network

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


def test_select_reorders_sequences(tiny):
  inputs = jnp.asarray(RNG.integers(2, 31, (1, 4)), jnp.int32)
  shifted = jnp.asarray(RNG.integers(2, 31, (2, 3)), jnp.int32)
  _, cache, _ = _steps(tiny.model.module, tiny.params, inputs, shifted)
  swapped = cache.select(jnp.array([1, 1]))
  for old, new in zip(cache.layers, swapped.layers, strict=True):
    np.testing.assert_array_equal(new.keys, old.keys[jnp.array([1, 1])])
  assert int(swapped.position) == int(cache.position)


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
