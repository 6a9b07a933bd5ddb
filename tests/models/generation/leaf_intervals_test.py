"""Sums over intervals of leaves, against the same in NumPy."""

import jax
import numpy as np
import pytest

from instructrec.models.generation import catalog_trie, leaf_intervals

COUNT = 60


@pytest.fixture(scope="module", name="trie")
def trie_fixture(catalogs):
  return catalog_trie.CatalogTrie.build(
    catalogs.titles(COUNT), eos_id=catalogs.eos, vocab_size=catalogs.vocab
  )


@pytest.fixture(scope="module", name="intervals")
def intervals_fixture():
  """All intervals of the leaves, the empty ones too; the same in two rows."""
  pairs = [(a, b) for a in range(COUNT + 1) for b in range(a, COUNT + 1)]
  lows, highs = np.array(pairs, np.int32).T
  return np.tile(lows, (2, 1)), np.tile(highs, (2, 1))


def in_order(trie, values):
  """Values of items [rows, items] by leaf."""
  return values[:, np.asarray(trie.leaf_items)[:COUNT] - 1]


_RNG = np.random.default_rng(0)
_ALLOWED = _RNG.random((2, COUNT)) < 0.3
# In no order, some said twice, and 0 for none.
_EXCLUDED = np.concatenate(
  [_RNG.integers(0, COUNT + 1, (2, 20)), np.full((2, 2), 7)], axis=1
).astype(np.int32)


@pytest.mark.parametrize(
  ("allowed", "excluded"),
  [
    (None, None),
    (_ALLOWED, None),
    (None, _EXCLUDED),
    (_ALLOWED, _EXCLUDED),
    # Fewer columns than items: the others are not allowed.
    (_ALLOWED[:, :50], None),
  ],
  ids=["all", "allowed", "excluded", "both", "narrow"],
)
def test_how_many_and_which_one_alone(allowed, excluded, trie, intervals):
  lows, highs = intervals

  @jax.jit
  def look(allowed, excluded):
    found = leaf_intervals.Allowed.of(
      jax.tree.map(jax.numpy.asarray, trie),
      leaf_intervals.Conditions(allowed=allowed, excluded=excluded),
    )
    return found.count(lows, highs), found.only(lows, highs)

  keep = np.ones((2, COUNT), bool)
  if allowed is not None:
    keep[:] = False
    keep[:, : allowed.shape[1]] = allowed
  if excluded is not None:
    for row in range(2):
      keep[row, excluded[row][excluded[row] > 0] - 1] = False
  leaves = in_order(trie, keep)
  before = np.pad(np.cumsum(leaves, axis=1), ((0, 0), (1, 0)))
  rows = np.arange(2)[:, None]
  expected = before[rows, highs] - before[rows, lows]
  count, only = map(np.asarray, look(allowed, excluded))
  np.testing.assert_array_equal(count, expected)
  alone = np.stack(
    [np.searchsorted(before[row], before[row, lows[row]] + 1) for row in (0, 1)]
  )
  where = expected == 1
  assert where.any()
  np.testing.assert_array_equal(only[where], alone[where] - 1)


@pytest.mark.parametrize("filtered", [False, True])
def test_weights_of_intervals_lose_nothing_small(filtered, trie, intervals):
  """Also beside what is e^80 times as much."""
  lows, highs = intervals
  rng = np.random.default_rng(1)
  scores = rng.normal(size=(2, COUNT)).astype(np.float32) * 40
  allowed = _ALLOWED if filtered else None

  @jax.jit
  def look(scores, allowed):
    tables = jax.tree.map(jax.numpy.asarray, trie)
    kept = leaf_intervals.Allowed.of(
      tables,
      leaf_intervals.Conditions(allowed=allowed, excluded=_EXCLUDED),
    )
    prior = leaf_intervals.Prior.of(tables, scores, 0.5, kept)
    return prior.over(lows, highs), prior.at(lows[:, :COUNT])

  keep = np.ones((2, COUNT), bool) if allowed is None else allowed.copy()
  for row in range(2):
    keep[row, _EXCLUDED[row][_EXCLUDED[row] > 0] - 1] = False
  weights = np.where(keep, 0.5 * scores.astype(np.float64), -np.inf)
  weights = in_order(trie, weights)
  over, at = map(np.asarray, look(scores, allowed))
  for row in range(2):
    for place, (low, high) in enumerate(
      zip(lows[row], highs[row], strict=True)
    ):
      expected = np.logaddexp.reduce(weights[row, low:high], initial=-np.inf)
      assert over[row, place] == pytest.approx(expected, abs=1e-4), (low, high)
  np.testing.assert_array_equal(
    at, np.take_along_axis(weights, lows[:, :COUNT], 1).astype(np.float32)
  )
