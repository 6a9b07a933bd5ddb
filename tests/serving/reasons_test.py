"""Reasons are differences of rankings, and constraints are the attributes'."""

import dataclasses
import types

import numpy as np
import pytest

from instructrec.retrieval import run_weights, score_weights
from instructrec.serving import catalog_ranker, reasons, run_ranker
from instructrec.serving.constraints import Constraint, Kind

WISH = "I would like a puzzle with robots, but nothing by Oakline."


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


@pytest.fixture(scope="module", name="ranker")
def ranker_fixture(matching):
  """A run that matches titles and listens to wishes."""
  parts = matching.parts("match")
  weights = {
    run_weights.WITH_WISH: fitted(
      match=0.5, popularity=0.3, wanted=4.0, unwanted=-4.0, unread=0.5
    ),
    run_weights.WITHOUT_WISH: fitted(match=1.0, popularity=2.0),
  }
  return run_ranker.Ranker(
    types.SimpleNamespace(
      run=parts.run,
      catalog=parts.catalog,
      parts=parts,
      ranks_catalogs=True,
      weights_warning=None,
      catalog_ranker=catalog_ranker.CatalogRanker(
        parts, run_weights.RunWeights(weights, parts.untuned)
      ),
    )
  )


def explained(ranker, history, wish, **more):
  request = ranker.request(history, wish, **more)
  (found,) = ranker.rank_all([request])
  return found, ranker.explain(request, found)


def score(ranker, history, wish, item):
  found = ranker.rank(history, wish, k=len(ranker.opened.catalog))
  return next(place.score for place in found if place.item_id == item)


def test_effects_are_differences_of_separate_rankings(ranker):
  history = ranker.opened.catalog.item_ids[:3]
  found, whys = explained(ranker, history, WISH, k=2)
  for place, why in zip(found, whys, strict=True):
    taken = {e.item_id: e for e in why.effects if e.item_id is not None}
    assert set(taken) == set(history)
    for item, effect in taken.items():
      left = [other for other in history if other != item]
      without = score(ranker, left, WISH, place.item_id)
      assert effect.without == pytest.approx(without, abs=1e-5)
      assert effect.effect == pytest.approx(place.score - without, abs=1e-5)
    said = {e.words: e for e in why.effects if e.item_id is None}
    assert set(said) == {"puzzle", "robots", "Oakline", WISH}
    assert said["robots"].part is reasons.Part.WORDS
    assert said["Oakline"].part is reasons.Part.REFUSED
    for words, effect in said.items():
      rest = " ".join(WISH.replace(words, "").split()) or None
      without = score(ranker, history, rest, place.item_id)
      assert effect.effect == pytest.approx(place.score - without, abs=1e-5)


def test_an_effect_stands_beside_that_on_the_average_item(ranker):
  items = ranker.opened.catalog
  history = items.item_ids[:2]
  _, (why,) = explained(ranker, history, WISH, k=1)
  ranked = ranker.request(history, WISH).places
  brands = items.frame["brand"]
  assert [items.item_ids[i] for i in ranked] == [
    item
    for item, brand in zip(items.item_ids, brands, strict=True)
    if item not in history and brand != "Oakline"
  ]
  every = ranker.opened.catalog_ranker.score_catalog(
    [history, history[1:]], [WISH, WISH]
  )[:, ranked]
  average = (every[0] - every[1]).mean()
  effect = next(e for e in why.effects if e.item_id == history[0])
  assert effect.above_average == pytest.approx(
    effect.effect - average, abs=1e-5
  )
  order = [e.above_average for e in why.effects]
  assert order == sorted(order, reverse=True)


def test_words_raise_what_has_them(ranker):
  history = ranker.opened.catalog.item_ids[:1]
  _, (why,) = explained(ranker, history, "Something with robots.", k=1)
  first = why.effects[0]
  assert "robots" in first.words
  assert first.above_average > 1
  assert f"{first.above_average:+.2f}" in why.text
  assert "the word 'robots'" in why.text
  assert "meets: Robot" in why.text


