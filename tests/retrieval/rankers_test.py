import dataclasses

import numpy as np
import polars as pl
import pytest

from instructrec.data import request, synthetic
from instructrec.retrieval import popularity, random_ranker


def requests(*lists):
  return [
    request.RankingRequest(f"r{i}", "u", (), tuple(ids))
    for i, ids in enumerate(lists)
  ]


@pytest.fixture(scope="module")
def shop():
  return synthetic.generate(num_users=30, num_items=25)


def test_popularity_counts_the_training_log(shop):
  log, items = shop
  ranker = popularity.Popularity().fit(log, items)
  scores = ranker.score(requests(["i0", "i1", "none"], ["i2"]))
  counts = log.frame["item_id"].to_list()
  np.testing.assert_array_equal(
    scores,
    [
      [counts.count("i0"), counts.count("i1"), 0],
      [counts.count("i2"), -np.inf, -np.inf],
    ],
  )


def test_random_scores_do_not_depend_on_order_or_batch(shop):
  log, items = shop
  ranker = random_ranker.Random(seed=3).fit(log, items)
  both = ranker.score(requests(["a", "b", "c"], ["a", "b", "c"]))
  alone = ranker.score(requests(["c", "a", "b"]))
  np.testing.assert_array_equal(alone[0], both[0][[2, 0, 1]])
  assert (both[0] != both[1]).all()
  assert (random_ranker.Random(4).score(requests(["a"])) != both[0][0]).all()


def test_random_scores_are_uniform():
  many = requests(*[[f"i{j}" for j in range(50)] for _ in range(40)])
  scores = random_ranker.Random(0).score(many).ravel()
  assert scores.min() >= 0
  assert scores.max() < 1
  assert scores.mean() == pytest.approx(0.5, abs=0.03)


def test_popularity_counts_only_what_training_may_see(shop):
  log, items = shop
  frame = log.frame.with_row_index()
  early = type(log)(frame.filter(pl.col("index") < 40).drop("index"))
  scores = (
    popularity.Popularity().fit(early, items).score(requests(items.item_ids))
  )
  assert scores.sum() == 40


def test_items_of_the_same_count_stay_tied(shop):
  log, items = shop
  ranker = popularity.Popularity().fit(log, items)
  scores = ranker.score(requests(["new 1", "new 2"]))
  assert scores.tolist() == [[0.0, 0.0]]


def test_popularity_without_fit_is_an_error():
  with pytest.raises(RuntimeError, match="call fit with the training log"):
    popularity.Popularity().score(requests(["i0"]))


def test_fitting_again_forgets(shop):
  log, items = shop
  twice = popularity.Popularity().fit(log, items).fit(log, items)
  once = popularity.Popularity().fit(log, items)
  asked = requests(items.item_ids)
  np.testing.assert_array_equal(twice.score(asked), once.score(asked))


@pytest.mark.parametrize("make", [popularity.Popularity, random_ranker.Random])
def test_every_ranker_keeps_the_contract(shop, make):
  """What `Ranker.score` promises, whatever the method."""
  log, items = shop
  ids = list(items.item_ids)
  ranker = make().fit(log, items)
  assert isinstance(ranker.name, str)
  asked = requests(ids[:5], ids[3:6], ids[:1])
  scores = ranker.score(asked)
  assert scores.shape == (3, 5)
  assert scores.dtype == np.float64
  assert np.isfinite(scores).sum() == 5 + 3 + 1
  assert (scores[1, 3:] == -np.inf).all()
  order = np.random.default_rng(0).permutation(5)
  shuffled = dataclasses.replace(
    asked[0], candidates=tuple(ids[i] for i in order)
  )
  np.testing.assert_array_equal(ranker.score([shuffled])[0], scores[0][order])
  np.testing.assert_array_equal(ranker.score(asked[::-1])[::-1], scores)
  assert ranker.score([]).shape == (0, 0)


def test_the_random_baseline_is_at_chance():
  many = requests(*[[f"i{j}" for j in range(10)] for _ in range(3000)])
  scores = random_ranker.Random(1).score(many)
  assert len(np.unique(scores)) == scores.size
  greater = (scores > scores[:, :1]).sum(1)
  # Every rank has 300 requests, give or take five standard deviations.
  counts = np.bincount(greater, minlength=10)
  assert np.abs(counts - 300).max() < 5 * np.sqrt(3000 * 0.1 * 0.9)


def test_ids_that_run_together_are_not_mixed_up():
  one = request.RankingRequest("r1", "u", (), ("1a",))
  other = request.RankingRequest("r11", "u", (), ("a",))
  scores = random_ranker.Random(0).score([one, other])
  assert scores[0, 0] != scores[1, 0]
