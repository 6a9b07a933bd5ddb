"""Mixing two rankers' scores."""

import numpy as np
import pytest
import scipy.stats

from instructrec.retrieval import fusion

RNG = np.random.default_rng(4)


def test_z_scores_are_those_of_scipy_within_each_list():
  scores = RNG.normal(3, 7, (20, 9))
  np.testing.assert_allclose(
    fusion.standardize(scores), scipy.stats.zscore(scores, axis=1), atol=1e-12
  )
  padded = np.concatenate([scores, np.full((20, 2), -np.inf)], axis=1)
  found = fusion.standardize(padded)
  np.testing.assert_allclose(found[:, :9], fusion.standardize(scores))
  assert (found[:, 9:] == -np.inf).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -1e12, 1e-300])
def test_equal_scores_say_nothing(value):
  found = fusion.standardize(np.full((2, 7), value))
  np.testing.assert_array_equal(found, 0.0)


def test_units_of_the_scores_do_not_matter():
  first, second = RNG.normal(size=(2, 30, 12))
  expected = fusion.fuse(first, second, 0.3)
  found = fusion.fuse(first * 1e4 - 7, second / 50 + 3, 0.3)
  np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_ends_are_the_rankers_themselves():
  first, second = RNG.normal(size=(2, 30, 12))
  # What one ranker cannot score is no matter where it does not count.
  first[:, 0], second[:, 1] = -np.inf, np.nan
  for weight, scores in ((0, first), (1, second)):
    order = np.argsort(-fusion.fuse(first, second, weight), axis=1)
    np.testing.assert_array_equal(order, np.argsort(-scores, axis=1))
  with pytest.raises(ValueError, match=r"weight is 1\.5"):
    fusion.fuse(first, second, 1.5)


def search(first, second, labels):
  found = fusion.WeightSearch()
  where = np.isfinite(first)
  for part in np.array_split(np.arange(len(labels)), 3):
    found.add(first[part], second[part], labels[part], where[part])
  return found.best


def test_the_weight_goes_to_who_knows_more():
  labels = RNG.integers(0, 12, 600)
  truth = np.eye(12)[labels]
  noise = RNG.normal(size=(3, 600, 12))
  good, poor, none = truth * 2 + noise[0], truth + noise[1], noise[2]
  assert search(none, good, labels) > 0.8
  assert search(good, none, labels) < 0.2
  assert 0.1 < search(good, poor, labels) < 0.6


def test_lists_without_their_target_do_not_count():
  labels = RNG.integers(0, 12, 200)
  first, second = RNG.normal(size=(2, 200, 12))
  expected = search(first, second, labels)
  more = np.concatenate([labels, np.full(50, -1)])
  extra = RNG.normal(size=(2, 50, 12))
  found = search(
    np.concatenate([first, extra[0]]), np.concatenate([second, extra[1]]), more
  )
  assert found == expected


def test_of_equal_weights_the_first_rankers_is_taken():
  scores = RNG.normal(size=(50, 12))
  assert search(scores, scores, RNG.integers(0, 12, 50)) == 0
