"""When what a run came to may take the place of what it began with."""

import json

import pytest

from instructrec.evaluation import intervals, promotion

NAN = float("nan")


def change(name, before, gap, low, high, *, higher=True):
  return promotion.Change(
    name=name,
    before=before,
    after=before + gap,
    difference=intervals.Interval(gap, low, high),
    higher_is_better=higher,
    num_requests=100,
  )


RISES = change("CPA", 0.4, 0.1, 0.02, 0.18)
STILL = change("TCP", 0.3, 0.01, -0.02, 0.04)
FEWER = change("mistakes", 4.0, -1.5, -2.0, -1.0, higher=False)
MORE = change("mistakes", 4.0, 1.5, 1.0, 2.0, higher=False)
UNKNOWN = change("CPA", 0.4, NAN, NAN, NAN)
KEPT = change("NDCG@10", 0.05, -0.002, -0.03, 0.02)
LOST = change("NDCG@10", 0.05, -0.003, -0.03, 0.02)
BETTER = change("NDCG@10", 0.05, 0.02, 0.01, 0.03)
NONE_LEFT = change("NDCG@10", 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
  ("control", "accuracy", "promoted", "reason"),
  [
    ([RISES, STILL], [KEPT], True, "CPA 0.400 -> 0.500"),
    ([FEWER, STILL], [BETTER], True, "mistakes 4.000 -> 2.500"),
    ([RISES], [NONE_LEFT], True, "CPA"),
    ([RISES, FEWER], [LOST], False, "6% of it is lost, and 5% may be"),
    ([RISES], [BETTER, LOST], False, "NDCG@10 0.050 -> 0.047"),
    ([STILL], [BETTER], False, "no metric of control is better for certain"),
    ([RISES, MORE], [KEPT], False, "mistakes 4.000 -> 5.500"),
    ([RISES, UNKNOWN], [KEPT], False, "CPA 0.400 -> nan"),
    ([RISES], [change("NDCG@10", NAN, NAN, NAN, NAN)], False, "is no number"),
  ],
)
def test_control_must_rise_and_accuracy_stay(
  control, accuracy, promoted, reason
):
  found = promotion.decide(control, accuracy)
  assert found.promoted is promoted
  assert reason in str(found)
  assert str(found).startswith("promoted: " if promoted else "refused: ")


def test_all_that_speaks_against_it_is_said():
  found = promotion.decide([MORE, STILL], [LOST])
  assert len(found.reasons) == 3


def test_the_share_that_may_be_lost_is_asked_for():
  wide = promotion.Thresholds(max_accuracy_loss=0.1)
  assert promotion.decide([RISES], [LOST], wide).promoted
  none = promotion.Thresholds(max_accuracy_loss=0.0)
  assert not promotion.decide([RISES], [KEPT], none).promoted
  assert promotion.decide([RISES], [BETTER], none).promoted
  with pytest.raises(ValueError, match="a share of at least 0 and below 1"):
    promotion.Thresholds(max_accuracy_loss=1.0)


def test_nothing_is_decided_of_nothing():
  with pytest.raises(ValueError, match="expected some of both"):
    promotion.decide([RISES], [])


def test_intervals_of_several_metrics_hold_together():
  assert promotion.level(1) == pytest.approx(0.95)
  assert promotion.level(4) == pytest.approx(0.9875)


def test_a_decision_is_json():
  found = json.loads(json.dumps(promotion.decide([FEWER], [LOST]).to_json()))
  assert found["promoted"] is False
  assert found["control"][0]["better"] is True
  assert found["accuracy"][0]["difference"]["mean"] == -0.003
  assert found["thresholds"] == {"max_accuracy_loss": 0.05}
  broken = promotion.decide([UNKNOWN], [KEPT]).to_json()
  found = json.loads(json.dumps(broken, allow_nan=False))
  assert found["control"][0]["difference"]["mean"] is None
