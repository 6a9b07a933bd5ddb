"""Requests to rerank and their answers, dialect by dialect."""

import numpy as np
import pytest

from instructrec.serving import questions

QUERY = "Something for a trip to the ocean would be nice"
TEXTS = ["A kite", "Under the Ocean", "A puzzle", "An ocean liner"]


@pytest.fixture(scope="module")
def expected(run):
  """The answer of the run itself."""
  documents = tuple(questions.Document(text) for text in TEXTS)
  asked = questions.Question((), f"{QUERY}.", documents)
  (found,) = run.answers.answer([run.answers.read(asked)])
  return found


@pytest.mark.parametrize(
  ("path", "version"),
  [("/rerank", "2"), ("/v1/rerank", "1"), ("/v2/rerank", "2")],
)
def test_documents_are_answered_as_cohere_has_it(
  server, expected, path, version
):
  found = server.post(path, {"query": QUERY, "documents": TEXTS})
  assert found.status_code == 200
  answer = found.json()
  assert [one["index"] for one in answer["results"]] == list(expected.places)
  np.testing.assert_allclose(
    [one["relevance_score"] for one in answer["results"]],
    expected.scores,
    rtol=1e-5,
  )
  assert all(set(r) == {"index", "relevance_score"} for r in answer["results"])
  assert answer["model"] == "shop"
  assert answer["object"] == "rerank"
  assert answer["id"].startswith("rerank-")
  tokens = answer["usage"]["total_tokens"]
  assert answer["usage"]["prompt_tokens"] == tokens > 0
  assert answer["meta"] == {
    "api_version": {"version": version},
    "billed_units": {"search_units": 1},
    "tokens": {"input_tokens": tokens, "output_tokens": 0},
    "warnings": [],
  }


def test_documents_that_break_the_wish_stand_behind_the_others(server, run):
  """By price where they are items, by what they name where they are texts."""
  frame = run.catalog.frame
  priced = frame.drop_nulls("price").sort("price")
  cheap, dear = priced["item_id"][0], priced["item_id"][-1]
  brand = frame["brand"][0]
  texts = [f"An ocean puzzle by {brand}", "A train", "A kite"]
  documents = [{"item_id": dear}, *texts, {"item_id": cheap}]
  body = {"query": "About the ocean, under 1000 dollars"}
  plain = server.post("/rerank", body | {"documents": documents}).json()
  assert plain["meta"]["warnings"] == []
  most = priced["price"][-1] - 0.01
  query = f"About the ocean, nothing by {brand}, under {most:.2f} dollars"
  body = {"query": query, "documents": documents}
  answer = server.post("/rerank", body).json()
  places = [one["index"] for one in answer["results"]]
  scores = {r["index"]: r["relevance_score"] for r in answer["results"]}
  lowered = {0, 1} | ({4} if priced["brand"][0] == brand else set())
  assert set(places[-len(lowered) :]) == lowered
  assert sorted(places) == list(range(5))
  before = {r["index"]: r["relevance_score"] for r in plain["results"]}
  for place in range(5):
    assert 0 < scores[place] <= 1
    assert (scores[place] < 1e-12) == (place in lowered)
    assert before[place] > 1e-6
  (warning,) = answer["meta"]["warnings"]
  assert warning.startswith(
    f"{len(lowered)} of 5 documents break what the wish"
  )
  kinds = [one["kind"] for one in answer["understood"]["constraints"]]
  assert sorted(kinds) == ["max_price", "unwanted", "wanted"]


def test_texts_are_answered_as_tei_has_it(server, expected):
  found = server.post("/rerank", {"query": QUERY, "texts": TEXTS}).json()
  assert [one["index"] for one in found] == list(expected.places)
  assert all(set(one) == {"index", "score"} for one in found)
  body = {"query": QUERY, "texts": TEXTS, "return_text": True}
  found = server.post("/rerank", body | {"raw_scores": True}).json()
  assert [one["text"] for one in found] == [TEXTS[i] for i in expected.places]
  raw = [one["score"] for one in found]
  np.testing.assert_allclose(raw, expected.raw, rtol=1e-5)


def test_documents_come_back_only_if_asked_for(server):
  documents = ["A kite", {"text": "Under the Ocean", "shelf": 7}]
  body = {"query": QUERY, "documents": documents, "return_documents": True}
  found = server.post("/v1/rerank", body).json()["results"]
  by_index = {one["index"]: one["document"] for one in found}
  assert by_index == {0: {"text": "A kite"}, 1: documents[1]}


