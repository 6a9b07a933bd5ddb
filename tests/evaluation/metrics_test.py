import itertools
import math
import pathlib

import numpy as np
import pytest
import pytrec_eval

from instructrec.evaluation import metrics


def brute_force(scores, label):
  """Means over all orders in which ties can be broken."""
  values = []
  for noise in itertools.permutations(range(len(scores))):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], noise[i]))
    rank = order.index(label) + 1
    values.append(
      [float(rank <= k) for k in metrics.HIT_RATE_AT]
      + [1 / math.log2(rank + 1) if rank <= k else 0.0 for k in metrics.NDCG_AT]
      + [1 / rank]
    )
  return dict(zip(metrics.NAMES, np.mean(values, axis=0), strict=True))


# What pytrec_eval calls each formula, without and with a cut-off; None where it
# has none: a test of its own derives the values then.
REFERENCES = {
  "HR": (None, "success"),
  "NDCG": ("ndcg", "ndcg_cut"),
  "MRR": ("recip_rank", None),
  "Recall": (None, "recall"),
  "MAP": ("map", "map_cut"),
  "Precision": (None, "P"),
}
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "evaluation.md"
CUT_OFFS = (1, 3, 5, 10, 20, 100)


def test_every_metric_says_what_it_is_held_to():
  missing = [name for name in metrics.FORMULAS if name not in REFERENCES]
  assert not missing, (
    f"{missing} of metrics.FORMULAS are held to nothing: add a line each to "
    "REFERENCES in tests/evaluation/metrics_test.py, with what pytrec_eval "
    "calls it, or None and a test that derives its values"
  )
  undocumented = [
    name for name in metrics.FORMULAS if f"| {name} |" not in PAGE.read_text()
  ]
  assert not undocumented, (
    f"{undocumented} stand in no row of the table of metrics in "
    "docs/evaluation.md: add `| NAME | what a rank is worth |`"
  )


def test_equal_to_pytrec_eval_where_nothing_ties():
  rng = np.random.default_rng(0)
  scores = rng.permuted(np.tile(np.arange(50.0), (300, 1)), axis=1)
  labels = rng.integers(0, 50, 300)
  whole = {name: found for name, (found, _) in REFERENCES.items() if found}
  cut = {
    f"{name}@{k}": f"{found}_{k}"
    for name, (_, found) in REFERENCES.items()
    if found
    for k in CUT_OFFS
  }
  found = metrics.per_request(scores, labels, [*whole, *cut])
  depths = ",".join(map(str, CUT_OFFS))
  evaluator = pytrec_eval.RelevanceEvaluator(
    {f"q{i}": {f"d{label}": 1} for i, label in enumerate(labels)},
    {*whole.values(), *(f"{n}.{depths}" for _, n in REFERENCES.values() if n)},
  )
  reference = evaluator.evaluate(
    {
      f"q{i}": {f"d{j}": float(s) for j, s in enumerate(row)}
      for i, row in enumerate(scores)
    }
  )
  for ours, theirs in {**whole, **cut}.items():
    expected = [reference[f"q{i}"][theirs] for i in range(300)]
    np.testing.assert_allclose(found[ours], expected, rtol=0, atol=1e-12)


def test_reciprocal_ranks_with_a_cut_off_are_those_of_shorter_runs():
  """`recip_rank` of pytrec_eval, which has no cut-off, of the K best."""
  rng = np.random.default_rng(1)
  scores = rng.permuted(np.tile(np.arange(30.0), (200, 1)), axis=1)
  labels = rng.integers(0, 30, 200)
  qrels = {f"q{i}": {f"d{label}": 1} for i, label in enumerate(labels)}
  for k in (1, 5, 10):
    best = np.argsort(-scores, axis=1)[:, :k]
    reference = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(
      {
        f"q{i}": {f"d{j}": scores[i, j] for j in row}
        for i, row in enumerate(best)
      }
    )
    np.testing.assert_allclose(
      metrics.per_request(scores, labels, [f"MRR@{k}"])[f"MRR@{k}"],
      [reference[f"q{i}"]["recip_rank"] for i in range(200)],
      rtol=0,
      atol=1e-12,
    )


