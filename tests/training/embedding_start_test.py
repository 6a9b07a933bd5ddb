"""Embeddings that start from what occurs with what."""

import numpy as np
import pytest

from instructrec.training import embedding_start

# Two groups of items whose users never meet; titles say the group.
NUM_ITEMS, PIECES = 40, 12


def make_sequences(seed=0):
  rng = np.random.default_rng(seed)
  return [
    rng.permutation(np.arange(1, 21) + 20 * (user % 2))[:8].astype(np.int32)
    for user in range(120)
  ]


def make_titles():
  """Piece 2 stands for the first group, 3 for the second, others for items."""
  tokens = np.zeros((NUM_ITEMS + 1, 3), np.int32)
  tokens[1:21, 0], tokens[21:, 0] = 2, 3
  tokens[1:, 1] = 4 + np.arange(NUM_ITEMS) % 6
  return tokens


@pytest.fixture(scope="module")
def start():
  return embedding_start.from_cooccurrence(
    make_sequences(), make_titles(), width=6, vocab_size=PIECES
  )


def cosine(a, b):
  return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_items_of_one_group_lie_nearer_than_items_of_two(start):
  items = start.items[1:] / np.linalg.norm(start.items[1:], axis=1)[:, None]
  alike = items @ items.T
  within = (alike[:20, :20].mean() + alike[20:, 20:].mean()) / 2
  assert within > alike[:20, 20:].mean() + 0.5


def test_pieces_lie_with_the_items_that_they_name(start):
  first, second = start.items[1:21].mean(0), start.items[21:].mean(0)
  assert cosine(start.pieces[2], first) > 0.9
  assert cosine(start.pieces[3], second) > 0.9
  assert cosine(start.pieces[2], second) < 0.5


def test_pieces_of_no_title_start_as_they_were(start):
  np.testing.assert_array_equal(start.pieces[[0, 1, 10, 11]], 0.0)


def test_scale_and_seed(start):
  used = np.abs(start.items).sum(1) > 0
  assert start.items[used].std() == pytest.approx(0.3, rel=1e-5)
  again = embedding_start.from_cooccurrence(
    make_sequences(), make_titles(), width=6, vocab_size=PIECES, seed=0
  )
  np.testing.assert_array_equal(start.items, again.items)


def test_a_weighted_count_by_hand():
  # 1 2 3: distance 1 between neighbours, 2 between the ends.
  found = embedding_start._cooccurrence([np.array([1, 2, 3])], 4).toarray()
  counts = np.array([[0, 1, 0.5], [1, 0, 1], [0.5, 1, 0]])
  totals = counts.sum(1)
  contexts = totals**0.75 / (totals**0.75).sum()
  expected = np.log1p(counts / (5 * totals[:, None] * contexts[None]))
  np.testing.assert_allclose(found[1:, 1:], expected, rtol=1e-6)


def test_parameters_get_them(start):
  params = {
    "token_embedder": {"embedding": np.ones((PIECES, 6))},
    "title_matching": {
      "item_embedding": np.zeros((NUM_ITEMS + 1, 6)),
      "factors": np.zeros(2),
    },
    "decoder": {},
  }
  found = start.apply(params)
  np.testing.assert_allclose(
    found["token_embedder"]["embedding"], 0.3 + start.pieces, rtol=1e-6
  )
  np.testing.assert_array_equal(
    found["title_matching"]["item_embedding"], start.items
  )
  assert found.keys() == params.keys()


def test_too_few_items_and_no_pairs_are_errors():
  with pytest.raises(ValueError, match="at least 40 items"):
    embedding_start.from_cooccurrence(
      make_sequences(), make_titles()[:20], width=39, vocab_size=PIECES
    )
  with pytest.raises(ValueError, match="no two items"):
    embedding_start.from_cooccurrence(
      [np.array([4])], make_titles(), width=6, vocab_size=PIECES
    )