@pytest.mark.parametrize(
  ("top_n", "count"), [(None, 4), (0, 4), (1, 1), (3, 3), (4, 4), (99, 4)]
)
def test_top_n_is_how_many_there_are_at_most(server, expected, top_n, count):
  body = {"query": QUERY, "documents": TEXTS, "top_n": top_n}
  found = server.post("/v2/rerank", body).json()["results"]
  assert [one["index"] for one in found] == list(expected.places[:count])


def test_vllm_may_ask_for_raw_scores(server, expected):
  body = {"query": QUERY, "documents": TEXTS, "use_activation": False}
  found = server.post("/v1/rerank", body).json()["results"]
  np.testing.assert_allclose(
    [one["relevance_score"] for one in found], expected.raw, rtol=1e-5
  )


def test_cohere_may_name_the_fields_that_count(server):
  documents = [
    {"title": "Under the Ocean", "body": "x"},
    {"title": "A kite", "body": "y"},
  ]
  body = {"query": QUERY, "documents": documents, "rank_fields": ["title"]}
  found = server.post("/v1/rerank", body).json()["results"]
  plain = [one["title"] for one in documents]
  body = {"query": QUERY, "documents": plain}
  assert server.post("/v1/rerank", body).json()["results"] == found
  # Whatever is named again and again is not ranked again and again.
  body |= {"documents": documents, "rank_fields": ["title"] * 50}
  assert server.post("/v1/rerank", body).json()["results"] == found


def test_titles_and_item_ids_are_items(server, run):
  items = run.catalog
  documents = [
    items.titles[3].upper(),
    {"item_id": items.item_ids[5]},
    "No item",
  ]
  body = {"query": QUERY, "documents": documents}
  found = server.post("/v2/rerank", body).json()["results"]
  scores = {one["index"]: one["relevance_score"] for one in found}
  asked = questions.Question((), f"{QUERY}.")
  (whole,) = run.answers.answer([run.answers.read(asked)])
  of_items = dict(zip(whole.places, whole.scores, strict=True))
  assert scores[0] == pytest.approx(of_items[3], rel=1e-5)
  assert scores[1] == pytest.approx(of_items[5], rel=1e-5)


def test_history_and_instruction_are_read(server, run):
  items = run.catalog
  body = {
    "query": "a puzzle",
    "instruction": "No kites",
    "history": [items.titles[0], items.item_ids[1]],
    "documents": TEXTS,
  }
  found = server.post("/rerank", body).json()["results"]
  documents = tuple(questions.Document(text) for text in TEXTS)
  asked = questions.Question(
    tuple(items.item_ids[:2]), "No kites. a puzzle.", documents
  )
  (expected,) = run.answers.answer([run.answers.read(asked)])
  assert [one["index"] for one in found] == list(expected.places)
  np.testing.assert_allclose(
    [one["relevance_score"] for one in found], expected.scores, rtol=1e-5
  )
  # A history alone is enough.
  alone = body | {"query": "", "instruction": None}
  assert server.post("/rerank", alone).status_code == 200


def test_what_is_cut_is_said_and_fails_nothing(server):
  long = [*TEXTS, "kite " * 500]
  found = server.post("/v2/rerank", {"query": QUERY, "documents": long}).json()
  (warning,) = found["meta"]["warnings"]
  assert "documents.4 is longer than the 12 tokens" in warning
  scores = {one["index"]: one["relevance_score"] for one in found["results"]}
  short = server.post("/v2/rerank", {"query": QUERY, "documents": TEXTS}).json()
  for one in short["results"]:
    assert scores[one["index"]] == pytest.approx(one["relevance_score"])


def test_equal_documents_keep_the_order_of_the_request(server):
  body = {"query": QUERY, "documents": ["A kite"] * 5}
  found = server.post("/v2/rerank", body).json()["results"]
  assert [one["index"] for one in found] == [0, 1, 2, 3, 4]


def test_other_fields_are_read_over(server):
  body = {
    "query": QUERY,
    "documents": TEXTS,
    "max_tokens_per_doc": 4096,
    "priority": 0,
    "truncate_prompt_tokens": 10,
    "user": "me",
  }
  assert server.post("/v2/rerank", body).status_code == 200
