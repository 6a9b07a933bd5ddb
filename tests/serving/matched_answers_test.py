"""Questions alone and together, of items and of texts."""

import dataclasses

import numpy as np
import pytest

from instructrec.retrieval import run_weights
from instructrec.serving import (
  catalog_ranker,
  list_limits,
  matched_answers,
  questions,
)

WISH = "Something for a trip to the ocean would be nice."
IDLE = "Well, hello there."


@pytest.fixture(scope="module")
def answers(matching):
  parts = matching.parts("match")
  weights = run_weights.RunWeights({}, parts.untuned)
  return matched_answers.MatchedAnswers(
    catalog_ranker.CatalogRanker(parts, weights), most_at_once=4
  )


@pytest.fixture(scope="module")
def items(answers):
  return answers.ranker.parts.catalog


def answered(answers, *asked):
  return answers.answer([answers.read(one) for one in asked])


def texts(*found):
  return tuple(questions.Document(text) for text in found)


def test_the_catalogue_is_ranked_as_the_ranker_ranks_it(answers, items):
  history = tuple(items.item_ids[:3])
  (found,) = answered(answers, questions.Question(history, WISH, k=7))
  expected = answers.ranker.rank(history, WISH, k=7)
  ids = [items.item_ids[place] for place in found.places]
  assert ids == [one.item_id for one in expected]
  np.testing.assert_allclose(found.raw, [one.score for one in expected])
  assert list(found.parts) == [one.parts for one in expected]
  assert found.num_candidates == len(items) - 3


def test_a_score_is_a_lift_over_the_average_item(answers, items):
  (found,) = answered(answers, questions.Question((), WISH))
  odds = found.scores / (1 - found.scores)
  assert np.mean(odds) == pytest.approx(1.0)
  np.testing.assert_allclose(
    np.diff(np.log(odds)), np.diff(found.raw), atol=1e-6
  )


def test_items_that_are_not_allowed_are_left_out(answers, items):
  allowed = np.zeros(len(items), bool)
  allowed[[3, 5, 8]] = True
  history = (items.item_ids[5],)
  (found,) = answered(answers, questions.Question(history, allowed=allowed))
  assert sorted(found.places) == [3, 8]
  with pytest.raises(ValueError, match="no candidates"):
    answered(answers, questions.Question(history, allowed=allowed & False))


def test_a_question_has_its_scores_alone_and_among_others(answers, items):
  ids = tuple(items.item_ids)
  asked = [
    questions.Question(ids[:2], WISH, texts("A kite", "An ocean liner")),
    questions.Question(ids[4:8], None, k=5),
    questions.Question((), IDLE, texts("An ocean liner", "A puzzle")),
    questions.Question(ids[:1], WISH),
  ]
  together = answered(answers, *asked)
  for one, question in zip(together, asked, strict=True):
    (alone,) = answered(answers, question)
    assert alone.places == one.places
    np.testing.assert_allclose(alone.raw, one.raw, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alone.scores, one.scores, rtol=1e-5)
    assert alone.tokens == one.tokens


def test_a_text_is_an_item_that_nobody_took(answers, items):
  item = questions.Document(items.titles[4], 4)
  (found,) = answered(
    answers, questions.Question((), IDLE, (item, *texts(items.titles[4])))
  )
  taken, untaken = np.argsort(found.places)
  popularity = [one["popularity"] for one in found.parts]
  counts = answers.ranker.parts.prepared.split.training_log.item_counts
  assert popularity[taken] - popularity[untaken] == pytest.approx(
    np.log(1 + counts[items.item_ids[4]])
    * answers.ranker.parts.untuned["popularity"]
  )


def test_texts_have_what_they_name(answers):
  parts = answers.ranker.parts
  read = parts.read_texts(["Under the Ocean", "A kite"])
  found = parts.of_catalog([[]], [WISH], read)
  most = found["wanted"][0, :-2].max()
  assert most > 0
  assert found["wanted"][0, -2:].tolist() == [most, 0.0]
  assert found["unwanted"][0, -2:].tolist() == [0.0, 0.0]
  found = parts.of_catalog([[]], ["No ocean, please."], read[:1])
  assert found["unwanted"][0, -1] == 1.0


def test_ties_keep_the_order_of_the_request(answers):
  same = texts("A kite", "A kite", "A kite")
  (found,) = answered(answers, questions.Question((), WISH, same, k=2))
  assert found.places == (0, 1)


def test_what_is_cut_is_named(answers, items):
  long = texts("A kite", "kite " * 50)
  (found,) = answered(answers, questions.Question((), WISH, long))
  assert found.cut == (1,)
  assert found.read_of_each == 12


@pytest.mark.parametrize(
  ("most_at_once", "counts"), [(4, (1, 2, 4)), (20, (20,))]
)
def test_nothing_compiles_after_warming(answers, items, most_at_once, counts):
  answers = dataclasses.replace(answers, most_at_once=most_at_once)
  answers.warm()
  from instructrec.training import matching

  parts = answers.ranker.parts
  functions = [
    matching._states_fn(parts.run.model, None),
    matching._vectors_fn(parts.run.model, None),
  ]
  before = [one._cache_size() for one in functions]
  ids = tuple(items.item_ids)
  for count in counts:
    for wish in (WISH, IDLE, "a toy " * 30):
      question = questions.Question(ids[:3], wish, texts(*"abcdefg" * count))
      answered(answers, *[question] * count)
  assert [one._cache_size() for one in functions] == before


def test_what_is_no_number_ranks_nothing(answers, items):
  broken = dataclasses.replace(
    answers,
    ranker=dataclasses.replace(
      answers.ranker,
      weights=run_weights.RunWeights({}, {"match": float("nan")}),
    ),
  )
  with pytest.raises(questions.NotFiniteError, match="no numbers"):
    answered(broken, questions.Question((), WISH))


def test_the_best_of_many_are_those_of_all():
  scores = np.random.default_rng(0).integers(0, 9, 50).astype(float)
  whole = questions.best(scores, None).tolist()
  for k in (1, 7, 49, 50, 99):
    assert questions.best(scores, k).tolist() == whole[:k]


def test_a_list_keeps_to_its_limits(answers, items):
  having = np.zeros(len(items), bool)
  having[:40] = True
  limits = (list_limits.Limit(having, 2),)
  (whole,) = answered(answers, questions.Question((), WISH))
  (found,) = answered(answers, questions.Question((), WISH, k=9, limits=limits))
  few = [place for place in whole.places if place < 40][:2]
  rest = [place for place in whole.places if place >= 40]
  assert [p for p in found.places if p < 40] == few
  assert [p for p in found.places if p >= 40] == rest[:7]
  assert list(found.raw) == sorted(found.raw, reverse=True)
