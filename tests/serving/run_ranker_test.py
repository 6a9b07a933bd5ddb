"""Requests by titles, ids and words, one after another."""

import types

import polars as pl
import pytest

from instructrec.data import catalog
from instructrec.retrieval import run_weights
from instructrec.serving import catalog_ranker, rankings, run_ranker
from instructrec.serving.messages import Message
from instructrec.settings import ranking
from instructrec.training import matching as matching_lib

LONG = "a toy " * 60


@pytest.fixture(scope="module", name="ranker")
def ranker_fixture(matching):
  """A run that matches titles."""
  parts = matching.parts("match")
  weights = run_weights.RunWeights({}, parts.untuned)
  return run_ranker.Ranker(
    types.SimpleNamespace(
      run=parts.run,
      catalog=parts.catalog,
      parts=parts,
      ranks_catalogs=True,
      weights_warning=None,
      catalog_ranker=catalog_ranker.CatalogRanker(parts, weights),
    )
  )


def named(**titles):
  """A ranker of nothing but names, by id."""
  frame = {"item_id": list(titles), "title": list(titles.values())}
  items = catalog.Catalog(pl.DataFrame(frame))
  return run_ranker.Ranker(types.SimpleNamespace(catalog=items))


def test_titles_and_ids_name_the_same_items(ranker):
  items = ranker.opened.catalog
  ids, titles = items.item_ids[:2], items.titles[:2]
  by_id = ranker.rank(ids, "something nice", k=5)
  assert ranker.rank(titles, "something nice.", k=5) == by_id
  assert by_id.history == tuple(ids)
  assert by_id.wish == "something nice."
  assert by_id.num_candidates == len(items) - 2
  whole = ranker.opened.catalog_ranker.rank(ids, "something nice.")
  assert [(p.item_id, p.title, p.score, p.parts) for p in by_id] == [
    (p.item_id, p.title, p.score, p.parts) for p in whole[:5]
  ]
  assert by_id[0] == by_id.places[0]
  assert list(by_id[1:]) == list(by_id.places[1:])


def test_candidates_are_the_ones_that_are_ranked(ranker):
  titles = ranker.opened.catalog.titles[5:9]
  found = ranker.rank([], "something nice", candidates=titles)
  assert sorted(place.title for place in found) == sorted(titles)
  assert found.num_candidates == 4


def test_what_binds_filters_the_catalogue_and_lowers_candidates(ranker):
  items = ranker.opened.catalog
  brands = items.frame["brand"].to_list()
  wish = f"Something nice, nothing by {brands[5]}"
  mine = [
    i
    for i, brand in zip(items.item_ids, brands, strict=True)
    if brand != brands[5]
  ]
  whole = ranker.rank([], wish, k=len(items))
  assert {place.item_id for place in whole} == set(mine)
  assert whole.understood == f"no {brands[5]}"
  assert whole.notes == (f"what the wish asks binds: no {brands[5]}",)
  some = items.item_ids[3:9]
  found = ranker.rank([], wish, candidates=some, k=len(some))
  kept = [item for item in some if item in mine]
  assert {place.item_id for place in found[: len(kept)]} == set(kept)
  assert sorted(place.item_id for place in found) == sorted(some)
  assert found[len(kept)].score < found[len(kept) - 1].score - 30
  (note,) = found.notes
  assert note == (
    f"{len(some) - len(kept)} of {len(some)} candidates break what the wish "
    f"asks (no {brands[5]}) and stand behind the others"
  )


def test_words_say_how_many_there_are(ranker):
  wish = "Give me two items with an ocean."
  found = ranker.rank([], wish, k=5)
  assert len(found) == 2
  assert list(found) == list(ranker.rank([], wish, k=2))
  found = ranker.rank([], "Show me 20 with an ocean.", k=5)
  assert len(found) == 5
  assert "20 items are asked for, and at most 5 given" in found.notes
  some = ranker.opened.catalog.item_ids[3:9]
  found = ranker.rank([], wish, candidates=some, k=len(some))
  assert len(found) == len(some)
  (note,) = found.notes
  assert note == (
    "all candidates are ranked, so that this does not hold: 2 items"
  )


