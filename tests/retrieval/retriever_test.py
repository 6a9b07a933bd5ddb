"""What every method promises, whatever it is."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.data import catalog, interaction, request
from instructrec.retrieval import evaluate, methods, retriever
from instructrec.retrieval.methods import popularity

_ALL = pytest.mark.parametrize("name", list(methods.METHODS))


@_ALL
def test_scores_of_candidates_are_those_of_the_catalogue(shop, fitted, name):
  found = fitted(name)
  requests = shop.test[:30]
  catalogue = found.score_catalog(requests)
  assert catalogue.shape == (30, len(shop.items))
  scores = found.score(requests)
  assert scores.dtype == np.float64
  for row, everything, r in zip(scores, catalogue, requests, strict=True):
    places = [shop.items.index(i) for i in r.candidates]
    np.testing.assert_array_equal(row, everything[places])


@_ALL
def test_what_is_retrieved_scores_best(shop, fitted, name):
  found = fitted(name)
  requests = shop.test[:20]
  best = found.retrieve(requests, 10)
  assert best.scores.shape == (20, 10)
  assert (np.diff(best.scores, axis=1) <= 0).all()
  asked = [
    dataclasses.replace(r, candidates=ids)
    for r, ids in zip(requests, best.item_ids, strict=True)
  ]
  np.testing.assert_array_equal(found.score(asked), best.scores)
  everything = found.score_catalog(requests)
  for r, ids, row in zip(requests, best.item_ids, everything, strict=True):
    unseen = [i for i in shop.items.item_ids if i not in r.history]
    by_score = sorted(unseen, key=lambda i: -row[shop.items.index(i)])
    assert list(ids) == by_score[:10]


@_ALL
def test_seen_items_stay_where_they_are_wanted(shop, fitted, name):
  found = fitted(name)
  (ids,) = found.retrieve(shop.test[:1], 60, remove_seen=False).item_ids
  assert sorted(ids) == sorted(shop.items.item_ids)


@_ALL
def test_neither_order_nor_batch_changes_a_score(shop, fitted, name):
  found = fitted(name)
  requests = shop.test[:7]
  scores = found.score_catalog(requests)
  np.testing.assert_allclose(
    found.score_catalog(requests[::-1])[::-1], scores, rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(
    found.score_catalog(requests[3:4])[0], scores[3], rtol=1e-5, atol=1e-6
  )
  assert found.score([]).shape == (0, 0)
  assert found.retrieve([], 3).item_ids == []


@_ALL
def test_a_saved_retriever_scores_the_same_to_the_last_bit(
  shop, fitted, name, tmp_path
):
  found = fitted(name)
  found.save(tmp_path / "saved", record={"seed": 7})
  loaded = methods.load(tmp_path / "saved")
  assert type(loaded) is type(found)
  assert dataclasses.asdict(loaded) == dataclasses.asdict(found)
  np.testing.assert_array_equal(
    loaded.score_catalog(shop.test[:9]), found.score_catalog(shop.test[:9])
  )
  assert retriever.read_manifest(tmp_path / "saved")["record"] == {"seed": 7}
  # NumPy refuses pickled arrays unless told otherwise; nothing else is there.
  suffixes = {
    path.suffix
    for path in (tmp_path / "saved").rglob("*")
    if path.is_file() and path.name != checksums.FILE
  }
  assert suffixes <= {".json", ".npy", ".npz"}
  assert [p.name for p in tmp_path.iterdir()] == ["saved"]


@_ALL
def test_the_same_seed_gives_the_same_scores(shop, fitted, fresh, name):
  found = fitted(name)
  again = fresh(found).fit(
    shop.training_log, shop.items, validation=shop.validation[:200]
  )
  np.testing.assert_array_equal(
    again.score_catalog(shop.test[:5]), found.score_catalog(shop.test[:5])
  )


@pytest.mark.parametrize("name", ["random", "als", "sasrec", "two_tower"])
def test_another_seed_gives_others(shop, fitted, name):
  found = fitted(name)
  settings = {**dataclasses.asdict(found), "seed": 99}
  other = type(found)(**settings).fit(
    shop.training_log, shop.items, validation=shop.validation[:50]
  )
  assert (
    other.score_catalog(shop.test[:5]) != found.score_catalog(shop.test[:5])
  ).any()


def test_the_training_log_has_no_target(shop):
  held_out = {(r.user_id, r.target) for r in (*shop.validation, *shop.test)}
  seen = set(shop.training_log.frame.select("user_id", "item_id").iter_rows())
  assert not seen & held_out
  assert len(seen) + len(held_out) == len(shop.log)


@_ALL
def test_the_target_is_not_read(shop, fitted, name):
  found = fitted(name)
  blind = [dataclasses.replace(r, target=None) for r in shop.test[:5]]
  np.testing.assert_array_equal(
    found.score_catalog(blind), found.score_catalog(shop.test[:5])
  )


@pytest.mark.parametrize("name", ["bm25", "itemknn", "als"])
def test_what_is_learnt_beats_popularity_on_planted_tastes(shop, fitted, name):
  """Paired over requests, by more than five standard errors."""
  ours, _ = evaluate.catalog_ranks(fitted(name), shop.test)
  theirs, _ = evaluate.catalog_ranks(fitted("popularity"), shop.test)
  gain = np.log(theirs.greater + theirs.equal / 2 + 0.5) - np.log(
    ours.greater + ours.equal / 2 + 0.5
  )
  assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))


def test_a_retriever_that_was_not_fitted_says_so(shop):
  with pytest.raises(RuntimeError, match="popularity was not fitted"):
    methods.create("popularity", {}).score(shop.test[:1])


def test_items_that_the_catalogue_lacks_are_named(shop, fitted):
  found = fitted("popularity")
  strange = dataclasses.replace(shop.test[0], candidates=("no such item",))
  with pytest.raises(ValueError, match="has the item 'no such item', which"):
    found.score([strange])
  strange = dataclasses.replace(shop.test[0], history=("x",))
  with pytest.raises(ValueError, match=r"the history of request .* item 'x'"):
    fitted("bm25").score([strange])
  other = catalog.Catalog(pl.DataFrame({"item_id": ["a"], "title": ["A"]}))
  with pytest.raises(ValueError, match="the training log has the item"):
    methods.create("popularity", {}).fit(shop.training_log, other)


@pytest.mark.parametrize("k", [0, 61])
def test_more_items_than_there_are_cannot_be_retrieved(shop, fitted, k):
  with pytest.raises(ValueError, match=f"k is {k}, expected 1 to 60"):
    fitted("popularity").retrieve(shop.test[:1], k, remove_seen=False)


@_ALL
def test_who_has_no_history_is_ranked_without_one(shop, fitted, name):
  found = fitted(name)
  newcomer = dataclasses.replace(shop.test[0], history=())
  scores = found.score_catalog([newcomer])
  assert np.isfinite(scores).all()
  if name in ("bm25", "itemknn", "als", "sasrec", "two_tower"):
    np.testing.assert_array_equal(scores, 0.0)


class _Broken(popularity.Popularity):
  """Popularity that has lost the scores of some items."""

  def _scores(self, requests):
    scores = super()._scores(requests).astype(float)
    scores[:, :30] = np.nan
    return scores


def test_scores_that_are_no_numbers_are_retrieved_last(shop):
  found = _Broken().fit(shop.training_log, shop.items)
  history = tuple(shop.items.item_ids[30:35])
  asked = [dataclasses.replace(shop.test[0], history=history)]
  (ids,) = found.retrieve(asked, 55).item_ids
  assert set(ids[:25]) == set(shop.items.item_ids[35:])
  assert ids[25:] == tuple(shop.items.item_ids[:30])


def test_ties_are_retrieved_in_the_order_of_the_catalogue():
  items = catalog.Catalog(
    pl.DataFrame({"item_id": ["c", "a", "b"], "title": ["1", "2", "3"]})
  )
  log = interaction.InteractionLog(
    pl.DataFrame({"user_id": ["u"], "item_id": ["b"], "order": [0]})
  )
  found = methods.create("popularity", {}).fit(log, items)
  asked = [request.RankingRequest("r", "u", (), ())]
  assert found.retrieve(asked, 3).item_ids == [("b", "c", "a")]


def test_a_folder_is_not_replaced_unasked(fitted, tmp_path):
  found = fitted("popularity")
  found.save(tmp_path / "saved")
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    found.save(tmp_path / "saved")
  found.save(tmp_path / "saved", overwrite=True)


def test_folders_without_a_retriever_are_named(fitted, tmp_path):
  with pytest.raises(FileNotFoundError, match="holds no retriever"):
    methods.load(tmp_path)
  fitted("random").save(tmp_path / "random")
  with pytest.raises(ValueError, match="holds 'random', expected 'bm25'"):
    methods.METHODS["bm25"].load(tmp_path / "random")
  path = tmp_path / "random" / retriever.MANIFEST
  manifest = json.loads(path.read_text())
  path.write_text(json.dumps({**manifest, "method": "oracle"}))
  checksums.write(tmp_path / "random")
  with pytest.raises(ValueError, match="the unknown method 'oracle'"):
    methods.load(tmp_path / "random")
  path.write_text(json.dumps({**manifest, "format_version": 0}))
  checksums.write(tmp_path / "random")
  with pytest.raises(ValueError, match="has format_version 0, expected 1"):
    methods.load(tmp_path / "random")
