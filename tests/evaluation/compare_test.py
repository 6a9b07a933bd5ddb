import json

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.evaluation import (
  compare,
  evaluate,
  facts,
  intervals,
  metrics,
  per_request,
  report,
  results,
)

pytestmark = pytest.mark.usefixtures("no_pictures")
COUNT = 120
LABELS = np.random.default_rng(0).integers(0, 6, COUNT)
CONTEXT = report.Context("t", ["make it"], {}, {}, {}, {}, "", [], [])


def scored(lift, seed):
  scores = np.random.default_rng(seed).normal(size=(COUNT, 6))
  scores[np.arange(COUNT), LABELS] += lift
  return scores


def written(folder, scores, groups=("g",), rows=None, ids=None):
  """A report of some of the requests, in any order."""
  rows = np.arange(COUNT) if rows is None else rows
  ids = ids or [[f"i{6 * i + j}" for j in range(6)] for i in range(COUNT)]
  found = [
    evaluate.from_scores(
      group,
      {name: values[rows] for name, values in scores.items()},
      LABELS[rows],
      request_ids=[f"r{i}" for i in rows],
      known=facts.Facts.of(
        targets=[ids[i][LABELS[i]] for i in rows],
        candidates=[ids[i] for i in rows],
        target_counts=rows,
        history_lengths=rows,
      ),
      num_resamples=30,
      descriptions={name: f"what {name} is" for name in scores},
    )
    for group in groups
  ]
  report.write(folder, found, CONTEXT)
  return compare.load(folder)


def test_reports_together_are_what_one_evaluation_would_be(tmp_path):
  scores = {"model": scored(1, 1), "flat": np.zeros((COUNT, 6))}
  other = scored(2, 2)
  shuffled = np.random.default_rng(3).permutation(COUNT)
  a = written(tmp_path / "a", scores, ["g", "h"])
  b = written(tmp_path / "b", {"model": other}, ["f", "g"], shuffled)
  (found,) = compare.compare({"a": [a], "b": [b]}, seed=5, num_resamples=500)
  order = np.argsort([f"r{i}" for i in range(COUNT)])
  expected = evaluate.from_scores(
    "g",
    {
      name: values[order]
      for name, values in {
        "a/model": scores["model"],
        "a/flat": scores["flat"],
        "b/model": other,
      }.items()
    },
    LABELS[order],
    request_ids=[f"r{i}" for i in order],
    seed=5,
    num_resamples=500,
  )
  assert list(found.methods) == ["b/model", "a/model", "a/flat"]
  assert found.methods == expected.methods
  assert found.differences == expected.differences
  assert found.chance == expected.chance
  assert found.num_candidates == (6, 6)
  assert found.descriptions["a/flat"] == "what flat is"
  for name, ranks in expected.expected_ranks.items():
    np.testing.assert_array_equal(found.expected_ranks[name], ranks)


def test_runs_of_one_name_are_averaged_by_request(tmp_path):
  runs = [
    written(
      tmp_path / f"s{i}", {"model": scored(1, i), "other": scored(0.5, 9 + i)}
    )
    for i in range(3)
  ]
  (found,) = compare.compare({"": runs}, num_resamples=200)
  each = [metrics.per_request(scored(1, i), LABELS) for i in range(3)]
  means = [one["MRR"].mean() for one in each]
  assert found.runs["model"]["MRR"] == pytest.approx(means)
  assert found.methods["model"]["MRR"].mean == pytest.approx(np.mean(means))
  by_request = dict(
    zip(found.request_ids, found.per_request["model"]["MRR"], strict=True)
  )
  assert by_request["r7"] == pytest.approx(np.mean([e["MRR"][7] for e in each]))
  gap = found.difference("model", "other", "MRR")
  paired = intervals.paired_difference(
    found.per_request["model"]["MRR"],
    found.per_request["other"]["MRR"],
    seed=0,
    num_resamples=200,
  )
  assert gap.interval.low == pytest.approx(paired.low)
  text = report.write(tmp_path / "out", [found], CONTEXT).read_text()
  spread = f"{np.mean(means):.3f} ± {np.std(means, ddof=1):.3f}"
  assert "| model | 3 | " in text
  assert spread in text
  again = results.EvaluationResult.from_json(
    json.loads((tmp_path / "out" / "report.json").read_text())["results"][0]
  )
  assert again.runs == found.runs


