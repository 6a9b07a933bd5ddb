"""The search returns what scoring every title returns."""

import dataclasses

import jax
import numpy as np
import pytest

from instructrec.models.generation import title_search, title_trie
from instructrec.models.scoring import candidate_scores

INPUTS = np.array([5, 9, 4, 1, 0, 0], np.int32)
# Titles that are one another's beginnings, equal titles, and single ones.
TITLES = [
  [4, 9, 1],
  [4, 9, 8, 1],
  [4, 9],
  [4],
  [4, 9, 1],
  [30, 1],
  [7, 7, 7, 7, 7, 1],
  [7, 7, 7, 3, 1],
  [4, 9, 8, 1, 1, 2],
]


def random_titles(seed, count=300):
  rng = np.random.default_rng(seed)
  return [
    [*rng.integers(2, 12, rng.integers(1, 7)).tolist(), 1] for _ in range(count)
  ]


def brute_force(setup, titles):
  width = max(map(len, titles))
  targets = np.zeros((1, len(titles), width), np.int32)
  for row, title in enumerate(titles):
    targets[0, row, : len(title)] = title
  shifted = np.roll(targets, 1, axis=-1)
  shifted[..., 0] = 0
  batch = {
    "encoder_input_tokens": INPUTS[None],
    "decoder_input_tokens": shifted,
    "decoder_target_tokens": targets,
    "decoder_loss_weights": targets > 0,
  }
  return np.asarray(jax.jit(setup.model.score_batch)(setup.params, batch))[0]


@pytest.fixture(scope="module", name="setups")
def setups_fixture(make_setup, tiny_config):
  """By normalization; sharper than an untrained network, so that it prunes."""
  made = {}
  for scan_layers, name in ((False, "sum"), (True, "mean")):
    config = dataclasses.replace(
      tiny_config, scan_layers=scan_layers, num_decoder_layers=2
    )
    setup = make_setup(config, score_normalization=name)
    params = jax.tree.map(lambda x: 2.0 * x, setup.params)
    made[name] = dataclasses.replace(setup, params=params)
  return made


@pytest.mark.parametrize("normalization", candidate_scores.NORMALIZATIONS)
@pytest.mark.parametrize("titles", [TITLES, random_titles(0)])
def test_top_is_that_of_brute_force(setups, titles, normalization):
  setup = setups[normalization]
  expected = brute_force(setup, titles)
  trie = title_trie.TitleTrie.build(titles)
  search = title_search.TitleSearch(setup.model, trie)
  for k in (1, 4, len(titles) + 5):
    found = search.top(setup.params, INPUTS, k)
    best = np.argsort(-expected, kind="stable")[:k]
    np.testing.assert_allclose(
      found.scores, expected[best], atol=1e-4, rtol=1e-5
    )
    np.testing.assert_allclose(
      found.scores, expected[found.items], atol=1e-4, rtol=1e-5
    )
    assert len(set(found.items.tolist())) == len(best)
  # All were asked for, so nothing could be left out.
  assert found.num_prefixes == int((np.diff(trie.child_starts) > 0).sum())


def test_equal_titles_tie_in_the_order_of_items(setups):
  setup = setups["sum"]
  trie = title_trie.TitleTrie.build(TITLES)
  search = title_search.TitleSearch(setup.model, trie)
  found = search.top(setup.params, INPUTS, len(TITLES))
  places = found.items.tolist()
  assert places.index(4) == places.index(0) + 1
  assert found.scores[places.index(4)] == found.scores[places.index(0)]


def test_excluded_items_make_room_for_others(setups):
  setup = setups["sum"]
  titles = random_titles(1)
  search = title_search.TitleSearch(
    setup.model, title_trie.TitleTrie.build(titles)
  )
  everything = search.top(setup.params, INPUTS, len(titles)).items
  excluded = np.zeros(len(titles), bool)
  excluded[everything[[0, 2, 3]]] = True
  found = search.top(setup.params, INPUTS, 5, excluded)
  assert found.items.tolist() == everything[[1, 4, 5, 6, 7]].tolist()


def test_the_search_asks_about_few_prefixes(setups):
  setup = setups["sum"]
  titles = random_titles(2, count=2000)
  trie = title_trie.TitleTrie.build(titles)
  found = title_search.TitleSearch(setup.model, trie).top(
    setup.params, INPUTS, 3
  )
  assert found.num_prefixes < len(trie) / 4


def test_k_is_checked(setups):
  setup = setups["sum"]
  search = title_search.TitleSearch(
    setup.model, title_trie.TitleTrie.build(TITLES)
  )
  with pytest.raises(ValueError, match="k is 0, expected at least 1"):
    search.top(setup.params, INPUTS, 0)
