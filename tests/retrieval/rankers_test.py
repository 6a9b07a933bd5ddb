import numpy as np
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
