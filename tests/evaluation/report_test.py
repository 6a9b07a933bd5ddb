import dataclasses
import json
import re

import numpy as np
import polars as pl
import pytest

from instructrec.evaluation import (
  evaluate,
  examples,
  facts,
  headlines,
  loss_log,
  metrics,
  report,
  results,
  scored_lists,
)


def evaluated(group, scores, labels, **changes):
  return evaluate.from_scores(
    group,
    scores,
    labels,
    request_ids=[f"r{i}" for i in range(len(labels))],
    num_resamples=400,
    **changes,
  )


def lifted(lift, labels, seed):
  """Scores of noise, with the right candidate lifted."""
  scores = np.random.default_rng(seed).normal(size=(len(labels), 10))
  scores[np.arange(len(labels)), labels] += lift
  return scores


@pytest.fixture(scope="module")
def labels():
  return np.random.default_rng(0).integers(0, 10, 250)


@pytest.fixture(scope="module")
def clear(labels):
  return evaluated(
    "product search/b",
    {
      "model": lifted(2.0, labels, 1),
      "untrained": lifted(0.0, labels, 2),
      "flat": np.zeros((250, 10)),
    },
    labels,
    descriptions={"flat": "says nothing"},
  )


def context(**changes):
  arguments = {
    "title": "Report",
    "commands": ["instructrec evaluate --model_dir=m"],
    "protocol": {"ties": "expected value", "score": "mean | sum"},
    "data": {"fingerprint": "sha256:0"},
    "seeds": {"evaluation": 7},
    "environment": {"commit": None, "packages": {"numpy": "1.2"}},
    "config": "SEED = 0",
    "warnings": [],
    "training_log": [],
  }
  return report.Context(**{**arguments, **changes})


def test_the_headline_names_all_that_is_beaten(clear):
  text = headlines.headline(clear)
  assert text.startswith("**model** reaches HR@1")
  assert "ahead of" in text
  assert "untrained (+" in text
  assert "flat (+" in text
  assert "not distinguishable" not in text


def test_the_headline_tells_clear_from_unclear(labels):
  result = evaluated(
    "g",
    {
      "one": lifted(2.0, labels, 1),
      "same": lifted(2.0, labels, 1),
      "noise": lifted(0.0, labels, 2),
    },
    labels,
  )
  text = headlines.headline(result)
  assert "ahead of noise (+" in text
  assert (
    "; but not distinguishable from same (+0.000 [+0.000, +0.000])." in text
  )
  assert "No method" not in text


def test_the_headline_says_when_nothing_beats_anything(labels):
  result = evaluated(
    "g",
    {"a": lifted(0.0, labels, 3), "b": lifted(0.0, labels, 4)},
    labels,
  )
  text = headlines.headline(result, "NDCG@10")
  assert "not distinguishable from chance" in text
  assert text.endswith("No method is clearly ahead of another at NDCG@10.")


@pytest.mark.parametrize("count", [1, 120, 997])
def test_a_constant_scorer_is_at_chance_not_below_it(count):
  """Rounding in a mean must not show as a finding."""
  flat = {"flat": np.zeros((count, 10))}
  result = evaluated("g", flat, np.zeros(count, int))
  for metric in metrics.NAMES:
    assert result.methods["flat"][metric].mean == result.chance[metric]
    assert "not distinguishable from chance" in headlines.headline(
      result, metric
    )


def test_the_headline_admits_what_is_below_chance(labels):
  result = evaluated("g", {"wrong": lifted(-9.0, labels, 5)}, labels)
  assert "HR@1 0.000, below chance (chance 0.100)." in headlines.headline(
    result
  )


@pytest.mark.parametrize(
  ("count", "words"),
  [
    # Chance alone misses 35 times in a row in 2.50% of cases, 34 in 2.78%.
    (5, "not distinguishable from chance"),
    (34, "not distinguishable from chance"),
    (36, "below chance"),
  ],
)
def test_a_few_misses_are_not_below_chance(count, words):
  """Their interval has no width, and says so with any number of them."""
  labels = np.zeros(count, int)
  result = evaluated("g", {"wrong": lifted(-9.0, labels, 5)}, labels)
  own = result.methods["wrong"]["HR@1"]
  assert own.low == own.high == 0
  assert f"HR@1 0.000, {words} (chance 0.100)." in headlines.headline(result)


def test_one_hit_is_not_above_chance():
  labels = np.zeros(1, int)
  result = evaluated("g", {"lucky": lifted(9.0, labels, 5)}, labels)
  assert "1.000, not distinguishable from" in headlines.headline(result)
  labels = np.zeros(2, int)
  result = evaluated("g", {"right": lifted(9.0, labels, 5)}, labels)
  assert "HR@1 1.000 (chance 0.100)." in headlines.headline(result)


