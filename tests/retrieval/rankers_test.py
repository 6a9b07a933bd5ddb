"""The two baselines that read no history."""

import numpy as np
import polars as pl
import pytest

from instructrec.data import request, synthetic
from instructrec.retrieval.methods import popularity, random_ranker


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
  rare = log.frame.filter(pl.col("item_id") != "i3")
  ranker = popularity.Popularity().fit(type(log)(rare), items)
  scores = ranker.score(requests(["i0", "i1", "i3"], ["i2"]))
  counts = log.frame["item_id"].to_list()
  np.testing.assert_array_equal(
    scores,
    [
      [counts.count("i0"), counts.count("i1"), 0],
      [counts.count("i2"), -np.inf, -np.inf],
    ],
  )


def test_popularity_counts_only_what_training_may_see(shop):
  log, items = shop
  early = type(log)(log.frame.head(40))
  scores = (
    popularity.Popularity().fit(early, items).score(requests(items.item_ids))
  )
  assert scores.sum() == 40


def test_fitting_again_forgets(shop):
  log, items = shop
  twice = popularity.Popularity().fit(log, items).fit(log, items)
  once = popularity.Popularity().fit(log, items)
  asked = requests(items.item_ids)
  np.testing.assert_array_equal(twice.score(asked), once.score(asked))


def test_random_scores_do_not_depend_on_order_or_batch(shop):
  log, items = shop
  ranker = random_ranker.Random(seed=3).fit(log, items)
  both = ranker.score(requests(["i0", "i1", "i2"], ["i0", "i1", "i2"]))
  alone = ranker.score(requests(["i2", "i0", "i1"]))
  np.testing.assert_array_equal(alone[0], both[0][[2, 0, 1]])
  assert (both[0] != both[1]).all()
  other = random_ranker.Random(4).fit(log, items)
  assert (other.score(requests(["i0", "i1", "i2"])) != both[0]).all()


def test_the_random_baseline_is_uniform_and_at_chance(shop):
  log, items = shop
  many = requests(*[items.item_ids[:10]] * 3000)
  scores = random_ranker.Random(1).fit(log, items).score(many)
  assert len(np.unique(scores)) == scores.size
  assert scores.min() >= 0
  assert scores.max() < 1
  assert scores.mean() == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / 30_000))
  greater = (scores > scores[:, :1]).sum(1)
  # Every rank has 300 requests, give or take five standard deviations.
  counts = np.bincount(greater, minlength=10)
  assert np.abs(counts - 300).max() < 5 * np.sqrt(3000 * 0.1 * 0.9)


def test_a_request_and_an_item_of_one_name_do_not_cancel(shop):
  log, items = shop
  ranker = random_ranker.Random(0).fit(log, items)
  asked = [
    request.RankingRequest(name, "u", (), (name,)) for name in ("i0", "i1")
  ]
  scores = ranker.score(asked)[:, 0]
  assert scores[0] != scores[1]
