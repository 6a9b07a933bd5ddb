"""Intervals, results and the report."""

import json

import numpy as np
import polars as pl
import pytest

from instructrec.evaluation import (
  environment,
  evaluate,
  headlines,
  intervals,
  metrics,
  report,
  results,
  training_plots,
)


def test_intervals_cover_the_mean_as_often_as_they_say():
  rng = np.random.default_rng(0)
  draws = (rng.random((200, 400)) < 0.3).astype(float)
  # Each column is a data set of its own.
  found = intervals.bootstrap(draws.T, seed=1, num_resamples=600)
  covered = np.mean([i.low <= 0.3 <= i.high for i in found])
  assert 0.90 <= covered <= 0.99


def test_intervals_are_those_of_the_seed_and_of_theory():
  values = np.random.default_rng(1).normal(2.0, 1.0, (2500, 1))
  (one,) = intervals.bootstrap(values, seed=5)
  assert one == intervals.bootstrap(values, seed=5)[0]
  assert one != intervals.bootstrap(values, seed=6)[0]
  assert one.mean == pytest.approx(values.mean())
  assert one.high - one.low == pytest.approx(2 * 1.96 / 50, rel=0.1)


def test_a_constant_has_no_width():
  (one,) = intervals.bootstrap(np.ones((9, 1)), seed=0)
  assert (one.low, one.mean, one.high) == pytest.approx((1, 1, 1))


def test_nothing_and_nan_cannot_be_resampled():
  with pytest.raises(ValueError, match="no requests to resample"):
    intervals.bootstrap(np.zeros((0, 1)), seed=0)
  with pytest.raises(ValueError, match="not a number"):
    intervals.bootstrap(np.array([[np.nan]]), seed=0)


@pytest.fixture(scope="module")
def found():
  rng = np.random.default_rng(2)
  labels = rng.integers(0, 10, 300)
  noise = rng.normal(size=(300, 10))
  good = noise.copy()
  good[np.arange(300), labels] += 2
  good[0, (labels[0] + 1) % 10] = np.nan
  return evaluate.from_scores(
    "sequential",
    {"noise": noise, "good": good, "flat": np.zeros((300, 10))},
    labels,
    request_ids=[f"r{i}" for i in range(300)],
  )


def test_methods_are_sorted_and_compared_in_pairs(found):
  assert next(iter(found.methods)) == "good"
  first = found.differences[0]
  assert (first.method, first.metric) == ("good", "HR@1")
  assert first.is_outside
  gap = (
    found.methods["good"]["HR@1"].mean
    - found.methods[first.reference]["HR@1"].mean
  )
  assert first.interval.mean == pytest.approx(gap)
  assert found.num_nan == {"noise": 0, "good": 1, "flat": 0}
  for name in metrics.NAMES:
    assert found.methods["flat"][name].mean == pytest.approx(found.chance[name])


def test_the_headline_says_what_the_intervals_say(found):
  assert "**good** reaches HR@1" in headlines.headline(found)
  assert "ahead of" in headlines.headline(found)
  rng = np.random.default_rng(3)
  tie = evaluate.from_scores(
    "g",
    {"a": rng.normal(size=(40, 10)), "b": rng.normal(size=(40, 10))},
    np.zeros(40, int),
    request_ids=[str(i) for i in range(40)],
  )
  assert "not distinguishable from" in headlines.headline(tie)
  alone = evaluate.from_scores(
    "g", {"a": np.zeros((4, 10))}, np.zeros(4, int), request_ids=list("abcd")
  )
  assert headlines.headline(alone).endswith("(chance 0.100).")


def context(**changes):
  return report.Context(
    **{
      "title": "Report",
      "commands": ["instructrec evaluate"],
      "protocol": {"ties": "expected"},
      "data": {"fingerprint": "sha256:0"},
      "seeds": {"evaluation": 0},
      "environment": environment.describe(),
      "config": "SEED = 0",
      "warnings": ["be careful"],
      "training_log": [
        {"step": 1, "split": "train", "loss": 2.0},
        {"step": 1, "split": "validation", "loss": 2.5},
      ],
      **changes,
    }
  )


def test_the_report_holds_tables_pictures_and_requests(found, tmp_path):
  path = report.write(tmp_path / "report", [found], context())
  text = path.read_text()
  assert "| *chance* | 0.100" in text
  assert "be careful" in text
  assert "{'good': 1}" in text
  for name in ("metrics-sequential.svg", "loss.svg"):
    assert (path.parent / name).read_text().startswith("<?xml")
    assert f"({name})" in text
  record = json.loads((path.parent / "report.json").read_text())
  assert record["results"][0]["methods"]["good"]["HR@1"]["mean"] > 0.3
  assert record["environment"]["packages"]["numpy"] == np.__version__
  rows = pl.read_parquet(path.parent / "per_request.parquet")
  means = rows.group_by("method").agg(pl.col("MRR").mean())
  for name, mean in means.iter_rows():
    assert mean == pytest.approx(found.methods[name]["MRR"].mean)


def test_no_training_log_no_curve(found, tmp_path):
  path = report.write(tmp_path, [found], context(training_log=[]))
  assert not (tmp_path / "loss.svg").exists()
  assert "loss.svg" not in path.read_text()
  with pytest.raises(ValueError, match="no training loss"):
    training_plots.loss_curve([], tmp_path / "x.svg")


def test_every_pair_is_compared_both_ways_round(found):
  pairs = {(d.method, d.reference) for d in found.differences}
  assert len(pairs) == 3
  for method in found.methods:
    for reference in found.methods:
      if method == reference:
        continue
      for metric in metrics.NAMES:
        gap = found.difference(method, reference, metric)
        assert (gap.method, gap.reference) == (method, reference)
        back = found.difference(reference, method, metric)
        assert back.interval == -gap.interval
        assert back.is_outside == gap.is_outside
        assert gap.interval.mean == pytest.approx(
          found.methods[method][metric].mean
          - found.methods[reference][metric].mean
        )
  with pytest.raises(KeyError, match="no difference of 'good' and 'bad'"):
    found.difference("good", "bad", "MRR")


def test_differences_are_those_of_the_paired_bootstrap(found):
  gap = found.difference("noise", "flat", "MRR").interval
  paired = intervals.paired_difference(
    found.per_request["noise"]["MRR"], found.per_request["flat"]["MRR"], seed=0
  )
  assert gap.low == pytest.approx(paired.low, abs=1e-9)
  assert gap.high == pytest.approx(paired.high, abs=1e-9)


def test_rows_hold_methods_and_chance(found):
  rows = pl.DataFrame(found.rows())
  assert rows.height == 4 * len(metrics.NAMES)
  chance = rows.filter(method="chance", metric="HR@1")
  assert chance["mean"].to_list() == [pytest.approx(0.1)]
  assert chance["low"].to_list() == [None]
  good = rows.filter(method="good", metric="MRR").row(0, named=True)
  assert good["low"] < good["mean"] < good["high"]


def test_results_survive_json(found):
  record = json.loads(json.dumps(found.to_json()))
  again = results.EvaluationResult.from_json(record)
  assert again.to_json() == found.to_json()
  assert again.num_candidates == found.num_candidates
  with pytest.raises(ValueError, match="schema_version 1, expected"):
    results.EvaluationResult.from_json({**record, "schema_version": 1})
