"""BM25 against its formula, written densely in double precision."""

import math

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog, interaction, request
from instructrec.retrieval.methods import bm25

_LOG = interaction.InteractionLog(
  pl.DataFrame({"user_id": ["u"], "item_id": ["i0"], "order": [0]})
)


def shop(*titles, **columns):
  ids = [f"i{i}" for i in range(len(titles))]
  return catalog.Catalog(
    pl.DataFrame({"item_id": ids, "title": titles, **columns})
  )


def ask(*history):
  return [request.RankingRequest("r", "u", history, ())]


def dense(items, history, *, k1, b):
  texts = [bm25.tokens(bm25.item_text(items[i])) for i in items.item_ids]
  lengths = [max(1, len(text)) for text in texts]
  average = sum(lengths) / len(texts)
  scores = np.zeros(len(texts))
  for item in history:
    for word in texts[items.index(item)]:
      df = sum(word in text for text in texts)
      idf = math.log1p((len(texts) - df + 0.5) / (df + 0.5))
      for i, text in enumerate(texts):
        tf = text.count(word)
        norm = k1 * (1 - b + b * lengths[i] / average)
        scores[i] += idf * tf / (tf + norm)
  return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0), (0.6, 1.0)])
def test_scores_are_the_formula(k1, b):
  items = shop(
    "Space Chess 2",
    "Space chess: the SPACE in space",
    "Kite",
    "Chess for two, chess for three",
    "!!!",
    brand=["Acme", None, "Acme", None, None],
  )
  history = ("i0", "i3", "i4")
  found = bm25.BM25(k1=k1, b=b).fit(_LOG, items)
  scores = found.score_catalog(ask(*history))[0]
  expected = dense(items, history, k1=k1, b=b)
  np.testing.assert_allclose(scores, expected, rtol=1e-5)
  assert scores[4] == 0


def test_a_text_is_title_brand_categories_and_description():
  items = shop(
    "Kite",
    "Rope",
    brand=["Acme", None],
    categories=[["Toys", "Wind"], []],
    description=["Flies.", None],
  )
  texts = [bm25.item_text(items[i]) for i in items.item_ids]
  assert texts == ["Kite Acme Toys Wind Flies.", "Rope"]
  assert bm25.tokens("Final-Fantasy VII, Größe 2") == [
    "final",
    "fantasy",
    "vii",
    "größe",
    "2",
  ]


def test_only_the_newest_items_make_the_query():
  items = shop("red kite", "blue rope", "red ball", "blue ball")
  found = bm25.BM25(max_history=1).fit(_LOG, items)
  np.testing.assert_array_equal(
    found.score_catalog(ask("i0", "i1")), found.score_catalog(ask("i1"))
  )
  assert found.retrieve(ask("i0", "i1"), 1).item_ids == [("i3",)]


def test_titles_without_a_word_tie():
  items = shop("!", "?", "...")
  found = bm25.BM25().fit(_LOG, items)
  np.testing.assert_array_equal(found.score_catalog(ask("i0")), [[0, 0, 0]])
