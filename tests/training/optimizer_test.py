"""Adafactor is optax's, and scanned layers train as single ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from instructrec.training import optimizer, schedules

RNG = np.random.default_rng(2)


def _normal(*shape, scale=1.0):
  return jnp.asarray(RNG.normal(size=shape, scale=scale), jnp.float32)


def _steps(transformation, params, gradients):
  state = transformation.init(params)
  for gradient in gradients:
    updates, state = transformation.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


# The sides are below and above the least that is factored.
_SHAPES = {"kernel": (12, 16), "thin": (4, 16), "scale": (16,)}


def _layers(count):
  # Sizes differ between layers by far more than clipping allows for.
  return [
    {name: _normal(*shape, scale=10.0**n) for name, shape in _SHAPES.items()}
    for n in range(count)
  ]


def test_the_inverse_square_root_has_a_first_step():
  rate = schedules.rsqrt(2.0, warmup_steps=4)
  assert [float(rate(step)) for step in (0, 4, 16)] == [1.0, 1.0, 0.5]
  with pytest.raises(ValueError, match="warmup_steps is 0, expected 1 or more"):
    schedules.rsqrt(2.0, warmup_steps=0)


@pytest.mark.parametrize("scaled", [False, True])
def test_adafactor_is_that_of_optax(scaled):
  params, *gradients = _layers(4)
  settings = {
    "multiply_by_parameter_scale": scaled,
    "min_dim_size_to_factor": 8,
  }
  ours, state = _steps(optimizer.adafactor(1e-2, **settings), params, gradients)
  theirs, their_state = _steps(
    optax.adafactor(1e-2, **settings), params, gradients
  )
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  # Checkpoints of either are those of the other.
  assert jax.tree.structure(state) == jax.tree.structure(their_state)


def test_stacked_layers_are_updated_each_for_itself():
  def stack(layers):
    return {"layers": jax.tree.map(lambda *x: jnp.stack(x), *layers)}

  layers, *gradients = (_layers(3) for _ in range(4))
  adafactor = optimizer.adafactor(1e-2, min_dim_size_to_factor=8)
  stacked, _ = _steps(adafactor, stack(layers), list(map(stack, gradients)))
  single = [
    _steps(adafactor, layer, [g[n] for g in gradients])[0]
    for n, layer in enumerate(layers)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    stacked,
    stack(single),
  )