def test_the_headline_speaks_of_the_leader_at_its_metric(labels):
  """The order of methods follows NDCG@10, which may differ from HR@1's."""
  rank_2 = np.zeros((250, 10))
  rank_2[np.arange(250), labels] = 1
  rank_2[np.arange(250), (labels + 1) % 10] = 2
  rows = np.arange(250)
  sometimes_first = np.zeros((250, 10))
  sometimes_first[rows, labels] = np.where(rows % 4 == 0, 1, -1)
  result = evaluated("g", {"two": rank_2, "rare": sometimes_first}, labels)
  assert next(iter(result.methods)) == "two"
  assert headlines.headline(result).startswith("**rare** reaches HR@1 0.252")


def test_the_page_holds_what_a_reader_needs(clear, labels, tmp_path):
  few = evaluated("sequential", {"m": lifted(1, labels[:9], 1)}, labels[:9])
  log = [{"step": 1, "split": "train", "loss": 1.0}]
  path = report.write(
    tmp_path / "deep" / "report",
    [clear, few],
    context(
      training_log=log,
      warnings=["Look out.", "Twice."],
      wall_seconds={"training": 1234.56},
      config="`````",
    ),
  )
  text = path.read_text()
  assert text.startswith("# Report\n")
  assert "> **Note:** Look out.\n\n> **Note:** Twice.\n" in text
  assert "- flat: says nothing" in text
  assert "(400 resamples)" in text
  assert "9 requests are few" in text
  assert "HR@10 is 1 for every method" in text
  assert r"| score | mean \| sum |" in text
  assert "| commit | none |" in text
  assert "| packages | numpy: 1.2 |" in text
  assert "| training | 1,234.6 s |" in text
  assert "``````\n`````\n``````" in text
  assert "instructrec evaluate --model_dir=m" in text
  # Every picture that the page shows is there, whatever the group's name.
  assert sorted(p.name for p in path.parent.glob("*.svg")) == [
    "loss.svg",
    "metrics-product-search-b.svg",
    "metrics-sequential.svg",
  ]
  for picture in path.parent.glob("*.svg"):
    assert f"]({picture.name})" in text


def test_groups_of_like_names_keep_their_pictures(clear, labels, tmp_path):
  scores = {"m": lifted(1, labels, 1)}
  found = [evaluated(name, scores, labels) for name in ("a b", "a/b")]
  report.write(tmp_path, found, context())
  assert {p.name for p in tmp_path.glob("*.svg")} == {
    "metrics-a-b.svg",
    "metrics-a-b-2.svg",
  }


def test_a_report_keeps_nothing_of_the_one_before(clear, labels, tmp_path):
  other = evaluated("other", {"model": lifted(2.0, labels, 1)}, labels)
  rows = [{"step": 1, "split": "train", "loss": 2.0}]
  report.write(tmp_path, [clear, other], context(training_log=rows))
  (tmp_path / "trec" / "other").mkdir(parents=True)
  (tmp_path / "notes.txt").write_text("mine")
  report.write(tmp_path, [clear], context())
  assert not (tmp_path / "trec").exists()
  assert [path.name for path in tmp_path.glob("*.svg")] == [
    "metrics-product-search-b.svg"
  ]
  assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_json_can_be_read_back(clear, tmp_path):
  log = [{"step": 1, "split": "train", "loss": 1.0, "norm": float("nan")}]
  path = report.write(tmp_path, [clear], context(training_log=log))

  def refuse(text):
    raise AssertionError(f"{text} is not JSON")

  record = json.loads(
    (path.parent / "report.json").read_text(), parse_constant=refuse
  )
  assert record["training_log"][0]["norm"] is None
  assert record["seeds"] == {"evaluation": 7}
  again = results.EvaluationResult.from_json(record["results"][0])
  assert again.methods == clear.methods
  assert again.differences == clear.differences
  with pytest.raises(ValueError, match="no values of single requests"):
    report.write(tmp_path, [again], context())


def test_single_requests_add_up_to_the_table(clear, tmp_path):
  report.write(tmp_path, [clear], context())
  frame = pl.read_parquet(tmp_path / "per_request.parquet")
  assert frame.columns == [
    "group",
    "request_id",
    "method",
    "num_candidates",
    "expected_rank",
    *metrics.NAMES,
  ]
  assert frame.height == 3 * 250
  flat = frame.filter(method="flat")
  assert set(flat["expected_rank"]) == {5.5}
  for name, row in clear.methods.items():
    for metric, interval in row.items():
      mean = frame.filter(method=name)[metric].mean()
      assert mean == pytest.approx(interval.mean, abs=1e-12)


@pytest.mark.parametrize("number", [0, 2])
def test_each_group_has_one_result(clear, tmp_path, number):
  with pytest.raises(ValueError, match="expected one for each group"):
    report.write(tmp_path, [clear] * number, context())


