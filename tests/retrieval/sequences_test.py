"""Padding, widths and batches of sequences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.retrieval import sequences


def test_the_newest_items_are_kept_and_padding_ends_a_row():
  rows = [np.array([4, 0, 2]), np.array([7]), np.zeros(0, np.int64)]
  np.testing.assert_array_equal(
    sequences.pad(rows, 2), [[1, 3], [8, 0], [0, 0]]
  )


@pytest.mark.parametrize("longest", [1, 2, 5, 50, 51])
def test_widths_grow_by_a_half_at_most(longest):
  widths = sequences.widths(longest)
  assert widths[-1] == longest
  assert all(a < b <= 1.5 * a for a, b in itertools.pairwise(widths))


@settings(max_examples=60, deadline=None)
@given(
  lengths=st.lists(st.integers(1, 20), max_size=40),
  max_length=st.integers(2, 12),
  batch_slots=st.integers(1, 40),
  seed=st.integers(0, 99),
)
def test_an_epoch_has_every_sequence_once(
  lengths, max_length, batch_slots, seed
):
  # Sequence i is i, i, i ...
  rows = [np.full(n, i) for i, n in enumerate(lengths)]
  found = []
  for batch in sequences.batches(
    rows,
    max_length=max_length,
    batch_slots=batch_slots,
    rng=np.random.default_rng(seed),
  ):
    count, width = batch.shape
    assert width in sequences.widths(max_length)
    assert count == max(1, batch_slots // width)
    for row in batch:
      known = row[row > 0]
      assert (row[: len(known)] > 0).all()
      if len(known):
        (token,) = set(known.tolist())
        assert len(known) == min(lengths[token - 1], max_length)
        found.append(token - 1)
  assert sorted(found) == list(range(len(lengths)))


def test_the_order_is_a_function_of_the_seed():
  rows = [np.full(3, i) for i in range(50)]

  def epoch(seed):
    rng = np.random.default_rng(seed)
    batches = sequences.batches(rows, max_length=4, batch_slots=8, rng=rng)
    return np.concatenate(list(batches))

  np.testing.assert_array_equal(epoch(1), epoch(1))
  assert (epoch(1) != epoch(2)).any()
