"""Methods on the same requests: what is equal, what chance is, what fits."""

import numpy as np
import pytest

from instructrec.evaluation import evaluate, facts, intervals


def test_equal_methods_have_no_difference():
  scores = np.random.default_rng(7).normal(size=(211, 10))
  same = evaluate.from_scores(
    "g",
    {"a": scores, "b": 2 * scores},
    np.arange(211) % 10,
    request_ids=[str(i) for i in range(211)],
    num_resamples=300,
  )
  for gap in same.differences:
    assert gap.interval == intervals.Interval(0.0, 0.0, 0.0)
    assert not gap.is_outside


def test_lists_of_several_lengths_have_a_chance_of_their_own():
  where = np.arange(6) < np.array([[2], [6]])
  mixed = evaluate.from_scores(
    "g",
    {"flat": np.zeros((2, 6))},
    np.array([1, 4]),
    request_ids=["a", "b"],
    where=where,
    num_resamples=20,
  )
  assert mixed.num_candidates == (2, 6)
  assert mixed.chance["HR@1"] == pytest.approx((1 / 2 + 1 / 6) / 2)
  np.testing.assert_allclose(mixed.expected_ranks["flat"], [1.5, 3.5])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"scores": {}}, "g: there are no methods"),
    (
      {"labels": np.zeros(0, int), "request_ids": []},
      "g: there are no requests",
    ),
    ({"request_ids": ["a"]}, "g: there are 1 request ids and 2 labels"),
    (
      {"scores": {"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}},
      r"'b': \(2, 4\).*the same candidates",
    ),
    ({"descriptions": {"z": "?"}}, r"descriptions of \['z'\]"),
  ],
)
def test_what_does_not_fit_together_is_named(changes, message):
  arguments = {
    "scores": {"a": np.zeros((2, 3))},
    "labels": np.zeros(2, int),
    "request_ids": ["a", "b"],
    **changes,
  }
  with pytest.raises(ValueError, match=message):
    evaluate.from_scores("g", **arguments)


def test_labels_are_the_places_of_the_targets():
  known = facts.Facts.of(
    targets=["a", "b"],
    candidates=[["a", "b"], ["a", "b"]],
    target_counts=np.zeros(2, int),
    history_lengths=np.zeros(2, int),
  )
  arguments = {"request_ids": ["q", "r"], "known": known, "num_resamples": 5}
  scores = {"m": np.zeros((2, 2))}
  found = evaluate.from_scores("g", scores, np.array([0, 1]), **arguments)
  assert [split.counts for split in found.breakdowns] == [[1, 1], [2], [2], [2]]
  with pytest.raises(ValueError, match="g: the labels are not the places"):
    evaluate.from_scores("g", scores, np.array([1, 1]), **arguments)


def by_users(users, count=200):
  rng = np.random.default_rng(11)
  scores = rng.normal(size=(count, 6))
  labels = rng.integers(0, 6, count)
  return evaluate.from_scores(
    "g",
    {"a": scores},
    labels,
    request_ids=[str(i) for i in range(count)],
    known=facts.Facts.of(
      targets=[f"i{label}" for label in labels],
      candidates=[[f"i{j}" for j in range(6)]] * count,
      target_counts=np.ones(count, int),
      history_lengths=np.ones(count, int),
      users=users,
    ),
    num_resamples=200,
  )


def test_users_with_several_requests_are_drawn_whole():
  alone = by_users([f"u{i}" for i in range(200)])
  assert (alone.num_users, alone.is_clustered) == (200, False)
  unknown = by_users(None)
  assert (unknown.num_users, unknown.is_clustered) == (None, False)
  assert unknown.methods == alone.methods
  shared = by_users([f"u{i // 10}" for i in range(200)])
  assert (shared.num_users, shared.is_clustered) == (20, True)
  assert shared.methods["a"]["HR@1"] != alone.methods["a"]["HR@1"]
  assert shared.methods["a"]["HR@1"].mean == alone.methods["a"]["HR@1"].mean
  (other, same) = (
    r.breakdowns[-1].errors["a"]["HR@1"] for r in (shared, alone)
  )
  assert other != same
  with pytest.raises(ValueError, match="users are of 1 requests, expected 200"):
    by_users(["u"])
