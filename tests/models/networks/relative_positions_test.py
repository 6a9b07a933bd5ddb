"""Tests of the relative position buckets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.networks import relative_positions


def _exact_bucket(distance, per_side, max_distance):
  """The bucket by whole-number arithmetic: no logarithm, no rounding."""
  exact = per_side // 2
  if distance < exact:
    return distance
  steps = per_side - exact
  bucket = exact
  # distance >= exact * (max_distance / exact) ** (k / steps), both sides to
  # the power of `steps`.
  for k in range(1, steps):
    reached = distance**steps * exact**k >= exact**steps * max_distance**k
    bucket = exact + k if reached else bucket
  return bucket


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
  ("num_buckets", "max_distance"), [(32, 128), (8, 20), (64, 1000)]
)
def test_buckets_by_whole_numbers(bidirectional, num_buckets, max_distance):
  offsets = np.arange(-1500, 1501)
  per_side = num_buckets // 2 if bidirectional else num_buckets
  expected = []
  for offset in offsets.tolist():
    after = offset > 0
    distance = abs(offset) if bidirectional or not after else 0
    base = per_side if bidirectional and after else 0
    expected.append(base + _exact_bucket(distance, per_side, max_distance))
  np.testing.assert_array_equal(
    relative_positions.bucket_of_offset(
      offsets,
      bidirectional=bidirectional,
      num_buckets=num_buckets,
      max_distance=max_distance,
    ),
    expected,
  )


@pytest.mark.parametrize("bidirectional", [True, False])
def test_row_is_a_row_of_the_whole(bidirectional, tiny_config):
  module = relative_positions.RelativePositionBias(tiny_config, bidirectional)
  variables = module.init(jax.random.PRNGKey(0), 9)
  whole = module.apply(variables, 9)
  keys = jnp.arange(9)[None]
  for position in (0, 4, 8):
    queries = jnp.full((1, 1), position)
    row = module.apply(variables, queries, keys, method="between")
    # Later keys are for a causal mask to hide.
    row, own = row[0, :, 0], whole[0, :, position]
    np.testing.assert_array_equal(
      row[:, : position + 1], own[:, : position + 1]
    )