@pytest.mark.parametrize(
  ("scores", "label"),
  [
    ([1, 1, 1, 1], 2),
    ([2, 1, 1, 0], 1),
    ([0, 3, 3, 3, 5], 3),
    ([1, 1, 2, 2, 0, 0], 4),
    ([4, 3, 2, 1], 0),
  ],
)
def test_ties_count_at_their_expected_value(scores, label):
  found = metrics.per_request(np.array([scores], float), np.array([label]))
  for name, value in brute_force(scores, label).items():
    assert found[name][0] == pytest.approx(value, abs=1e-12)


def test_a_constant_scorer_gets_chance_exactly():
  found = metrics.per_request(np.zeros((7, 10)), np.arange(7))
  chance = metrics.chance(10)
  for name, values in found.items():
    assert (values == chance[name]).all()
  assert chance["HR@1"] == pytest.approx(0.1)
  assert chance["HR@3"] == pytest.approx(0.3)
  # The levels that the InstructRec paper's tables compare with.
  assert chance["NDCG@3"] == pytest.approx(0.213, abs=5e-4)
  assert chance["NDCG@5"] == pytest.approx(0.295, abs=5e-4)
  assert metrics.chance([10, 20])["HR@1"] == pytest.approx(0.075)


def test_candidates_may_come_in_any_order():
  rng = np.random.default_rng(1)
  scores = rng.integers(0, 4, (50, 12)).astype(float)
  labels = rng.integers(0, 12, 50)
  order = np.array([rng.permutation(12) for _ in range(50)])
  shuffled = np.take_along_axis(scores, order, 1)
  moved = np.argmax(order == labels[:, None], axis=1)
  before = metrics.per_request(scores, labels)
  after = metrics.per_request(shuffled, moved)
  for name in metrics.NAMES:
    np.testing.assert_array_equal(before[name], after[name])


def test_a_nan_is_worst_and_ties_with_other_nans():
  nan, low = np.nan, -np.inf
  scores = np.array([[nan, low, 1.0], [nan, nan, 0.0], [2.0, nan, nan]])
  found = metrics.per_request(scores, np.array([0, 0, 0]))
  np.testing.assert_allclose(found["MRR"], [1 / 3, (1 / 2 + 1 / 3) / 2, 1.0])


def test_infinite_and_huge_scores_keep_their_order():
  scores = np.array([[np.inf, 1e308, -np.inf], [-1e308, -np.inf, 0.0]])
  found = metrics.per_request(scores, np.array([1, 1]))
  np.testing.assert_allclose(found["MRR"], [1 / 2, 1 / 3])


def test_slots_without_candidate_do_not_count():
  scores = np.array([[1.0, 9.0, 5.0, 9.0]])
  where = np.array([[True, False, True, False]])
  found = metrics.per_request(scores, np.array([0]), where=where)
  assert found["MRR"][0] == 0.5
  assert found["HR@3"][0] == 1.0


def test_chunks_do_not_change_anything(monkeypatch):
  rng = np.random.default_rng(2)
  scores, labels = rng.normal(size=(37, 5)), rng.integers(0, 5, 37)
  whole = metrics.per_request(scores, labels)
  monkeypatch.setattr(metrics, "_CHUNK", 4)
  for name, values in metrics.per_request(scores, labels).items():
    np.testing.assert_array_equal(values, whole[name])


@pytest.mark.parametrize(
  ("scores", "labels", "where", "message"),
  [
    (np.zeros((2, 3)), np.zeros(3, int), None, r"labels \(3,\)"),
    (np.zeros((2, 3)), np.array([0, 3]), None, "labels go from 0 to 3"),
    (np.zeros((1, 2)), np.array([0]), np.ones((1, 3), bool), "where has shape"),
    (
      np.zeros((1, 2)),
      np.array([1]),
      np.array([[True, False]]),
      "a slot without candidate",
    ),
  ],
)
def test_what_does_not_fit_is_named(scores, labels, where, message):
  with pytest.raises(ValueError, match=message):
    metrics.per_request(scores, labels, where=where)


