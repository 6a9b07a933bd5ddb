import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import differences, intervals, significance

METRICS = ("HR@1", "MRR")


@pytest.fixture(scope="module")
def tables():
  rng = np.random.default_rng(0)
  ranks = {"a": 3, "b": 4, "c": 12}
  found = {}
  for name, width in ranks.items():
    rank = rng.integers(1, width + 1, 250)
    found[name] = np.stack([(rank == 1) * 1.0, 1 / rank], 1)
  return found


@pytest.fixture(scope="module")
def found(tables):
  return differences.resample(tables, METRICS, seed=3, num_resamples=500)[1]


def test_each_figure_is_that_of_its_own_columns(tables, found):
  assert len(found) == 3 * len(METRICS)
  for gap in found:
    column = METRICS.index(gap.metric)
    own = tables[gap.method][:, column] - tables[gap.reference][:, column]
    assert gap.interval.mean == pytest.approx(own.mean())
    assert gap.effect_size == pytest.approx(own.mean() / own.std(ddof=1))
    assert (gap.num_better, gap.num_worse) == ((own > 0).sum(), (own < 0).sum())


def test_a_family_is_all_pairs_at_one_metric(found):
  for metric in METRICS:
    gaps = [gap for gap in found if gap.metric == metric]
    expected = significance.holm(np.array([gap.p_value for gap in gaps]))
    assert [gap.p_holm for gap in gaps] == expected.tolist()
  assert any(gap.p_holm > gap.p_value for gap in found)


def test_turned_round_it_says_the_same(found):
  gap = found[0]
  back = -gap
  assert (back.method, back.reference) == (gap.reference, gap.method)
  assert back.interval == -gap.interval
  assert back.effect_size == -gap.effect_size
  assert (back.num_better, back.num_worse) == (gap.num_worse, gap.num_better)
  assert (back.p_value, back.p_holm) == (gap.p_value, gap.p_holm)
  assert -back == gap
  same = dataclasses.replace(gap, effect_size=None)
  assert (-same).effect_size is None


def test_clear_needs_the_interval_and_the_test():
  """Four requests that all agree have an interval, but no sign test."""
  four = {"a": np.ones((4, 1)), "b": np.zeros((4, 1))}
  (gap,) = differences.resample(four, ["HR@1"], seed=0, num_resamples=999)[1]
  assert gap.is_outside
  assert gap.p_value == pytest.approx(2 / 16, abs=0.05)
  assert not gap.is_clear
  many = {"a": np.ones((40, 1)), "b": np.zeros((40, 1))}
  (gap,) = differences.resample(many, ["HR@1"], seed=0, num_resamples=999)[1]
  assert gap.is_clear
  wide = dataclasses.replace(gap, interval=intervals.Interval(1.0, -1.0, 2.0))
  assert not wide.is_clear


def test_one_method_differs_from_none(tables):
  methods, gaps = differences.resample(
    {"a": tables["a"]}, METRICS, seed=0, num_resamples=50
  )
  assert gaps == []
  assert list(methods["a"]) == list(METRICS)


def test_it_survives_json(found):
  for gap in found:
    record = gap.to_json()
    assert record["clear"] == gap.is_clear
    assert record["outside_zero"] == gap.is_outside
    assert differences.Difference.from_json(record) == gap


def test_users_with_several_requests_are_counted_once(tables):
  """Ten copies of each request change neither interval nor p-value."""
  options = {"seed": 3, "num_resamples": 500}
  _, once = differences.resample(tables, METRICS, **options)
  copies = {name: np.repeat(t, 10, axis=0) for name, t in tables.items()}
  _, found = differences.resample(
    copies, METRICS, clusters=np.repeat(np.arange(250), 10), **options
  )
  for one, other in zip(once, found, strict=True):
    assert other.p_value == one.p_value
    assert other.interval.low == pytest.approx(one.interval.low)
    assert other.interval.high == pytest.approx(one.interval.high)
    assert other.num_better == 10 * one.num_better
