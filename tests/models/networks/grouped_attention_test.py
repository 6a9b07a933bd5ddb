"""One softmax over several sources, by the formula written as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.networks import grouped_attention, keys_values

RNG = np.random.default_rng(3)


def _memory(rows, keys):
  arrays = RNG.standard_normal((2, rows, keys, 2, 4)).astype(np.float32)
  return keys_values.KeysValues(*map(jnp.asarray, arrays))


def _by_loops(query, sources):
  sequences, length, heads, _ = query.shape
  out = np.zeros(query.shape)
  for s, q, h in np.ndindex(sequences, length, heads):
    logits, values = [], []
    for memory, mask, _ in sources:
      rows = len(memory.keys)
      row, group = s * rows // sequences, h * memory.keys.shape[2] // heads
      wide = np.broadcast_to(mask, (rows, 1, length, memory.keys.shape[1]))
      for k in np.flatnonzero(wide[row, 0, q]):
        logits.append(query[s, q, h] @ memory.keys[row, k, group])
        values.append(memory.values[row, k, group])
    weights = np.exp(logits - np.max(logits))
    out[s, q, h] = (weights / weights.sum()) @ np.array(values)
  return out


def test_sources_of_fewer_rows_are_shared():
  query = RNG.standard_normal((6, 3, 4, 4)).astype(np.float32)
  own = jnp.tril(jnp.ones((3, 3), bool))[None, None]
  shown = jnp.asarray(RNG.random((2, 1, 1, 5)) > 0.4)
  sources = [
    grouped_attention.Source(_memory(2, 5), shown),
    grouped_attention.Source(_memory(6, 3), own),
  ]
  found = jax.jit(grouped_attention.grouped_attention)(query, sources)
  np.testing.assert_allclose(found, _by_loops(query, sources), atol=1e-5)


@pytest.mark.parametrize("implementation", ["xla"])
def test_fused_attention_is_the_same(implementation):
  query = RNG.standard_normal((2, 3, 4, 4)).astype(np.float32)
  mask = jnp.tril(jnp.ones((3, 3), bool))[None, None]
  sources = [grouped_attention.Source(_memory(2, 3), mask)]
  found = grouped_attention.attend(jnp.asarray(query), sources, implementation)
  np.testing.assert_allclose(found, _by_loops(query, sources), atol=1e-5)


def test_a_query_without_keys_is_finite():
  query = jnp.ones((1, 1, 4, 4))
  nothing = grouped_attention.Source(
    _memory(1, 3), jnp.zeros((1, 1, 1, 3), bool)
  )
  assert np.isfinite(
    grouped_attention.grouped_attention(query, [nothing])
  ).all()
