"""Scores of candidate trees are those of the plain lists."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.scoring import candidate_scores, candidate_tree

INPUTS = [[5, 9, 4, 1], [7, 3, 12, 30, 8, 1], [2, 1]]
CANDIDATES = [
  [[4, 9, 1], [4, 9, 8, 1], [2, 3, 4, 1], [4, 9, 1]],
  [[8, 1], [8, 30, 1]],
  [[6], [6, 7], [6, 7, 1, 9, 1]],
]


@pytest.fixture(scope="module", name="batch")
def batch_fixture(make_batch):
  return make_batch(INPUTS, CANDIDATES)


def tree_of(batch, nodes_length):
  return candidate_tree.to_features(
    batch["encoder_input_tokens"], batch["decoder_target_tokens"], nodes_length
  )


def test_number_of_nodes_counts_distinct_prefixes(batch):
  expected = [
    len({tuple(c[:t]) for c in row for t in range(len(c))})
    for row in CANDIDATES
  ]
  found = candidate_tree.num_nodes(batch["decoder_target_tokens"])
  assert found.tolist() == expected


def test_nodes_spell_the_prefixes(batch):
  tree = tree_of(batch, 12)
  ends, tokens = tree["decoder_subtree_ends"], tree["decoder_input_tokens"]
  for b, row in enumerate(CANDIDATES):
    for c, candidate in enumerate(row):
      for t in range(len(candidate)):
        node = tree["decoder_target_nodes"][b, c, t]
        path = [i for i in range(node + 1) if i <= node < ends[b, i]]
        assert tree["decoder_positions"][b, path].tolist() == list(range(t + 1))
        assert tokens[b, path].tolist() == [0, *candidate[:t]]


@pytest.mark.parametrize(
  ("scan_layers", "normalization", "nodes_length"),
  [(False, "sum", 7), (True, "mean", 16)],
)
def test_scores_are_those_of_lists(
  batch, make_setup, tiny_config, scan_layers, normalization, nodes_length
):
  config = dataclasses.replace(
    tiny_config, scan_layers=scan_layers, num_decoder_layers=2
  )
  setup = make_setup(config, score_normalization=normalization)
  score = jax.jit(setup.model.score_batch, static_argnums=2)
  plain, parts = score(setup.params, batch, True)
  tree, tree_parts = score(setup.params, tree_of(batch, nodes_length), True)
  np.testing.assert_allclose(tree, plain, atol=1e-5)
  for name in ("token_scores", "target_tokens", "loss_weights"):
    np.testing.assert_allclose(
      tree_parts["decoder"][name][0], parts["decoder"][name][0], atol=1e-5
    )


def test_equal_candidates_have_equal_scores(batch, tiny):
  scores = jax.jit(tiny.model.score_batch)(tiny.params, tree_of(batch, 7))
  assert scores[0, 0] == scores[0, 3]


def test_logits_in_chunks_give_the_same_scores(monkeypatch):
  key = jax.random.key(0)
  hidden = jax.random.normal(key, (2, 7, 4))
  table = jax.random.normal(key, (4, 11))
  nodes = jax.random.randint(key, (2, 3, 5), 0, 7)
  targets = jax.random.randint(key, (2, 3, 5), 0, 11)
  weights = jnp.ones(targets.shape)

  def scores(rows):
    monkeypatch.setattr(candidate_scores, "LOGITS_ROWS", rows)
    return candidate_scores.tree_token_scores(
      lambda x: x @ table, hidden, nodes, targets, weights
    )

  logits = (hidden @ table)[np.arange(2)[:, None, None], nodes]
  expected = candidate_scores.token_scores(logits, targets, weights)
  for rows in (1, 4, 5, 100):
    np.testing.assert_allclose(scores(rows), expected, rtol=1e-5)


def test_too_small_trees_are_named(batch):
  with pytest.raises(ValueError, match="has 7 distinct prefixes, expected at"):
    tree_of(batch, 6)


def test_trees_are_not_for_training(batch, tiny):
  with pytest.raises(ValueError, match="candidate trees are for score_batch"):
    tiny.model.loss_fn(tiny.params, tree_of(batch, 9), None)


@pytest.mark.parametrize(
  ("key", "shape", "message"),
  [
    ("decoder_positions", None, "but lacks decoder_positions"),
    ("decoder_positions", (3, 4), r"expected \[batch, nodes\]"),
    ("decoder_target_nodes", (3, 4), r"decoder_target_nodes has the shape"),
  ],
)
def test_bad_trees_are_named(batch, key, shape, message):
  tree = tree_of(batch, 9)
  if shape is None:
    del tree[key]
  else:
    tree[key] = np.zeros(shape, np.int32)
  with pytest.raises(ValueError, match=message):
    candidate_scores.check_batch(tree)


def test_long_lists_are_split_into_small_trees():
  rng = np.random.default_rng(0)
  targets = rng.integers(2, 5, (200, 6))
  targets[np.arange(6) >= rng.integers(1, 7, 200)[:, None]] = 0
  groups = candidate_tree.split(targets, most_nodes=40, most_candidates=25)
  assert sorted(np.concatenate(groups).tolist()) == list(range(200))
  sizes = [int(candidate_tree.num_nodes(targets[g][None])[0]) for g in groups]
  assert max(sizes) <= 40
  assert max(map(len, groups)) <= 25
  # Of neighbouring groups, the second would not have fitted into the first.
  for one, other in itertools.pairwise(groups):
    joined = np.append(one, other[0])
    nodes = int(candidate_tree.num_nodes(targets[joined][None])[0])
    assert nodes > 40 or len(joined) > 25


def test_several_trees_share_an_encoder_row(batch, tiny):
  tree = tree_of(batch, 7)
  del tree["encoder_input_tokens"]
  score = jax.jit(tiny.model.score_batch)
  twice = {key: np.concatenate([x[:2], x[1:]]) for key, x in tree.items()}
  inputs = batch["encoder_input_tokens"][:2]
  scores = score(tiny.params, {"encoder_input_tokens": inputs, **twice})
  alone = score(
    tiny.params, {"encoder_input_tokens": np.repeat(inputs, 2, 0), **twice}
  )
  np.testing.assert_allclose(scores, alone, atol=1e-5)
