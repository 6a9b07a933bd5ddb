import itertools

import numpy as np
import pytest

from instructrec.evaluation import intervals


def test_small_samples_match_all_resamples():
  """Three requests have 27 equally likely resamples; compare quantiles."""
  values = np.array([0.0, 1.0, 4.0])
  every = np.sort(
    [np.mean(draw) for draw in itertools.product(values, repeat=3)]
  )
  (found,) = intervals.bootstrap(
    values[:, None], seed=0, num_resamples=60_000, level=0.8
  )
  assert found.mean == pytest.approx(5 / 3)
  assert found.low == pytest.approx(every[2])
  assert found.high == pytest.approx(every[24])


def test_every_request_is_drawn_as_often_as_the_others():
  rng = np.random.default_rng(0)
  weights = intervals._weights(rng, 20, 5_000)
  assert (weights.sum(1) == 20).all()
  # The mean of 5,000 draws of a Poisson-like count of variance 0.95.
  assert np.abs(weights.mean(0) - 1).max() < 5 * np.sqrt(0.95 / 5_000)
  assert weights.var() == pytest.approx(1 - 1 / 20, rel=0.05)


def test_chunks_do_not_change_anything(monkeypatch):
  values = np.random.default_rng(0).random((50, 3))
  whole = intervals.bootstrap(values, seed=1, num_resamples=500)
  monkeypatch.setattr(intervals, "_CHUNK_BYTES", 1)
  for one, other in zip(
    whole,
    intervals.bootstrap(values, seed=1, num_resamples=500),
    strict=True,
  ):
    assert one.low == pytest.approx(other.low, abs=1e-12)
    assert one.high == pytest.approx(other.high, abs=1e-12)


def test_a_wider_level_contains_a_narrower_one():
  values = np.random.default_rng(1).random((80, 1))
  (narrow,) = intervals.bootstrap(values, seed=2, level=0.8)
  (wide,) = intervals.bootstrap(values, seed=2, level=0.99)
  assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.63, 1e-9, -7.7])
def test_constants_are_exact(value):
  """Rounding must not put a constant outside its own interval."""
  (found,) = intervals.bootstrap(
    np.full((997, 1), value), seed=0, num_resamples=200
  )
  assert found.low == found.mean == found.high == value


def test_paired_differences_see_what_separate_intervals_hide():
  rng = np.random.default_rng(3)
  hard = rng.random(500)
  values, reference = hard + 0.01, hard + rng.normal(0, 0.01, 500)
  separate = intervals.bootstrap(
    np.stack([values, reference], 1), seed=0, num_resamples=1000
  )
  assert separate[0].low < separate[1].high
  paired = intervals.paired_difference(
    values, reference, seed=0, num_resamples=1000
  )
  assert paired.excludes_zero
  assert paired.mean == pytest.approx((values - reference).mean())


def test_equal_methods_do_not_differ():
  values = np.random.default_rng(4).random(300)
  found = intervals.paired_difference(values, values.copy(), seed=0)
  assert found == intervals.Interval(0.0, 0.0, 0.0)
  assert not found.excludes_zero


def test_the_difference_of_equally_good_methods_rarely_looks_clear():
  """The false-alarm rate of a 95% interval is about 5%."""
  rng = np.random.default_rng(5)
  differences = rng.random((300, 400)) - rng.random((300, 400))
  found = intervals.bootstrap(differences, seed=0, num_resamples=1000)
  assert 0.02 <= np.mean([i.excludes_zero for i in found]) <= 0.09


def test_the_difference_the_other_way_round_is_the_negative():
  rng = np.random.default_rng(6)
  one, other = rng.random(40), rng.random(40)
  found = intervals.paired_difference(one, other, seed=0)
  turned = -intervals.paired_difference(other, one, seed=0)
  assert found.mean == pytest.approx(turned.mean)
  assert found.low == pytest.approx(turned.low)
  assert found.high == pytest.approx(turned.high)


def test_users_that_do_not_repeat_change_nothing():
  values = np.random.default_rng(7).random((60, 2))
  expected = intervals.bootstrap(values, seed=1, num_resamples=300)
  users = [f"u{i}" for i in range(60)]
  found = intervals.bootstrap(values, seed=1, num_resamples=300, clusters=users)
  assert found == expected


def test_clusters_match_all_resamples():
  """Two users with one and two requests: four equally likely resamples."""
  values = np.array([[0.0], [1.0], [4.0]])
  (found,) = intervals.bootstrap(
    values, seed=0, num_resamples=4000, clusters=["a", "b", "b"], level=0.8
  )
  # (a, a) 0; (a, b) and (b, a) 5/3; (b, b) 5/2.
  assert found.mean == pytest.approx(5 / 3)
  assert (found.low, found.high) == (0, 2.5)


def test_copies_of_a_request_add_no_certainty():
  values = np.random.default_rng(8).random((100, 1))
  (once,) = intervals.bootstrap(values, seed=0)
  copies = np.repeat(values, 5, axis=0)
  (narrow,) = intervals.bootstrap(copies, seed=0)
  (honest,) = intervals.bootstrap(
    copies, seed=0, clusters=np.repeat(np.arange(100), 5)
  )
  assert honest.low == pytest.approx(once.low)
  assert honest.high == pytest.approx(once.high)
  assert narrow.high - narrow.low < 0.6 * (once.high - once.low)


def test_intervals_over_users_cover_as_often_as_they_say():
  """Where users differ, intervals over requests miss the mean too often."""
  rng = np.random.default_rng(9)
  users = np.repeat(np.arange(40), 8)
  taste = rng.normal(0, 1, (40, 300))
  values = taste[users] + rng.normal(0, 1, (320, 300))
  options = {"seed": 0, "num_resamples": 500}
  honest = intervals.bootstrap(values, clusters=users, **options)
  narrow = intervals.bootstrap(values, **options)
  assert np.mean([i.excludes_zero for i in honest]) < 0.11
  assert np.mean([i.excludes_zero for i in narrow]) > 0.3


def test_clusters_are_of_the_requests():
  with pytest.raises(
    ValueError, match="clusters are of 2 requests, expected 3"
  ):
    intervals.bootstrap(np.zeros((3, 1)), seed=0, clusters=["a", "b"])


@pytest.mark.parametrize(
  ("values", "changes", "message"),
  [
    (np.zeros(3), {}, r"shape \(3,\), expected \[requests, metrics\]"),
    (np.array([[0.0, 1.0], [0.0, np.inf]]), {}, "column 1 of request 1 is inf"),
    (np.zeros((3, 1)), {"level": 95}, "level is 95"),
    (np.zeros((3, 1)), {"num_resamples": 0}, "num_resamples is 0"),
  ],
)
def test_what_does_not_fit_is_named(values, changes, message):
  with pytest.raises(ValueError, match=message):
    intervals.bootstrap(values, seed=0, **changes)


def test_paired_methods_have_the_same_requests():
  with pytest.raises(ValueError, match="the same requests in the same order"):
    intervals.paired_difference(np.zeros(3), np.zeros(4), seed=0)