def test_constraints_are_met_where_the_attribute_holds(ranker):
  shelf, items = ranker.shelf, ranker.opened.catalog
  asked = [Constraint(Kind.MAX_PRICE, number=20.0)]
  found, whys = explained(ranker, [], WISH, k=len(items), asked=asked)
  assert len(found) == sum(
    p is not None and p <= 20 and brand != "Oakline"
    for p, brand in items.frame.select("price", "brand").iter_rows()
  )
  seen = set()
  for place, why in zip(found, whys, strict=True):
    item = items[place.item_id]
    has = {
      shelf.attributes.attributes[n]
      for n in shelf.attributes.of_item(items.index(place.item_id))
    }
    for one, meets in why.constraints:
      seen.add((one.text, meets))
      if one.kind is Kind.MAX_PRICE:
        assert meets is (item.price <= 20)
      else:
        assert meets is ((one.attribute in has) is (one.kind is Kind.WANTED))
      if meets:
        assert one.text in why.text.partition("does not meet")[0]
  assert {("puzzles", True), ("puzzles", False)} <= seen
  assert ("no Oakline", True) in seen
  assert ("no Oakline", False) not in seen


@pytest.mark.parametrize(
  ("wish", "expected"),
  [
    ("At most two puzzles.", [("at most 2 of puzzles", None)]),
    ("Only puzzles.", [("among puzzles", True)]),
  ],
)
def test_what_binds_is_not_wanted_as_well(ranker, wish, expected):
  _, whys = explained(ranker, [], wish, k=3)
  assert [list(map(_said, why.constraints)) for why in whys] == [expected] * 3


def _said(asked):
  return asked[0].text, asked[1]


def test_nothing_is_invented_of_an_item_without_attributes(ranker):
  known = ranker.shelf.attributes
  bare = dataclasses.replace(
    ranker.shelf,
    attributes=type(known)(
      known.attributes,
      [np.setdiff1d(known.items(n), [0]) for n in range(len(known))],
      known.num_items,
    ),
  )
  bare.__dict__["prices"] = np.full(known.num_items, np.nan)
  explainer = reasons.Explainer(
    bare,
    ranker.opened.parts.reader,
    ranker.opened.catalog_ranker.score_catalog,
  )
  item = ranker.opened.catalog.item_ids[0]
  asked = [Constraint(Kind.MAX_PRICE, number=20.0)]
  (why,) = explainer.explain([], WISH, [item], asked)
  assert len(why.constraints) == 4
  assert all(meets is None for _, meets in why.constraints)
  assert "meet" not in why.text


def test_the_same_request_has_the_same_reasons(ranker):
  history = ranker.opened.catalog.item_ids[:2]
  once = explained(ranker, history, WISH, k=3)[1]
  again = explained(ranker, history, WISH, k=3)[1]
  assert [w.to_json() for w in once] == [w.to_json() for w in again]


def test_only_the_newest_items_are_left_out_in_turn(ranker):
  history = ranker.opened.catalog.item_ids[: reasons.MOST_ITEMS + 2]
  _, (why,) = explained(ranker, history, None, k=1)
  assert {e.item_id for e in why.effects} == set(history[2:])


def test_a_wish_is_read_a_few_times_whatever_it_repeats(ranker, monkeypatch):
  wishes = ranker.opened.parts.reader
  read, whole = [], wishes.read

  def counted(text, titles=()):
    read.append(text)
    return whole(text, titles)

  monkeypatch.setattr(wishes, "read", counted)
  explainer = reasons.Explainer(ranker.shelf, wishes, None)
  wish = "I would like puzzles and robots. " * 60
  found = explainer.variants((), wish)
  words = [one.words for one in found if one.part is reasons.Part.WORDS]
  assert words == ["puzzles", "robots"]
  assert len(read) <= 1 + 2 * len(words)
