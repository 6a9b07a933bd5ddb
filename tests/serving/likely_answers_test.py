"""Answers by likelihoods: lists together and alone, and the catalogue."""

import numpy as np
import pytest

from instructrec.instructions import templates
from instructrec.serving import likely_answers, questions, ranker

WISH = "Something for a trip to the ocean would be nice."


@pytest.fixture(scope="module")
def answers(matching):
  run = matching.run
  return likely_answers.LikelyAnswers(
    ranker.InstructionRanker(
      run.model,
      matching.params,
      run.tokenizer,
      matching.prepared.catalog,
      run.data.inputs_length,
      run.data.targets_length,
      templates.load(),
    )
  )


def test_lists_have_their_scores_alone_and_among_others(answers):
  items = answers.ranker.catalog
  ids, documents = (
    items.item_ids,
    [
      questions.Document(title, place)
      for place, title in enumerate(items.titles)
    ],
  )
  asked = [
    questions.Question(tuple(ids[:2]), WISH, tuple(documents[9:14])),
    questions.Question((), WISH, (questions.Document("A kite " * 40),)),
    questions.Question(tuple(ids[3:5]), None, tuple(documents[20:26]), k=2),
  ]
  together = answers.answer([answers.read(one) for one in asked])
  for one, question in zip(together, asked, strict=True):
    (alone,) = answers.answer([answers.read(question)])
    assert alone.places == one.places
    np.testing.assert_allclose(alone.raw, one.raw, rtol=1e-5)
    assert (one.scores > 0).all()
    assert (one.scores <= 1).all()
  expected = answers.ranker.rank(ids[:2], WISH, ids[9:14])
  assert [ids[9 + place] for place in together[0].places] == [
    one.item_id for one in expected
  ]
  assert together[0].cut == ()
  assert together[1].cut == (0,)
  assert len(together[2].places) == 2


def test_the_catalogue_is_searched_within_what_is_allowed(answers):
  items = answers.ranker.catalog
  allowed = np.zeros(len(items), bool)
  allowed[[4, 7, 9]] = True
  history = (items.item_ids[4],)
  asked = questions.Question(history, WISH, allowed=allowed)
  (found,) = answers.answer([answers.read(asked)])
  assert sorted(found.places) == [7, 9]
  assert found.num_candidates == 2
  assert found.raw[0] >= found.raw[1]
