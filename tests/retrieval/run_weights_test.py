"""Weights of a run by kind of request, and the file that keeps them."""

import json

import numpy as np
import pytest

from instructrec import checksums
from instructrec.retrieval import run_weights, score_weights
from instructrec.retrieval.run_weights import WITH_WISH, WITHOUT_WISH
from instructrec.retrieval.score_parts import ScoreWeightsError

UNTUNED = {"match": 1.0, "popularity": 0.5}


@pytest.fixture(scope="module")
def parts():
  rng = np.random.default_rng(0)
  return {name: rng.normal(size=(50, 6)) for name in UNTUNED}


@pytest.fixture(scope="module")
def fitted(parts):
  labels = (parts["match"] + 0.2 * parts["popularity"]).argmax(1)
  return score_weights.ScoreWeights.fit(parts, labels, np.ones((50, 6), bool))


def test_untuned_parts_count_as_in_training(parts):
  weights = run_weights.RunWeights({}, UNTUNED)
  np.testing.assert_allclose(
    weights.combine(WITH_WISH, parts),
    parts["match"] + 0.5 * parts["popularity"],
  )
  assert "not fitted" in weights.describe(WITH_WISH)


def test_a_kind_has_its_own_weights(parts, fitted):
  weights = run_weights.RunWeights({WITH_WISH: fitted}, UNTUNED)
  np.testing.assert_allclose(
    weights.combine(WITH_WISH, parts), fitted.combine(parts)
  )
  np.testing.assert_allclose(
    weights.combine(WITHOUT_WISH, parts),
    run_weights.RunWeights({}, UNTUNED).combine(WITHOUT_WISH, parts),
  )
  assert "50 validation requests" in weights.describe(WITH_WISH)


def test_a_wish_without_a_history_is_a_kind_of_its_own():
  assert run_weights.kind_of(history=True, wish=True) == WITH_WISH
  assert run_weights.kind_of(history=True, wish=False) == WITHOUT_WISH
  assert run_weights.kind_of(history=False, wish=True) == (
    run_weights.WISH_ALONE
  )


def test_catalogues_fall_back_to_the_kind(fitted):
  own = run_weights.catalog_kind(WITH_WISH)
  plain = run_weights.RunWeights({WITH_WISH: fitted}, UNTUNED)
  special = run_weights.RunWeights({own: fitted}, UNTUNED)
  assert run_weights.of_catalog(WITH_WISH, plain) == WITH_WISH
  assert run_weights.of_catalog(WITH_WISH, special) == own


def test_round_trip(tmp_path, parts, fitted):
  run_weights.RunWeights({WITH_WISH: fitted}, UNTUNED, 7).save(tmp_path)
  again = run_weights.RunWeights.load(tmp_path, UNTUNED)
  assert again.checkpoint_step == 7
  np.testing.assert_array_equal(
    again.combine(WITH_WISH, parts), fitted.combine(parts)
  )


def test_a_run_without_a_file_is_untuned(tmp_path):
  assert not run_weights.RunWeights.load(tmp_path, UNTUNED).by_kind


@pytest.mark.parametrize(
  "text",
  ["{", "[]", "{}", json.dumps({"weights": {"x": 1}, "checkpoint_step": 1})],
)
def test_a_file_of_something_else_is_named(tmp_path, text):
  (tmp_path / run_weights.FILE).write_text(text)
  checksums.write(tmp_path)
  with pytest.raises(ValueError, match=r"score_weights\.json"):
    run_weights.RunWeights.load(tmp_path, UNTUNED)


@pytest.mark.parametrize(
  "damage",
  [
    lambda path: path.write_text(path.read_text().replace("7", "8")),
    lambda path: path.unlink(),  # It would rank as if nothing were fitted.
    lambda path: (path.parent / checksums.FILE).unlink(),
  ],
)
def test_weights_that_were_changed_or_lost_are_not_used(
  tmp_path, fitted, damage
):
  weights = run_weights.RunWeights({WITH_WISH: fitted}, UNTUNED, 7)
  weights.save(tmp_path)
  damage(tmp_path / run_weights.FILE)
  with pytest.raises(checksums.DamagedError, match="evaluate` fits the weigh"):
    run_weights.RunWeights.load(tmp_path, UNTUNED)
  weights.save(tmp_path)
  assert run_weights.RunWeights.load(tmp_path, UNTUNED).checkpoint_step == 7


def test_missing_parts_are_named(parts):
  weights = run_weights.RunWeights({}, UNTUNED)
  with pytest.raises(ScoreWeightsError, match="popularity"):
    weights.combine(WITH_WISH, {"match": parts["match"]})
