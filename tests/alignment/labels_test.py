"""Lists of a retriever under restrictions, worked by hand."""

import itertools

import numpy as np
import pytest

from instructrec.alignment import labels
from instructrec.instructions.draws import Draws

# Items 0 to 7, best first but for 2, which the history has.
RANKING = labels.Ranking(
  np.array([8.0, 7.0, 99.0, 6.0, 5.0, 4.0, 3.0, 3.0]),
  np.arange(8) != 2,
)
ODD = np.arange(8) % 2 == 1


def test_the_best_are_those_that_are_allowed_and_not_of_the_history():
  assert RANKING.best(3) == [0, 1, 3]
  assert RANKING.best(3, ODD) == [1, 3, 5]
  assert RANKING.best(9, ~ODD) == [0, 4, 6]
  # Of equal scores, the catalogue's first.
  assert RANKING.best(7)[-2:] == [6, 7]
  assert RANKING.best(2, np.zeros(8, bool)) == []
  assert (RANKING.pool(), RANKING.pool(ODD), RANKING.pool(~ODD)) == (7, 4, 3)


def test_a_filter_keeps_to_the_numbers_and_takes_the_best_that_do():
  """Against all lists of distinct items that keep to them."""
  # As good as all others together that follow: one list is the best.
  ranking = labels.Ranking(2.0 ** -np.arange(8), RANKING.unseen)
  items = np.flatnonzero(ranking.unseen)
  for k in range(1, 4):
    for low, high in itertools.combinations_with_replacement(range(k + 1), 2):
      kept = [
        found
        for found in itertools.combinations(items.tolist(), k)
        if low <= ODD[list(found)].sum() <= high
      ]
      best = max(kept, key=lambda found: ranking.scores[list(found)].sum())
      assert ranking.best_within(k, ODD, low, high) == sorted(best)
  # None of the odd, and the even ones are three.
  assert ranking.best_within(5, ODD, 0, 0) == [0, 4, 6]


@pytest.mark.parametrize(
  ("target", "k", "expected"),
  [
    (6, 3, [6, 0, 1]),  # Led by the target, wherever it stands.
    (1, 3, [1, 0, 3]),
    (6, 1, [6]),
    (2, 3, [0, 1, 3]),  # A purchase that is repeated is none to show.
  ],
)
def test_a_plain_list_is_the_target_and_the_best_without_it(
  target, k, expected
):
  assert labels.plain(RANKING, target, k) == expected


@pytest.mark.parametrize(
  ("target", "expected"),
  [
    (3, [3, 1, 5]),  # In the list already: moved to the front.
    (7, [1, 3, 5]),  # Allowed, but not in the list: not put there.
    (0, [1, 3, 5]),  # Not allowed.
  ],
)
def test_under_a_restriction_the_target_leads_where_it_is_in_the_list(
  target, expected
):
  assert labels.restricted(RANKING, ODD, target, 3) == expected


def test_a_proportion_is_the_best_of_both_one_kind_behind_the_other():
  first = labels.proportion(RANKING, ODD, 1, 3)
  last = labels.proportion(RANKING, ODD, 1, 3, first=False)
  others = [*RANKING.best(2, ~ODD)]
  assert (first, last) == ([1, *others], [*others, 1])
  assert set(others) == {0, 4}


def test_members_are_drawn_alike_without_the_item():
  pool = np.array([1, 3, 5, 7])
  found = [labels.members(3, pool, 3, Draws(key)) for key in range(3000)]
  for first, *rest in found:
    assert first == 3
    assert len({3, *rest}) == 3
  counts = np.bincount([row[1] for row in found], minlength=8)[[1, 5, 7]]
  assert counts == pytest.approx(np.full(3, 1000), abs=100)


def test_the_next_items_are_new_ones_in_order():
  assert labels.next_items([5, 2, 5, 1, 0], seen=[2, 9]) == [5, 1, 0]


def test_a_sample_is_a_shuffle_cut_short():
  assert sorted(Draws(3).sample(range(5), 5)) == [0, 1, 2, 3, 4]
  assert Draws(3).sample(range(5), 5)[:2] == Draws(3).sample(range(5), 2)
