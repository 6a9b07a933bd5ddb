"""Lists before and after, request by request."""

import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import before_after, promotion
from instructrec.evaluation.control import Direction

NAN = np.nan
# Two users with a plain row, a wanted and an unwanted one each.
DIRECTIONS = np.array(
  [Direction.PLAIN] * 2 + [Direction.WANTED] * 2 + [Direction.UNWANTED] * 2
)
BEFORE = {
  "TCP": np.array([NAN, NAN, 0.2, 0.4, 0.5, 0.5]),
  "NDCG@10": np.array([1.0, 0.0, 0.5, 0.0, 0.0, 0.0]),
}
AFTER = {
  "TCP": np.array([NAN, NAN, 0.4, 0.6, 0.3, 0.5]),
  "NDCG@10": np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.5]),
}
SIDES = before_after.BeforeAfter(
  groups={
    "plain": np.array([0, 1]),
    "wanted": np.array([2, 3]),
    "unwanted": np.array([4, 5]),
  },
  directions=DIRECTIONS,
  clusters=["u", "v"] * 3,
  before={"model": BEFORE},
  after={"model": AFTER},
  num_resamples=50,
)


def test_a_change_is_of_the_requests_that_have_the_metric():
  wanted = before_after.Measure("x", "model", "TCP", Direction.WANTED)
  found = SIDES.change(wanted, 0.95)
  assert (found.before, found.after) == pytest.approx((0.3, 0.5))
  assert found.difference.low == pytest.approx(0.2)
  assert found.is_better
  assert found.num_requests == 2
  every = SIDES.change(before_after.Measure("x", "model", "TCP"), 0.95)
  assert every.num_requests == 4
  unwanted = before_after.Measure(
    "x", "model", "TCP", Direction.UNWANTED, higher_is_better=False
  )
  assert SIDES.change(unwanted, 0.95).gain.mean == pytest.approx(0.1)


def test_there_is_no_change_of_what_nobody_was_asked():
  for measure in (
    before_after.Measure("x", "model", "TCP", Direction.ABOUT),
    before_after.Measure("x", "state vector", "TCP"),
  ):
    assert SIDES.change(measure, 0.95) is None


def test_what_is_lost_on_one_side_is_no_number():
  """And refused, instead of being left out."""
  broken = {"model": {**AFTER, "TCP": np.full(6, NAN)}}
  found = dataclasses.replace(SIDES, after=broken).change(
    before_after.Measure("x", "model", "TCP"), 0.95
  )
  assert not found.is_known
  accuracy = SIDES.change(before_after.Measure("y", "model", "NDCG@10"), 0.95)
  assert not promotion.decide([found], [accuracy]).promoted


def test_a_group_has_both_means_and_their_paired_difference():
  found = SIDES.compared("unwanted", "model")
  assert list(found) == ["TCP", "NDCG@10"]
  tcp = found["TCP"]
  assert (tcp.before.mean, tcp.after.mean) == pytest.approx((0.5, 0.4))
  gap = tcp.difference
  assert (gap.method, gap.reference) == ("after", "before")
  assert gap.interval.mean == pytest.approx(-0.1)
  assert (gap.num_better, gap.num_worse) == (0, 1)
  # Plain rows wish for nothing.
  assert list(SIDES.compared("plain", "model")) == ["NDCG@10"]


def test_both_sides_have_the_same_methods():
  with pytest.raises(ValueError, match="expected the same methods"):
    dataclasses.replace(SIDES, after={"model, free": AFTER})


def test_mistakes_are_all_that_is_wrong():
  names = ("TooMany", "TooFew", "NonExist", "RepeatItem", "InHistory")
  columns = {name: np.array([1.0, 2.0]) for name in (*names, "EmptyEntry")}
  found = before_after.with_mistakes(columns)["mistakes"]
  np.testing.assert_array_equal(found, [5.0, 10.0])