def test_a_conversation_is_ranked_for_as_what_it_has_come_to(ranker):
  """Its last wish is not read again: what was taken back stays so."""
  said = ["Something under 1 dollar with an ocean.", "Forget the price."]
  state = ranker.conversations.read([Message("user", one) for one in said])
  assert "under 1 dollar" in state.wish
  found = ranker.rank(wish=state, k=3)
  assert found.num_candidates == len(ranker.opened.catalog)
  with pytest.raises(rankings.NothingLeftError, match="a price of at most 1"):
    ranker.rank(wish=said[0])


def test_the_second_request_compiles_nothing(ranker):
  """However long its wish and history are."""
  items = ranker.opened.catalog.item_ids
  ranker.rank(items[:1], "a")
  states = matching_lib._states_fn(
    ranker.opened.parts.run.model, ranker.opened.parts.matcher.mesh_config
  )
  before = states._cache_size()
  ranker.rank(items[:4], "something for my sister who likes the sea")
  ranker.rank(items[:2])
  ranker.rank([], LONG)
  assert states._cache_size() == before


def test_what_is_not_read_of_a_request_is_said(ranker):
  items = ranker.opened.catalog.item_ids
  read = ranker.opened.parts.run.data.history_length
  short = ranker.rank(items[:read], "a toy")
  assert short.notes == ()
  found = ranker.rank(items[: read + 2], LONG)
  history, wish = found.notes
  assert f"the newest {read} of {read + 2} items are read" in history
  assert "the wish is cut" in wish
  most = ranker.opened.parts.run.data.inputs_length - 1
  assert f"the model reads {most}" in wish


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({}, "needs a history, a sentence, or both"),
    ({"wish": "a", "k": 0}, "k is 0, expected 1 or more"),
    ({"wish": "a", "candidates": []}, "no candidates"),
    ({"history": ["No such thing"]}, "no item is called 'No such thing'"),
    ({"wish": "a", "on_unknown": "guess"}, "'guess'"),
  ],
)
def test_a_request_of_nonsense_is_refused(ranker, request_, message):
  with pytest.raises(ValueError, match=message):
    ranker.rank(**request_)


def test_a_title_alone_is_no_history(ranker):
  with pytest.raises(TypeError, match="'Toy Story', expected several"):
    ranker.rank("Toy Story")


def test_unknown_titles_are_left_out_or_corrected():
  ranker = named(a="Toy Story", b="Alien")
  notes = []
  names = ["toy stry", "Zzz", "ALIEN"]
  skipped = ranker.items(names, ranking.OnUnknown.skip, notes)
  assert skipped == ["b"]
  assert [note.split(";")[0] for note in notes] == [
    "left out: no item is called 'toy stry'",
    "left out: no item is called 'Zzz'",
  ]
  notes.clear()
  nearest = ranker.items(names[::2], ranking.OnUnknown.nearest, notes)
  assert nearest == ["a", "b"]
  assert notes == ["'toy stry' was read as 'Toy Story'"]
  for policy in (ranking.OnUnknown.nearest, ranking.OnUnknown.error):
    with pytest.raises(ValueError, match="no item is called 'Zzz'"):
      ranker.items(["Zzz"], policy, [])


def test_a_name_of_two_items_is_nobodys():
  """An id that is the title of another item."""
  ranker = named(a="1984", **{"1984": "Alien"})
  for policy in ranking.OnUnknown:
    with pytest.raises(ValueError, match="write 'id:1984' or 'title:1984'"):
      ranker.items(["1984"], policy, [])
  find = ["id:1984", "title:1984", "a"]
  assert ranker.items(find, ranking.OnUnknown.error, []) == ["1984", "a", "a"]
  with pytest.raises(ValueError, match="no item has the id 'b'"):
    ranker.items(["id:b"], ranking.OnUnknown.error, [])