def test_any_cut_off_may_be_asked_for():
  scores = np.arange(30.0)[None, ::-1]
  found = metrics.per_request(
    scores, np.array([19]), ["HR@19", "HR@20", "NDCG@19", "NDCG@20"]
  )
  assert {name: float(value[0]) for name, value in found.items()} == {
    "HR@19": 0.0,
    "HR@20": 1.0,
    "NDCG@19": 0.0,
    "NDCG@20": pytest.approx(1 / math.log2(21)),
  }
  assert metrics.chance(40, ["HR@20"])["HR@20"] == pytest.approx(0.5)
  with pytest.raises(
    ValueError, match="no metric 'HR@0'; the nearest is HR@10"
  ):
    metrics.per_request(scores, np.array([0]), ["HR@0"])


@pytest.mark.parametrize(
  ("given", "nearest"),
  [
    ("Recal@50", "Recall@50"),
    ("hr@20", "HR@20"),
    ("nDCG@5", "NDCG@5"),
    ("mrr", "MRR"),
    ("HR", "HR@10"),
    ("HR@", "HR@10"),
    ("MAP@0", "MAP@10"),
    ("MAP@-3", "MAP@10"),
    ("NDCG@1.5", "NDCG@10"),
    ("NDCG@010", "NDCG@10"),
    ("HR@5@5", "HR@10"),
    ("HR@\u0665", "HR@10"),
    ("HR @5", "HR@5"),
    ("Precison", "Precision@10"),
  ],
)
def test_what_is_no_metric_is_named_with_the_nearest(given, nearest):
  with pytest.raises(ValueError, match="there is no metric") as caught:
    metrics.parse([f"HR@1,{given}"])
  assert f"no metric {given.strip()!r}; the nearest is {nearest}. " in str(
    caught.value
  )


def test_names_are_read_one_by_one_or_with_commas():
  names = ("HR@20", "Recall@50", "MAP@10", "MRR")
  assert metrics.parse(["HR@20, Recall@50", "MAP@10,MRR"]) == names
  assert metrics.parse([]) == ()
  assert metrics.parse(metrics.NAMES) == metrics.NAMES
  assert [metrics.cutoff(name) for name in names] == [20, 50, 10, None]
  with pytest.raises(ValueError, match="the metric HR@1 is named twice"):
    metrics.parse(["HR@1,MRR", "HR@1"])


@pytest.mark.parametrize("formula", metrics.FORMULAS)
def test_a_tie_is_worth_the_mean_of_its_ranks(formula):
  """For every formula, cut-off and tie of a list of seven."""
  names = [f"{formula}@{k}" for k in (1, 2, 3, 5, 7, 9)]
  names += [formula] if metrics.FORMULAS[formula].whole else []
  alone = metrics.from_ranks(np.arange(7), np.ones(7, int), names)
  ties = [(g, e) for g in range(7) for e in range(1, 8 - g)]
  found = metrics.from_ranks(*map(np.array, zip(*ties, strict=True)), names)
  for name in names:
    expected = [alone[name][g : g + e].mean() for g, e in ties]
    np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-15)
    assert (alone[name] <= 1).all()
    assert (np.diff(alone[name]) <= 0).all()
    k = metrics.cutoff(name)
    assert k is None or (alone[name][k:] == 0).all()


def test_chance_is_the_mean_over_all_ranks():
  for size in (1, 2, 7, 20, 100):
    every = metrics.from_ranks(np.arange(size), np.ones(size, int))
    for name, value in metrics.chance(size).items():
      assert value == pytest.approx(every[name].mean(), abs=1e-12)
  # Levels that a harness with wrong ties misses: constant scores of 20.
  assert metrics.chance(20)["HR@1"] == pytest.approx(0.05)
  assert metrics.chance(20)["NDCG@10"] == pytest.approx(0.227, abs=5e-4)


def test_chance_weighs_lists_by_how_many_there_are():
  mixed, ten, two = map(metrics.chance, ([10, 2, 10, 10], 10, 2))
  for name, value in mixed.items():
    assert value == pytest.approx(0.75 * ten[name] + 0.25 * two[name])
  for counts in ([], [3, 0]):
    with pytest.raises(ValueError, match="at least one candidate"):
      metrics.chance(counts)


