"""Rotary positions, by formula."""

import jax
import jax.numpy as jnp
import numpy as np

from instructrec.models.networks import rotary


def _rotate(x, positions, **settings):
  by = rotary.rotation(
    jnp.asarray(positions)[None], head_dim=x.shape[-1], **settings
  )
  return np.asarray(rotary.rotate(jnp.asarray(x)[None, :, None], by))[0, :, 0]


def test_pairs_of_dimensions_turn_as_complex_numbers():
  x = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
  positions = np.array([0, 5, 11])
  # Dimension i with i + 3, at 100 ** (-2 i / 6) radians a position.
  angles = positions[:, None] * 100.0 ** (-np.arange(3) / 3)
  turned = (x[:, :3] + 1j * x[:, 3:]) * np.exp(1j * angles)
  expected = np.concatenate([turned.real, turned.imag], axis=1)
  np.testing.assert_allclose(
    _rotate(x, positions, theta=100.0), expected, atol=1e-5
  )


def test_products_depend_on_distances_alone():
  query, key = np.random.default_rng(1).standard_normal((2, 1, 8))
  settings = {"theta": 10_000.0, "scaling": rotary.Llama3Scaling()}

  def product(at, other):
    turned = (
      _rotate(query, [at], **settings),
      _rotate(key, [other], **settings),
    )
    return (turned[0] * turned[1]).sum()

  np.testing.assert_allclose(product(9, 4), product(105, 100), atol=1e-4)
  assert abs(product(9, 4) - product(9, 5)) > 1e-3


def test_scaling_slows_down_what_turns_seldom():
  """Kept from four turns of the original length on, slowed up to one."""
  scaling = rotary.Llama3Scaling(factor=8.0, original_max_length=1000)
  turns = np.array([100.0, 4.0, 2.5, 1.0, 0.01])
  frequencies = turns * 2 * np.pi / 1000
  # Half way between 1 and 4 turns: the mean of both.
  factors = np.array([1.0, 1.0, (1 + 1 / 8) / 2, 1 / 8, 1 / 8])
  np.testing.assert_allclose(scaling(frequencies), frequencies * factors)


def test_angles_are_float32_and_results_of_the_type_of_what_turns():
  by = rotary.rotation(jnp.arange(3)[None], head_dim=4, theta=10.0)
  x = jax.random.normal(jax.random.key(0), (1, 3, 2, 4), jnp.bfloat16)
  assert by.cos.dtype == jnp.float32
  assert rotary.rotate(x, by).dtype == jnp.bfloat16
