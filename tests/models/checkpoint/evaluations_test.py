"""Which step is the best, as of whichever one, and since when."""

import math

import pytest

from instructrec import checksums
from instructrec.models.checkpoint import evaluations

RANKS = evaluations.Evaluations(
  "NDCG@10", ((2, 0.3), (4, 0.5), (6, 0.5), (8, 0.4), (10, 0.51), (12, 0.1))
)


def test_of_ranks_the_highest_and_of_losses_the_lowest_is_the_best():
  assert RANKS.best == (10, 0.51)
  loss = evaluations.Evaluations("loss", ((2, 3.0), (4, 1.0), (6, 2.0)))
  assert loss.best == (4, 1.0)
  assert loss.ranked([2, 4, 6]) == [4, 6, 2]


def test_the_first_of_equals_is_the_best_and_no_number_never_is():
  assert evaluations.Evaluations("HR@1", RANKS.values[:4]).best == (4, 0.5)
  odd = evaluations.Evaluations("loss", ((2, math.nan), (4, 9.0)))
  assert odd.best == (4, 9.0)
  assert evaluations.Evaluations("loss", ((2, math.nan),)).best is None


def test_each_step_knows_the_best_one_by_then():
  assert RANKS.best_by([1]) == set()
  assert RANKS.best_by([3]) == {2}
  assert RANKS.best_by([9]) == {4}
  assert RANKS.best_by([9, 11, 12]) == {4, 10}


@pytest.mark.parametrize(
  ("min_delta", "expected"), [(0.0, 1), (0.05, 4), (0.3, 5)]
)
def test_evaluations_without_a_gain_are_counted_from_the_last_one(
  min_delta, expected
):
  assert RANKS.num_without_gain(min_delta) == expected


def test_small_gains_add_up():
  slow = evaluations.Evaluations("HR@1", ((1, 0.1), (2, 0.14), (3, 0.18)))
  assert slow.num_without_gain(0.05) == 0
  assert slow.num_without_gain(0.1) == 2


def test_of_what_is_left_the_best_is_first_and_the_reason_says_so():
  assert RANKS.ranked([1, 4, 6, 8, 12, 13]) == [4, 6, 8, 12, 13, 1]
  assert RANKS.reason(10) == "the best NDCG@10 of validation, 0.51"
  assert "checkpoint_10 is not" in RANKS.reason(4)
  assert "the newest" in RANKS.reason(13)


def test_a_record_comes_back_and_what_is_none_is_refused():
  assert evaluations.Evaluations.from_json(RANKS.to_json(), "x") == RANKS
  good = RANKS.to_json()
  for bad in (
    [],
    {"metric": 3, "values": []},
    {**good, "values": [[2, "0.3"]]},
    {**good, "values": [[4, 0.3], [2, 0.1]]},
    {**good, "values": [[True, 0.3]]},
  ):
    with pytest.raises(checksums.DamagedError, match="x has 'evaluations'"):
      evaluations.Evaluations.from_json(bad, "x")
