"""Rankings of whole catalogues by weighted parts."""

import math

import numpy as np
import pytest

from instructrec.retrieval import run_weights, score_weights
from instructrec.serving import catalog_ranker

WISH = "Something for a trip to the ocean would be nice."


def fitted(**weights):
  names = tuple(sorted(weights))
  log = score_weights.FitLog(
    split="validation",
    seed=0,
    l2=1.0,
    num_requests=9,
    num_left_out=0,
    nats_before=2.0,
    nats_after=1.0,
    num_clipped=dict.fromkeys(names, 0),
  )
  values = tuple(weights[name] for name in names)
  return score_weights.ScoreWeights(names, values, (1.0,) * len(names), log)


@pytest.fixture(scope="module")
def parts(matching):
  return matching.parts("match")


@pytest.fixture(scope="module")
def untuned(parts):
  return catalog_ranker.CatalogRanker(
    parts, run_weights.RunWeights({}, parts.untuned)
  )


@pytest.fixture(scope="module")
def ranker(parts):
  weights = {
    run_weights.WITH_WISH: fitted(
      match=0.5, popularity=0.0, wanted=4.0, unwanted=-4.0
    ),
    run_weights.WITHOUT_WISH: fitted(match=1.0, popularity=2.0),
  }
  return catalog_ranker.CatalogRanker(
    parts, run_weights.RunWeights(weights, parts.untuned)
  )


@pytest.fixture(scope="module")
def history(matching):
  return matching.block.requests[0].history


@pytest.mark.parametrize("wish", [None, WISH])
@pytest.mark.parametrize("name", ["ranker", "untuned"])
def test_the_best_come_first_without_the_history(
  name, wish, history, matching, request
):
  ranker = request.getfixturevalue(name)
  found = ranker.rank(history, wish)
  ids = matching.prepared.catalog.item_ids
  assert {one.item_id for one in found} == set(ids) - set(history)
  assert len(found) == len(ids) - len(set(history))
  scores = [one.score for one in found]
  assert scores == sorted(scores, reverse=True)
  (every,) = ranker.score_catalog([history], [wish])
  assert every.shape == (len(ids),)
  for one in found:
    place = ids.index(one.item_id)
    assert one.score == pytest.approx(every[place])
    assert one.title == matching.prepared.catalog.titles[place]
    assert sum(one.parts.values()) == pytest.approx(one.score, abs=1e-6)


def test_each_kind_of_request_has_its_weights(ranker, untuned, history):
  with_wish, *_ = ranker.rank(history, WISH)
  # What weighs nothing is not told.
  assert set(with_wish.parts) == {"match", "wanted", "unwanted"}
  assert with_wish.parts["wanted"] > 0
  assert "Ocean" in with_wish.title
  without, *_ = ranker.rank(history)
  assert set(without.parts) == {"match", "popularity"}
  # Nothing is unwanted: less nothing is nothing.
  assert math.copysign(1.0, with_wish.parts["unwanted"]) == 1.0
  asked, *_ = untuned.rank(history, WISH)
  assert set(asked.parts) == {"match", "popularity"}


def test_catalogues_have_weights_of_their_own_where_there_are(parts, history):
  """Those of lists may count likelihoods, which a catalogue has none of."""
  kind = run_weights.WITHOUT_WISH
  weights = {
    kind: fitted(likelihood=1.0, match=1.0),
    run_weights.catalog_kind(kind): fitted(match=3.0),
  }
  found = catalog_ranker.CatalogRanker(
    parts, run_weights.RunWeights(weights, parts.untuned)
  )
  best, *_ = found.rank(history)
  assert set(best.parts) == {"match"}


def test_requests_together_have_the_scores_of_each(ranker, matching):
  histories = [one.history for one in matching.block.requests[:3]]
  wishes = [None, WISH, None]
  found = ranker.score_catalog(histories, wishes)
  for row, (history, wish) in enumerate(zip(histories, wishes, strict=True)):
    (alone,) = ranker.score_catalog([history], [wish])
    np.testing.assert_allclose(found[row], alone, rtol=1e-4, atol=1e-4)


def test_candidates_are_ranked_alone_and_ties_keep_the_order(
  parts, ranker, matching
):
  one = matching.block.requests[0]
  found = ranker.rank(one.history, WISH, one.candidates)
  assert sorted(x.item_id for x in found) == sorted(one.candidates)
  whole = {x.item_id: x.score for x in ranker.rank([], WISH)}
  alone = ranker.rank([], WISH, one.candidates)
  assert [x.score for x in alone] == [
    pytest.approx(whole[x.item_id]) for x in alone
  ]
  tied = catalog_ranker.CatalogRanker(
    parts,
    run_weights.RunWeights({run_weights.WITHOUT_WISH: fitted(match=0.0)}, {}),
  )
  order = [x.item_id for x in tied.rank(one.history, None, one.candidates)]
  assert order == list(one.candidates)


def test_a_wish_of_blanks_is_none(ranker, history):
  assert ranker.rank(history, "  \n ") == ranker.rank(history)


def test_what_cannot_be_ranked_is_named(ranker, history):
  with pytest.raises(ValueError, match="a history, a sentence, or both"):
    ranker.rank([], "  ")
  with pytest.raises(ValueError, match="no candidates"):
    ranker.rank(history, None, [])
  with pytest.raises(KeyError, match="nowhere"):
    ranker.rank(history, None, ["nowhere"])
