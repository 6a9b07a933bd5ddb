"""Ranks of targets in lists and in the whole catalogue."""

import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import metrics, selection
from instructrec.retrieval import evaluate


def test_ranks_in_a_list_count_what_scores_better(shop, fitted):
  found = fitted("itemknn")
  requests = shop.test[:50]
  ranks, counts = evaluate.candidate_ranks(found, requests)
  np.testing.assert_array_equal(counts, 10)
  for r, row, above, tied in zip(
    requests, found.score(requests), ranks.greater, ranks.equal, strict=True
  ):
    own = row[r.candidates.index(r.target)]
    assert above == (row > own).sum()
    assert tied == (row == own).sum()


@pytest.mark.parametrize("remove_seen", [True, False])
def test_ranks_in_the_catalogue_leave_out_what_was_seen(
  shop, fitted, remove_seen
):
  found = fitted("popularity")
  requests = shop.test[:50]
  ranks, counts = evaluate.catalog_ranks(
    found, requests, remove_seen=remove_seen
  )
  scores = found.score_catalog(requests)
  for i, r in enumerate(requests):
    seen = set(r.history) - {r.target} if remove_seen else set()
    left = [shop.items.index(x) for x in shop.items.item_ids if x not in seen]
    own = scores[i, shop.items.index(r.target)]
    assert ranks.greater[i] == (scores[i, left] > own).sum()
    assert ranks.equal[i] == (scores[i, left] == own).sum()
    assert counts[i] == len(left)


def test_chunks_change_nothing(shop, fitted, monkeypatch):
  found = fitted("itemknn")
  whole, _ = evaluate.catalog_ranks(found, shop.test[:50])
  monkeypatch.setattr("instructrec.retrieval.retriever.CHUNK", 7)
  parts, _ = evaluate.catalog_ranks(found, shop.test[:50])
  np.testing.assert_array_equal(parts.greater, whole.greater)
  np.testing.assert_array_equal(parts.equal, whole.equal)


def test_recall_of_what_is_retrieved_is_the_hit_rate(shop, fitted):
  """Random scores do not tie, so that both count the same requests."""
  found = fitted("random")
  result = evaluate.evaluate_catalog("all", {"random": found}, shop.test)
  retrieved = found.retrieve(shop.test, 20).item_ids
  hits = [r.target in ids for r, ids in zip(shop.test, retrieved, strict=True)]
  assert result.methods["random"]["HR@20"].mean == pytest.approx(np.mean(hits))


def test_random_is_at_chance_in_lists_and_catalogue(shop, fitted):
  found = {"random": fitted("random")}
  for result in (
    evaluate.evaluate("lists", found, shop.test),
    evaluate.evaluate_catalog("all", found, shop.test),
  ):
    for name, interval in result.methods["random"].items():
      error = (interval.high - interval.low) / 4
      assert abs(interval.mean - result.chance[name]) < 5 * error + 1e-9


def test_methods_share_requests_and_cut_offs(shop, fitted):
  found = {name: fitted(name) for name in ("random", "popularity", "itemknn")}
  names = metrics.default_names(ndcg_at=(1, 5, 10, 20))
  result = evaluate.evaluate(
    "lists", found, shop.test[:80], selection=selection.Selection(names)
  )
  assert result.num_requests == 80
  assert set(result.methods) == set(found)
  assert [*result.chance] == [
    *(f"HR@{k}" for k in metrics.HIT_RATE_AT),
    "NDCG@1",
    "NDCG@5",
    "NDCG@10",
    "NDCG@20",
    "MRR",
  ]
  assert result.descriptions["itemknn"] == found["itemknn"].description
  mean = result.methods["itemknn"]["NDCG@10"].mean
  values = result.per_request["itemknn"]["NDCG@10"]
  assert mean == pytest.approx(values.mean(), rel=1e-12)


def test_reports_know_targets_candidates_and_counts(shop, fitted):
  found = {"itemknn": fitted("itemknn"), "random": fitted("random")}
  requests = shop.test[:60]
  result = evaluate.evaluate(
    "lists", found, requests, training_log=shop.training_log
  )
  known = result.known
  (lists,) = result.lists
  assert list(lists.candidates) == [r.candidates for r in requests]
  for i, r in enumerate(requests):
    assert known.targets[i] == lists.targets[i] == r.target
    assert known.positions[i] == r.candidates.index(r.target)
    taken = shop.training_log.frame.filter(item_id=r.target).height
    assert known.target_counts[i] == taken
    assert known.history_lengths[i] == len(r.history)
  for name, one in found.items():
    np.testing.assert_array_equal(lists.scores[name], one.score(requests))
  assert [sum(split.counts) for split in result.breakdowns] == [60] * 4
  plain = evaluate.evaluate("lists", found, requests)
  assert plain.methods == result.methods
  assert plain.known is None
  assert plain.lists is None
  assert plain.breakdowns == []


def test_the_catalogue_has_exposure_and_no_lists(shop, fitted):
  found = {"random": fitted("random"), "popularity": fitted("popularity")}
  result = evaluate.evaluate_catalog(
    "all", found, shop.test, training_log=shop.training_log
  )
  assert result.known.lists is None
  assert result.known.positions is None
  popular, uniform = (result.exposures[n] for n in ("popularity", "random"))
  shown = fitted("popularity").retrieve(shop.test, 10).item_ids
  share = len({i for ids in shown for i in ids}) / len(shop.items)
  assert popular.k == 10
  assert popular.coverage == pytest.approx(share)
  assert popular.gini > uniform.gini
  assert popular.mean_popularity > uniform.mean_popularity


def test_what_cannot_be_ranked_is_named(shop, fitted):
  found = fitted("random")
  r = shop.test[0]
  alone = dataclasses.replace(r, candidates=("i0", "i1"), target="i2")
  with pytest.raises(ValueError, match=f"'i2' of request '{r.request_id}'"):
    evaluate.candidate_ranks(found, [alone])
  with pytest.raises(ValueError, match="there are no requests"):
    evaluate.catalog_ranks(found, [])
  unknown = dataclasses.replace(r, target=None)
  with pytest.raises(ValueError, match=r"the target of .* has the item ''"):
    evaluate.catalog_ranks(found, [unknown])
  with pytest.raises(ValueError, match="there are no retrievers"):
    evaluate.evaluate("lists", {}, shop.test[:2])
