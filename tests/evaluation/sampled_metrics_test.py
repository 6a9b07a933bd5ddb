"""Ranks among sampled candidates do not order methods as the catalogue does.

Two methods over a catalogue of 10,000 items (Krichene and Rendle, KDD 2020):

- A puts the right item at rank 100, for every request. Nobody who looks at the
  first ten ever sees it.
- B puts it at rank 2 for 15% of the requests, and last for all others.

Over the whole catalogue B wins by any metric of the first ten: its HR@10 is
0.15, A's is 0. Among the target and 99 uniform negatives A wins by far: on
average one negative in a hundred stands ahead of its target, so that its HR@10
is nearly 1, while B's is 0.15 as before. With fewer negatives A wins even at
HR@1. Sampling turns "always among the first 1%" into "always right"; nothing in
the sampled figures, their intervals or tests tells of it, for they are exact
figures of another task. Hence reports say which candidates were ranked, and
`instructrec retrieve evaluate` ranks the whole catalogue, too.
"""

import numpy as np
import pytest

from instructrec.evaluation import evaluate, metrics

ITEMS, REQUESTS, HIT = 10_000, 400, 0.15
TARGET = 0


def scores_with_target_at(ranks, rng):
  """Scores of the whole catalogue: the target at its rank, others anyhow."""
  scores = np.empty((len(ranks), ITEMS))
  for row, rank in zip(scores, ranks, strict=True):
    others = rng.permutation(ITEMS - 1)
    # Of the others, `rank - 1` are above.
    row[1:] = others + 0.5
    row[TARGET] = ITEMS - rank
  return scores


@pytest.fixture(scope="module")
def catalogue():
  rng = np.random.default_rng(0)
  hit = np.arange(REQUESTS) < HIT * REQUESTS
  return {
    "A": scores_with_target_at(np.full(REQUESTS, 100), rng),
    "B": scores_with_target_at(np.where(hit, 2, ITEMS), rng),
  }


def evaluated(scores):
  return evaluate.from_scores(
    "g",
    scores,
    np.zeros(REQUESTS, int),
    request_ids=[str(i) for i in range(REQUESTS)],
    num_resamples=500,
  )


def sampled(catalogue, num_negatives, seed):
  rng = np.random.default_rng(seed)
  negatives = np.stack(
    [
      rng.choice(ITEMS - 1, num_negatives, replace=False) + 1
      for _ in range(REQUESTS)
    ]
  )
  places = np.concatenate([np.full((REQUESTS, 1), TARGET), negatives], axis=1)
  return evaluated(
    {
      name: np.take_along_axis(values, places, axis=1)
      for name, values in catalogue.items()
    }
  )


def test_the_ranks_are_those_of_the_story(catalogue):
  labels = np.zeros(REQUESTS, int)
  for name, ranks in (("A", {100}), ("B", {2, ITEMS})):
    greater, equal = metrics.tied_ranks(catalogue[name], labels)
    assert set(greater + 1) == ranks
    assert set(equal) == {1}


def test_in_the_catalogue_b_wins(catalogue):
  found = evaluated(catalogue)
  assert list(found.methods) == ["B", "A"]
  assert found.methods["A"]["HR@10"].mean == 0
  assert found.methods["B"]["HR@10"].mean == pytest.approx(HIT)
  assert found.methods["B"]["NDCG@10"].mean == pytest.approx(HIT / np.log2(3))
  assert found.difference("B", "A", "HR@10").is_clear
  assert found.difference("B", "A", "NDCG@10").is_clear


def test_among_99_negatives_a_wins(catalogue):
  found = sampled(catalogue, 99, seed=1)
  assert list(found.methods) == ["A", "B"]
  assert found.methods["A"]["HR@10"].mean > 0.99
  assert found.methods["B"]["HR@10"].mean == pytest.approx(HIT)
  for metric in ("HR@1", "HR@10", "NDCG@10", "MRR"):
    assert found.difference("A", "B", metric).is_clear


def test_among_9_negatives_a_is_nearly_always_first(catalogue):
  found = sampled(catalogue, 9, seed=2)
  # None of nine is among the 99 above: 0.9901 ** 9.
  assert found.methods["A"]["HR@1"].mean == pytest.approx(0.914, abs=0.045)
  assert found.methods["B"]["HR@1"].mean == pytest.approx(HIT, abs=0.01)


def test_the_sampled_figures_are_the_expected_ones(catalogue):
  """How many of n negatives are ahead of rank r is hypergeometric."""
  rng = np.random.default_rng(3)
  for num_negatives in (19, 499):
    found = sampled(catalogue, num_negatives, seed=4)
    above = rng.hypergeometric(99, ITEMS - 100, num_negatives, 200_000)
    expected = metrics.from_ranks(above, np.ones(len(above), int))
    for name in ("HR@1", "HR@10", "NDCG@10", "MRR"):
      error = 4 * expected[name].std() / np.sqrt(REQUESTS) + 1e-3
      assert found.methods["A"][name].mean == pytest.approx(
        expected[name].mean(), abs=error
      )