def test_nan_is_counted_where_there_are_candidates(monkeypatch):
  scores = np.full((5, 3), np.nan)
  scores[:, 0] = 1.0
  assert metrics.count_nan(scores) == 10
  where = np.array([[True, True, False]] * 5)
  assert metrics.count_nan(scores, where=where) == 5
  monkeypatch.setattr(metrics, "_CHUNK", 2)
  assert metrics.count_nan(scores, where=where) == 5
  assert metrics.count_nan(np.zeros((0, 3))) == 0


def test_a_nan_of_another_candidate_changes_nothing_for_a_number():
  rng = np.random.default_rng(4)
  scores = rng.normal(size=(40, 8))
  labels = rng.integers(0, 8, 40)
  low = scores.copy()
  beside = (labels + 1) % 8
  scores[np.arange(40), beside] = np.nan
  low[np.arange(40), beside] = -np.inf
  with_nan = metrics.per_request(scores, labels)
  for name, values in metrics.per_request(low, labels).items():
    np.testing.assert_array_equal(with_nan[name], values)


def test_padding_is_as_if_it_were_not_there():
  """A masked slot may hold anything, a NaN and the largest number too."""
  rng = np.random.default_rng(5)
  scores = rng.integers(0, 3, (60, 6)).astype(float)
  labels = rng.integers(0, 6, 60)
  padded = np.concatenate(
    [scores, np.full((60, 1), np.nan), np.full((60, 1), np.inf)], axis=1
  )
  where = np.arange(8) < 6
  found = metrics.per_request(
    padded, labels, where=np.broadcast_to(where, padded.shape)
  )
  for name, values in metrics.per_request(scores, labels).items():
    np.testing.assert_array_equal(found[name], values)


def test_low_precision_scores_tie_as_they_are():
  """In float16, 1000 and 1000.2 are the same score."""
  scores = np.array([[1000.0, 1000.2]])
  exact = metrics.per_request(scores, np.array([0]))
  assert exact["HR@1"][0] == 0.0
  coarse = metrics.per_request(scores.astype(np.float16), np.array([0]))
  assert coarse["HR@1"][0] == 0.5


def test_expected_ranks_are_in_the_middle_of_a_tie():
  greater, equal = metrics.tied_ranks(
    np.array([[3.0, 1.0, 1.0, 0.0], [0.0] * 4]), np.array([1, 3])
  )
  np.testing.assert_array_equal(
    metrics.expected_rank(greater, equal), [2.5, 2.5]
  )


def test_errors_name_the_row_of_the_whole_batch(monkeypatch):
  monkeypatch.setattr(metrics, "_CHUNK", 2)
  where = np.ones((7, 3), bool)
  where[5, 1] = False
  labels = np.full(7, 1)
  with pytest.raises(ValueError, match="label of request 5 is 1"):
    metrics.per_request(np.zeros((7, 3)), labels, where=where)
  # Labels for the first chunks alone must not pass as all of them.
  with pytest.raises(ValueError, match=r"labels \(4,\)"):
    metrics.per_request(np.zeros((7, 3)), labels[:4])
  with pytest.raises(ValueError, match="dtype float64, expected integers"):
    metrics.per_request(np.zeros((7, 3)), labels.astype(float))


def test_no_requests_give_no_values():
  found = metrics.per_request(np.zeros((0, 10)), np.zeros(0, int))
  assert list(found) == list(metrics.NAMES)
  assert all(len(values) == 0 for values in found.values())


def test_memory_is_that_of_a_block_and_of_the_result():
  import tracemalloc

  rng = np.random.default_rng(6)
  scores = rng.random((100_000, 100), dtype=np.float32)
  labels = rng.integers(0, 100, 100_000)
  tracemalloc.start()
  greater, equal = metrics.tied_ranks(scores, labels)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  # Comparisons of all lists at once would be 20 MB.
  assert peak - greater.nbytes - equal.nbytes < 5e6
  found = metrics.from_ranks(greater, equal)
  assert found["HR@10"].mean() == pytest.approx(0.1, abs=0.01)