def test_methods_may_be_chosen(tmp_path):
  scores = {"model": scored(1, 1), "flat": np.zeros((COUNT, 6))}
  runs = {name: [written(tmp_path / name, scores)] for name in "ab"}
  (found,) = compare.compare(runs, methods=["model"], num_resamples=20)
  assert set(found.methods) == {"a/model", "b/model"}
  with pytest.raises(ValueError, match=r"no report has a method of \['x'\]"):
    compare.compare(runs, methods=["x"])


def test_other_requests_are_refused(tmp_path):
  a = written(tmp_path / "a", {"m": scored(1, 1)})
  b = written(tmp_path / "b", {"m": scored(1, 1)}, rows=np.arange(20, COUNT))
  with pytest.raises(
    ValueError, match=r"has 120 requests and .*b 100, 100 of them in common"
  ):
    compare.compare({"a": [a], "b": [b]})


def test_other_candidates_are_refused(tmp_path):
  a = written(tmp_path / "a", {"m": scored(1, 1)})
  ids = [[f"i{6 * i + j}" for j in range(6)] for i in range(COUNT)]
  for i in range(5):
    ids[i][(LABELS[i] + 1) % 6] = "another"
  b = written(tmp_path / "b", {"m": scored(1, 1)}, ids=ids)
  with pytest.raises(ValueError, match="other candidates for 5 of 120"):
    compare.compare({"a": [a], "b": [b]})


def test_runs_need_the_same_methods(tmp_path):
  a = written(tmp_path / "a", {"m": scored(1, 1)})
  b = written(tmp_path / "b", {"m": scored(1, 1), "n": scored(1, 2)})
  with pytest.raises(ValueError, match="runs of one name need the same ones"):
    compare.compare({"": [a, b]})
  assert compare.compare({"": [a, b]}, methods=["m"], num_resamples=5)


def test_groups_in_common_are_needed(tmp_path):
  a = written(tmp_path / "a", {"m": scored(1, 1)}, ["g"])
  b = written(tmp_path / "b", {"m": scored(1, 1)}, ["h"])
  with pytest.raises(ValueError, match="no group in common"):
    compare.compare({"a": [a], "b": [b]})


def test_a_report_is_called_after_its_folder(tmp_path):
  path = tmp_path / "run_7" / "report"
  assert written(path, {"m": scored(1, 1)}).name == "run_7"
  assert written(tmp_path / "mine", {"m": scored(1, 1)}).name == "mine"


def test_what_is_no_report_of_this_version_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="holds no report"):
    compare.load(tmp_path)
  found = written(tmp_path / "a", {"m": scored(1, 1)})
  path = tmp_path / "a" / "report.json"
  path.write_text(json.dumps({**found.record, "schema_version": 2}))
  with pytest.raises(checksums.DamagedError, match=r"report\.json is damaged"):
    compare.load(tmp_path / "a")
  checksums.write(tmp_path / "a", ["report.json"])
  with pytest.raises(ValueError, match="has schema_version 2, expected 4"):
    compare.load(tmp_path / "a")


def test_a_request_that_stands_there_twice_is_named(tmp_path):
  found = written(tmp_path / "a", {"m": scored(1, 1)})
  path = tmp_path / "a" / per_request.FILE
  pl.concat([found.table, found.table.head(1)]).write_parquet(path)
  checksums.write(tmp_path / "a")
  twice = compare.load(tmp_path / "a")
  with pytest.raises(ValueError, match="121 rows of 120 request ids"):
    compare.compare({"a": [twice]})


def test_a_retriever_is_compared_under_each_task_that_it_ranked(tmp_path):
  model, flat = {"model": scored(1, 1)}, {"flat": scored(0, 2)}
  half = np.arange(COUNT // 2)
  tasks = written(tmp_path / "run", model, ["g", "h"], half)
  retriever = written(
    tmp_path / "retriever", flat, [compare.FROZEN, "full catalogue"]
  )
  runs = {"r": [retriever], "m": [tasks]}
  with pytest.raises(ValueError, match="the same --split, --num_requests"):
    compare.compare(
      {
        "m": [written(tmp_path / "few", model, ["g"], half[:9])],
        "r": [written(tmp_path / "other", flat, [compare.FROZEN], half[5:])],
      }
    )
  found = compare.compare(runs, num_resamples=30)
  assert [result.group for result in found] == ["g", "h"]
  (alone, _) = compare.compare({"m": [tasks]}, num_resamples=30)
  of_half = written(tmp_path / "half", flat, ["g"], half)
  (expected,) = compare.compare({"r": [of_half]}, num_resamples=30)
  for result in found:
    assert result.num_requests == COUNT // 2
    for label, other in (("r/flat", expected), ("m/model", alone)):
      assert (
        result.methods[label]["MRR"].mean == other.methods[label]["MRR"].mean
      )
