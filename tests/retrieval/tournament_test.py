"""Tournaments against one pass, and with a ranker that reads whole lists."""

import math

import numpy as np
import pytest

from instructrec.data import candidates, request
from instructrec.retrieval import ranker, tournament


def requests_of(count, length):
  items = tuple(f"i{n}" for n in range(length))
  return [
    request.RankingRequest(f"r{n}", f"u{n}", (), items) for n in range(count)
  ]


class ByItem:
  """Scores each candidate by itself, and keeps what it was asked."""

  name = "by item"

  def __init__(self, seed=0):
    self.seed = seed
    self.lists = []

  def score(self, requests):
    self.lists += [r.candidates for r in requests]
    return ranker.pad(
      [
        candidates.pair_uniforms([r.request_id], list(r.candidates), self.seed)[
          0
        ].tolist()
        for r in requests
      ]
    )


@pytest.mark.parametrize(
  ("length", "lists"), [(7, 1), (10, 1), (11, 3), (100, 11), (101, 14)]
)
def test_the_winner_is_that_of_one_pass(length, lists):
  """And the last ten stand in the order of one pass over them."""
  requests = requests_of(40, length)
  inner = ByItem()
  games = tournament.Tournament(inner)
  found = games.score(requests)
  direct = ByItem().score(requests)
  assert found.argmax(1).tolist() == direct.argmax(1).tolist()
  assert games.num_lists == len(inner.lists) == 40 * lists
  assert max(map(len, inner.lists)) <= 10
  for places, scores in zip(found, direct, strict=True):
    (last,) = np.nonzero(places >= 0)
    assert 1 < len(last) <= 10
    order = last[np.argsort(-places[last])]
    assert (np.diff(scores[order]) < 0).all()
    assert sorted(places[last].tolist()) == list(range(len(last)))


def test_of_each_group_one_goes_on():
  inner = ByItem()
  (r,) = requests_of(1, 100)
  places = tournament.Tournament(inner).score([r])[0]
  groups, (final,) = inner.lists[:-1], inner.lists[-1:]
  assert sorted(i for group in groups for i in group) == sorted(r.candidates)
  assert [len(group) for group in groups] == [10] * 10
  for group in groups:
    assert len(set(group) & set(final)) == 1
  out = [p for i, p in zip(r.candidates, places, strict=True) if i not in final]
  assert out == [-1.0] * 90


def test_the_second_of_one_pass_can_be_lost():
  """What a tournament costs: HR@1 is one pass's, HR@3 need not be."""
  requests = requests_of(200, 100)
  places = tournament.Tournament(ByItem()).score(requests)
  second = np.argsort(-ByItem().score(requests), axis=1)[:, 1]
  lost = places[np.arange(200), second] < 0
  # In the group of the first with probability 9 / 99.
  assert abs(lost.mean() - 1 / 11) < 5 * math.sqrt(10 / 121 / 200)


def test_groups_depend_on_the_seed_and_not_on_the_order_of_candidates():
  (r,) = requests_of(1, 100)
  (backwards,) = [
    request.RankingRequest(r.request_id, "u", (), r.candidates[::-1])
  ]

  def groups(wanted, seed):
    inner = ByItem()
    tournament.Tournament(inner, seed=seed).score([wanted])
    return [frozenset(group) for group in inner.lists[:10]]

  assert groups(r, 0) == groups(backwards, 0)
  assert groups(r, 0) != groups(r, 1)


def test_ties_and_nan_do_not_win_by_their_place():
  """A tied scorer's winner is uniform; one score that is no number loses."""

  class Tied:
    name = "tied"

    def score(self, requests):
      found = ranker.pad([[1.0] * len(r.candidates) for r in requests])
      for row, r in zip(found, requests, strict=True):
        if "i0" in r.candidates:
          row[r.candidates.index("i0")] = np.nan
      return found

  requests = requests_of(400, 20)
  places = tournament.Tournament(Tied()).score(requests)
  assert (places[:, 0] == -1).all()
  assert (places.max(1) == 0).all()
  final = (places == 0).mean(0)[1:]
  # Two of twenty go on; five standard errors.
  assert (abs(final - 2 / 19) < 5 * math.sqrt(2 / 19 / 400)).all()


def test_scores_of_one_pass_serve_a_tournament():
  requests = requests_of(20, 100)
  direct = ByItem().score(requests)
  known = tournament.Pointwise("by item", requests, direct)
  games = tournament.Tournament(known)
  assert games.name == "by item (tournament)"
  expected = tournament.Tournament(ByItem()).score(requests)
  np.testing.assert_array_equal(games.score(requests), expected)


def test_a_group_of_one_is_refused():
  with pytest.raises(ValueError, match="group_size is 1"):
    tournament.Tournament(ByItem(), group_size=1)
