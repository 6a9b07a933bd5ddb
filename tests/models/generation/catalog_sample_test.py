"""Items are drawn by their probabilities, and by nothing else."""

import functools

import jax
import numpy as np
import pytest

from instructrec.models.generation import (
  catalog_sample,
  catalog_trie,
  leaf_intervals,
)

TITLES = [
  [4, 9, 1],
  [4, 9, 8, 1],
  [4, 1],
  [20, 1],
  [7, 7, 7, 7, 7, 1],
  [7, 7, 7, 3, 1],
  [4, 9, 8, 5, 2, 1],
  [4, 9, 8, 5, 2, 3, 3, 3, 6, 3, 3, 1],
]
DRAWS = 4000


@functools.cache
def _draw(num_decodes, temperature=1.0, probability="closed"):
  def draw(writer, trie, rng, wishes):
    return catalog_sample.sample(
      writer,
      trie,
      batch_size=len(writer.table),
      num_decodes=num_decodes,
      rng=rng,
      temperature=temperature,
      probability=probability,
      conditions=leaf_intervals.Conditions(**wishes),
    )

  return jax.jit(draw)


@pytest.fixture(scope="module", name="trie")
def trie_fixture(catalogs):
  return catalog_trie.CatalogTrie.build(
    TITLES, eos_id=catalogs.eos, vocab_size=catalogs.vocab
  )


@pytest.fixture(scope="module", name="writer")
def writer_fixture(catalogs):
  return catalogs.writer(catalogs.table(2, seed=3, scale=0.6))


def _ask(writer, trie, seed, keep=None):
  """Closed draws at temperature 1, by one program for all tests."""
  keep = np.ones((2, len(TITLES)), bool) if keep is None else keep
  return _draw(DRAWS)(writer, trie, jax.random.key(seed), {"allowed": keep})


def _close(items, expected):
  """Shares of draws are the expected ones within four deviations."""
  for row, wanted in zip(np.asarray(items), expected, strict=True):
    shares = np.bincount(row - 1, minlength=len(wanted)) / len(row)
    assert len(shares) == len(wanted)
    allowance = 4 * np.sqrt(wanted * (1 - wanted) / len(row)) + 1e-12
    assert (np.abs(shares - wanted) <= allowance).all(), (shares, wanted)


@pytest.mark.parametrize("filtered", [False, True])
def test_draws_are_those_of_the_closed_softmax(
  filtered, catalogs, trie, writer
):
  keep = np.ones((2, len(TITLES)), bool)
  if filtered:
    keep[0, [0, 3, 5]] = False
    keep[1, [6, 7]] = False
  found = _ask(writer, trie, 0, keep)
  log_probs = catalogs.log_probs(writer.table, TITLES, "closed", keep)
  expected = np.exp(log_probs)
  np.testing.assert_allclose(expected.sum(1), 1.0)
  # Rare and frequent items are both put to the test.
  assert expected[keep].min() * DRAWS > 5
  _close(found.items, expected)
  # What is reported is what they were drawn by.
  np.testing.assert_allclose(
    found.log_probs,
    np.take_along_axis(log_probs, np.asarray(found.items) - 1, 1),
    atol=1e-5,
  )
  assert found.num_found.tolist() == [DRAWS, DRAWS]


def test_a_temperature_is_what_choices_are_divided_by(catalogs, trie, writer):
  """The softmax of each choice, not of whole titles."""
  found = _draw(DRAWS, 2.0, "open")(writer, trie, jax.random.key(1), {})
  half = np.asarray(writer.table) / 2.0
  _close(found.items, np.exp(catalogs.log_probs(half, TITLES, "closed")))
  # Likelihoods are the network's own all the same.
  log_probs = catalogs.log_probs(writer.table, TITLES, "open")
  np.testing.assert_allclose(
    found.log_probs,
    np.take_along_axis(log_probs, np.asarray(found.items) - 1, 1),
    atol=1e-5,
  )


def test_scores_of_items_draw_prefixes_to_where_they_are(catalogs, trie):
  """Of a network to which all is alike, draws are the softmax of the scores.

  But for the number of ways on, which the closed probability divides by.
  """
  titles = [[2, 1], [3, 1], [4, 1], [5, 1]]
  flat = catalogs.writer(
    np.zeros((1, catalogs.vocab, catalogs.vocab), np.float32)
  )
  tables = catalog_trie.CatalogTrie.build(
    titles, eos_id=catalogs.eos, vocab_size=catalogs.vocab
  )
  scores = np.float32([[0.0, 1.0, 2.0, -1.0]])
  found = _draw(DRAWS)(
    flat, tables, jax.random.key(2), {"item_scores": scores, "item_weight": 0.7}
  )
  weights = np.exp(0.7 * scores.astype(np.float64))
  _close(found.items, weights / weights.sum())


def test_greedy_takes_the_likeliest_token_each_time(catalogs, trie, writer):
  greedy = _draw(1, 0.0)(writer, trie, None, {})
  table = np.asarray(writer.table)
  for row, item in enumerate(np.asarray(greedy.items)[:, 0]):
    left, depth, before = list(range(len(TITLES))), 0, 0
    while len(left) > 1:
      tokens = sorted({TITLES[i][depth] for i in left})
      before = max(tokens, key=lambda token: table[row, before, token])
      left = [i for i in left if TITLES[i][depth] == before]
      depth += 1
    assert item == left[0] + 1
  # Draws come to the same where there is next to no chance.
  cold = _draw(8, 1e-4)(writer, trie, jax.random.key(3), {})
  assert (np.asarray(cold.items) == np.asarray(greedy.items)).all()


def test_draws_belong_to_a_row_and_its_place(trie, writer):
  both = np.asarray(_ask(writer, trie, 4).items)
  np.testing.assert_array_equal(_ask(writer, trie, 4).items, both)
  other = type(writer)(writer.table.at[1].mul(-1.0))
  again = np.asarray(_ask(other, trie, 4).items)
  np.testing.assert_array_equal(again[0], both[0])
  assert (again[1] != both[1]).any()
  # The same row at another place, and under another key, has other draws.
  same = type(writer)(writer.table[np.array([0, 0])])
  first, second = np.asarray(_ask(same, trie, 4).items)
  assert (first != second).any()
  assert (np.asarray(_ask(writer, trie, 5).items) != both).any()


def test_nothing_is_drawn_where_nothing_is_allowed(trie, writer):
  keep = np.zeros((2, len(TITLES)), bool)
  keep[1, 4] = True
  found = _ask(writer, trie, 6, keep)
  assert found.num_found.tolist() == [0, DRAWS]
  assert not np.asarray(found.items)[0].any()
  assert (np.asarray(found.log_probs)[0] == -np.inf).all()
  assert (np.asarray(found.items)[1] == 5).all()
  np.testing.assert_allclose(found.log_probs[1], 0.0, atol=1e-6)


def test_chance_needs_a_key_and_a_temperature_at_least_0(trie, writer):
  with pytest.raises(ValueError, match=r"no rng to draw with; give one"):
    _draw(4)(writer, trie, None, {})
  with pytest.raises(ValueError, match=r"temperature -1.0; expected at least"):
    _draw(4, -1.0)(writer, trie, jax.random.key(0), {})