def test_the_training_log_is_read_line_by_line(tmp_path, caplog):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 1, "split": "train", "loss": 2.5}\n')
  assert loss_log.read(path) == [{"step": 1, "split": "train", "loss": 2.5}]
  assert not caplog.text
  with path.open("a") as file:
    file.write('{"loss": 2.5, "step": 2}\n{"split": "train", "loss": 2.5}\n')
    file.write('{"step": 3, "split": "train", "loss": "2.5"}\n[]\n')
    file.write('{"step": 4, "split": "validation"}\n{"step": 5, "spl')
  assert loss_log.read(path) == [
    {"step": 1, "split": "train", "loss": 2.5},
    {"step": 4, "split": "validation"},
  ]
  assert "metrics.jsonl: 5 of 7 lines are no rows" in caplog.text
  assert "the first is line 2" in caplog.text


def test_a_training_log_that_is_gone_is_named(tmp_path, caplog):
  assert loss_log.read(tmp_path / "metrics.jsonl") == []
  assert "metrics.jsonl is missing" in caplog.text


def test_the_first_lines_name_the_winning_baseline(labels, tmp_path):
  won = evaluated(
    "won",
    {"model": lifted(1, labels, 1), "knn": lifted(4, labels, 2)},
    labels,
  )
  path = report.write(
    tmp_path, [won], context(model="model", baselines=["absent", "knn"])
  )
  first = path.read_text().splitlines()[2:6]
  own, its = (won.methods[name]["HR@1"].mean for name in ("model", "knn"))
  assert first[0] == (
    "**A baseline wins: it is clearly ahead of model** in 1 of 1 group of "
    "requests:"
  )
  assert first[2].startswith(f"- won: knn has HR@1 {its:.3f} against {own:.3f}")
  assert "knn has NDCG@10" in first[2]


def test_the_first_lines_say_that_no_baseline_wins(clear):
  (text, _) = headlines.baselines([clear], "model", ["untrained", "flat"])
  assert text.startswith("**No baseline is clearly ahead of model** in 1 group")
  assert headlines.baselines([clear], "another", ["flat"]) == []


def test_a_higher_mean_that_is_not_clear_is_told_as_such(labels):
  scores = lifted(1.0, labels, 1)
  better = scores.copy()
  better[0, labels[0]] = 99
  scores[0, labels[0]] = -99
  close = evaluated("g", {"model": scores, "other": better}, labels)
  lines = headlines.baselines([close], "model", ["other"])
  assert lines[0].startswith("**No baseline is clearly ahead of model**")
  assert "Higher than model, but not clearly:" in lines
  assert any(line.startswith("- g: other has HR@1") for line in lines)


def test_examples_ranks_are_those_of_the_metrics(labels, tmp_path):
  ids = [[f"{i}-{j}" for j in range(10)] for i in range(250)]
  scores = {"model": lifted(1, labels, 1), "flat": np.zeros((250, 10))}
  targets = [row[label] for row, label in zip(ids, labels, strict=True)]
  result = evaluated(
    "g",
    scores,
    labels,
    known=facts.Facts.of(
      targets=targets,
      candidates=ids,
      target_counts=np.ones(250, int),
      history_lengths=np.ones(250, int),
    ),
  )
  parts = [
    scored_lists.ScoredLists(
      request_ids=result.request_ids,
      targets=targets,
      candidates=ids,
      scores=scores,
    )
  ]
  result = dataclasses.replace(result, lists=parts)
  told = {
    name: examples.Request(history=["Old", "New"], wish="a wish")
    for name in ("r1", "r4")
  }
  found = examples.of(result, told, lambda item: f"Title {item}", "model")
  assert [one.request_id for one in found] == ["r1", "r4"]
  for one, row in zip(found, (1, 4), strict=True):
    own = scores["model"][row]
    rank = 1 + (own > own[labels[row]]).sum()
    assert one.ranks == {"model": rank, "flat": 5.5}
    assert result.per_request["model"]["MRR"][row] == pytest.approx(1 / rank)
    order = np.argsort(-own)[:5]
    assert list(one.best) == [(f"Title {row}-{j}", own[j]) for j in order]
    if rank <= 5:
      assert one.best[rank - 1][0] == one.target
  path = report.write(tmp_path, [result], context(examples={"g": found}))
  text = path.read_text()
  assert "- History: Old; New (newest last)" in text
  assert "- Wish: “a wish”" in text
  for one in found:
    rank = f"{one.ranks['model']:g}"
    assert f"- Target: **{one.target}**, rank {rank} of 10 (flat 5.5)." in text


def test_the_page_explains_groups_and_links_the_documentation(clear, tmp_path):
  path = report.write(
    tmp_path, [clear], context(meanings={clear.group: "A query, P0."})
  )
  text = path.read_text()
  assert "## product search/b\n\nA query, P0.\n" in text
  assert "Another processor" in text
  assert re.search(r"\[docs/evaluation.md\]\(<.*docs/evaluation.md>\)", text)
