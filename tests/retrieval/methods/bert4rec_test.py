"""What BERT4Rec masks."""

import numpy as np
import pytest

from instructrec.retrieval.methods import bert4rec


@pytest.fixture
def model():
  found = bert4rec.BERT4Rec(mask_rate=0.4, max_length=5)
  found._set_items([f"i{i}" for i in range(9)])
  return found


def test_masked_items_are_what_is_predicted(model):
  rng = np.random.default_rng(0)
  lengths = rng.integers(0, 6, 3000)
  tokens = rng.integers(1, 10, (3000, 5))
  tokens[np.arange(5) >= lengths[:, None]] = 0
  masked, slots, targets = model._example(tokens, rng)
  newest_alone = several = 0
  for row, found, at, wanted in zip(
    tokens, masked, slots, targets, strict=True
  ):
    length = (row > 0).sum()
    places = at[wanted > 0]
    assert len(set(places)) == len(places)
    np.testing.assert_array_equal(row[places], wanted[wanted > 0])
    # Masked there and nowhere else, and never in padding.
    expected = row.copy()
    expected[places] = model._mask
    np.testing.assert_array_equal(found, expected)
    assert (places < length).all()
    assert len(places) in {min(1, length), round(0.4 * length)}
    if length == 5:
      newest_alone += len(places) == 1 and places[0] == 4
      several += len(places) == 2
  full = (lengths == 5).sum()
  # Half of them each, give or take five standard deviations.
  assert newest_alone + several == full
  assert abs(several - full / 2) < 5 * np.sqrt(full) / 2
  assert model._mask == 10


def test_the_next_item_is_a_mask_behind_the_newest_ones(model):
  tokens, slots = model._query(
    [np.array([0, 8]), np.arange(7), np.zeros(0, int)]
  )
  np.testing.assert_array_equal(
    tokens, [[1, 9, 10, 0, 0], [4, 5, 6, 7, 10], [10, 0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(slots, [[2], [4], [0]])
