"""Weights of score parts: their fit, their sum, and their file."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.optimize

from instructrec.retrieval import conditional_logit, score_parts, score_weights
from instructrec.retrieval.score_weights import ScoreWeights, ScoreWeightsFit

PLANTED = {"likelihood": 0.8, "match": 2.0, "popularity": -0.5}


def lists(weights=PLANTED, count=3000, width=10, seed=0):
  """Parts, targets drawn from their softmax, and lists of any length."""
  rng = np.random.default_rng(seed)
  parts = {name: rng.normal(3, 1, (count, width)) for name in weights}
  where = np.arange(width) < rng.integers(2, width + 1, count)[:, None]
  total = sum(weights[name] * part for name, part in parts.items())
  noisy = np.where(where, total + rng.gumbel(size=where.shape), -np.inf)
  parts = {n: np.where(where, part, -np.inf) for n, part in parts.items()}
  return parts, noisy.argmax(1), where


def test_planted_weights_are_found():
  parts, labels, where = lists()
  found = ScoreWeights.fit(parts, labels, where, seed=7)
  assert found.names == tuple(sorted(PLANTED))
  for name, weight in PLANTED.items():
    assert found.weights[name] == pytest.approx(weight, abs=0.12)
  log = found.log
  assert (log.split, log.seed, log.num_requests) == ("validation", 7, 3000)
  assert log.nats_before == pytest.approx(np.log(where.sum(1)).mean())
  own = score_parts.nats(found.combine(parts, where), labels, where)
  assert log.nats_after == pytest.approx(own.mean())
  assert log.nats_after < log.nats_before - 0.3
  assert set(log.num_clipped.values()) == {0}


def test_the_gradient_is_that_of_finite_differences():
  parts, labels, where = lists(count=50)
  design = conditional_logit.Design.of(parts, labels, where)
  for seed in range(3):
    weights = np.random.default_rng(seed).normal(size=3)
    gap = scipy.optimize.check_grad(
      lambda w: design.loss(w, 0.7)[0],
      lambda w: design.loss(w, 0.7)[1],
      weights,
    )
    assert gap < 1e-4


def test_two_parts_as_a_grid_finds_them():
  parts, labels, where = lists({"a": 1.0, "b": -0.4}, count=400)
  found = ScoreWeights.fit(parts, labels, where)
  # In the units of the penalty, by brute force around the answer.
  design = conditional_logit.Design.of(
    {n: parts[n] for n in ("a", "b")}, labels, where
  )
  best = np.array(found.values) * design.scales
  steps = np.linspace(-0.5, 0.5, 41)
  losses = {
    (i, j): design.loss(best + np.array([i, j]), score_weights.L2)[0]
    for i, j in itertools.product(steps, steps)
  }
  nearest = min(losses, key=losses.get)
  np.testing.assert_allclose(nearest, (0, 0), atol=1e-9)


def test_neither_order_of_candidates_nor_of_parts_matters():
  parts, labels, where = lists(count=500)
  expected = ScoreWeights.fit(parts, labels, where)
  backwards = dict(reversed(parts.items()))
  assert ScoreWeights.fit(backwards, labels, where) == expected
  rng = np.random.default_rng(3)
  order = rng.permuted(np.tile(np.arange(10), (500, 1)), axis=1)
  moved = {n: np.take_along_axis(p, order, 1) for n, p in parts.items()}
  places = np.take_along_axis(where, order, 1)
  to = (order == labels[:, None]).argmax(1)
  found = ScoreWeights.fit(moved, to, places)
  np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
  np.testing.assert_array_equal(
    expected.combine(moved, places),
    np.take_along_axis(expected.combine(parts, where), order, 1),
  )


def test_a_useless_part_gets_next_to_nothing():
  parts, labels, where = lists()
  noise = np.random.default_rng(9).normal(size=where.shape)
  found = ScoreWeights.fit({**parts, "noise": noise}, labels, where)
  assert abs(found.weights["noise"]) < 0.08


def test_a_part_that_is_constant_within_lists_weighs_nothing():
  parts, labels, where = lists(count=300)
  level = np.random.default_rng(1).normal(0, 1e6, (300, 1))
  constant = np.broadcast_to(level, where.shape)
  found = ScoreWeights.fit({**parts, "constant": constant}, labels, where)
  assert found.weights["constant"] == 0
  expected = ScoreWeights.fit(parts, labels, where)
  for name, weight in expected.weights.items():
    assert found.weights[name] == pytest.approx(weight, abs=1e-6)
  # So it can be left out.
  np.testing.assert_allclose(
    found.combine(parts, where), expected.combine(parts, where), atol=1e-5
  )


def test_units_of_a_part_do_not_matter():
  parts, labels, where = lists(count=300)
  expected = ScoreWeights.fit(parts, labels, where).weights
  other = {**parts, "match": parts["match"] * 1000 - 5}
  found = ScoreWeights.fit(other, labels, where).weights
  assert found["match"] * 1000 == pytest.approx(expected["match"], rel=1e-5)


def test_one_part_keeps_its_order():
  parts, labels, where = lists({"only": 1.5}, count=200)
  scores = ScoreWeights.fit(parts, labels, where).combine(parts)
  np.testing.assert_array_equal(
    np.argsort(-scores, 1, kind="stable"),
    np.argsort(-parts["only"], 1, kind="stable"),
  )


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_missing_scores_are_one_deviation_below_the_list_and_counted(bad):
  parts, labels, where = lists(count=200)
  parts["match"][::4, 1] = bad
  found = ScoreWeights.fit(parts, labels, where)
  assert found.log.num_clipped == {
    "likelihood": 0,
    "match": 50,
    "popularity": 0,
  }
  row = parts["match"][0]
  rest = row[where[0] & np.isfinite(row)]
  alone, count = conditional_logit.clean(
    parts["match"][:1], where[:1], found.deviations[1]
  )
  assert count == 1
  assert alone[0, 1] == pytest.approx(
    rest.min() - (rest.std() or found.deviations[1])
  )
  assert np.isfinite(found.combine(parts, where)[where]).all()
  assert (found.combine(parts, where)[~where] == -np.inf).all()


def test_a_part_of_zeros_and_missing_scores_counts():
  _, labels, where = lists(count=400)
  rows = np.arange(400)
  fits = np.full(where.shape, -np.inf)
  fits[rows, labels] = 0.0
  fits[:, 0] = 0.0
  weights = ScoreWeights.fit({"wanted": fits}, labels, where)
  assert weights.weights["wanted"] > 1
  nothing = np.full((1, 3), -np.inf)
  np.testing.assert_array_equal(
    weights.combine({"wanted": nothing}, np.ones((1, 3), bool)),
    np.zeros((1, 3)),
  )


def test_blocks_add_up_and_lists_without_target_do_not_count():
  parts, labels, where = lists(count=300)
  expected = ScoreWeights.fit(parts, labels, where)
  fit = ScoreWeightsFit()
  for rows in np.array_split(np.arange(300), 4):
    width = where[rows].sum(1).max()
    fit.add(
      {name: part[rows, :width] for name, part in parts.items()},
      labels[rows],
      where[rows, :width],
    )
  noise, _, places = lists(count=20, seed=5)
  fit.add(noise, np.full(20, -1), places)
  found = fit.fit()
  np.testing.assert_allclose(found.values, expected.values, atol=1e-9)
  assert (found.log.num_requests, found.log.num_left_out) == (300, 20)


def test_parts_can_be_chosen():
  parts, labels, where = lists(count=300)
  fit = ScoreWeightsFit()
  fit.add(parts, labels, where)
  assert fit.fit(["match"]).names == ("match",)
  with pytest.raises(ValueError, match=r"\['other'\], expected some of"):
    fit.fit(["other"])


def test_a_larger_penalty_shrinks_and_a_perfect_part_stays_finite():
  parts, labels, where = lists({"a": 1.0}, count=200)
  sizes = [
    abs(ScoreWeights.fit(parts, labels, where, l2=l2).values[0])
    for l2 in (0.0, 1.0, 100.0)
  ]
  assert sizes == sorted(sizes, reverse=True)
  perfect = np.zeros(where.shape)
  perfect[np.arange(200), labels] = 1
  found = ScoreWeights.fit({"a": perfect}, labels, where)
  assert 5 < found.values[0] < 50


def test_mistakes_are_named():
  parts, labels, where = lists(count=20)
  with pytest.raises(ValueError, match="a slot without candidate"):
    ScoreWeights.fit(parts, where.sum(1).clip(max=9) * 0 + 9, where)
  with pytest.raises(ValueError, match="none of the 20 lists has its target"):
    ScoreWeights.fit(parts, np.full(20, -1), where)
  high = np.full(where.shape, np.inf)
  with pytest.raises(ValueError, match="'match' of request 0 is infinite"):
    ScoreWeights.fit({**parts, "match": high}, labels, where)
  with pytest.raises(ValueError, match="the same for each"):
    ScoreWeights.fit({**parts, "match": np.ones((3, 2))}, labels, where)
  with pytest.raises(ValueError, match="l2 is -1"):
    ScoreWeightsFit(l2=-1)
  fit = ScoreWeightsFit()
  fit.add(parts, labels, where)
  with pytest.raises(ValueError, match="expected the same in every block"):
    fit.add({"match": parts["match"]}, labels, where)
  found = fit.fit()
  with pytest.raises(ValueError, match=r"need the parts \['match'\]"):
    found.combine({n: p for n, p in parts.items() if n != "match"})


def test_weights_do_not_rank_the_split_they_were_fitted_on():
  parts, labels, where = lists(count=50)
  found = ScoreWeights.fit(parts, labels, where)
  found.check_split("test")
  with pytest.raises(ValueError, match="fitted on the split 'validation'"):
    found.check_split("validation")


def test_json_gives_back_what_was_written():
  parts, labels, where = lists(count=50)
  found = ScoreWeights.fit(parts, labels, where)
  record = json.loads(json.dumps(found.to_json()))
  assert ScoreWeights.from_json(record, "weights.json") == found


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"format_version": 9}, "format_version is 9, expected 1"),
    ({"weights": {}}, "weights is {}"),
    ({"weights": {"match": math.nan}}, "weights of 'match' is nan"),
    ({"weights": {"match": "1"}}, "weights of 'match' is '1'"),
    ({"weights": {"match": 1.0}}, "of different parts"),
    ({"more": 1}, "expected \\['deviations'"),
    ({"fit": {}}, "fit is {}"),
  ],
)
def test_bad_contents_are_named(change, message):
  parts, labels, where = lists(count=50)
  record = ScoreWeights.fit(parts, labels, where).to_json()
  with pytest.raises(score_weights.ScoreWeightsError, match=message) as error:
    ScoreWeights.from_json({**record, **change}, "weights.json")
  assert "weights.json" in str(error.value)
