"""Recommendations, searches, and what the server says of itself."""

import dataclasses

import pytest

from instructrec.serving import run_ranker

WISH = "Something for a trip to the ocean would be nice"


@pytest.fixture(scope="module")
def table(run):
  return run.catalog.frame


def ask(server, **body):
  found = server.post("/v1/recommendations", body)
  assert found.status_code == 200, found.text
  return found.json()


def test_the_best_of_the_catalogue_come_with_what_is_known(server, run):
  history = run.catalog.item_ids[:2]
  answer = ask(server, history=history, instruction=WISH, k=3)
  expected = run.ranker.rank(history, WISH, k=3)
  assert [r["id"] for r in answer["results"]] == [p.item_id for p in expected]
  first, place = answer["results"][0], expected[0]
  assert first["title"] == place.title
  assert first["parts"] == pytest.approx(place.parts, rel=1e-5)
  assert set(first["attributes"]) == {"categories", "brand", "price", "year"}
  assert "reasons" not in first
  scores = [one["score"] for one in answer["results"]]
  assert 1 >= scores[0] >= scores[1] >= scores[2] >= 0
  assert answer["meta"]["history"] == history
  assert answer["meta"]["instruction"] == f"{WISH}."
  assert answer["meta"]["num_candidates"] == len(run.catalog) - 2
  (wanted,) = answer["understood"]["constraints"]
  assert wanted["attribute"]["name"] == wanted["text"] == "Ocean"
  assert (wanted["kind"], wanted["binds"]) == ("wanted", False)
  assert answer["understood"]["text"] == "Ocean; not understood: 'trip'"


def test_a_history_alone_has_nothing_to_understand(server, run):
  answer = ask(server, history=run.catalog.titles[:1])
  assert answer["understood"] is None
  assert len(answer["results"]) == 10


def test_filters_hold(server, run, table):
  prices = dict(zip(table["item_id"], table["price"], strict=True))
  kinds = dict(zip(table["item_id"], table["categories"], strict=True))
  category = table["categories"][0][0]
  most = float(table["price"].median())
  left_out = run.catalog.titles[0]
  answer = ask(
    server,
    instruction=WISH,
    k=60,
    filters={
      "category": category.upper(),
      "price_max": most,
      "in_stock": True,
      "exclude": [left_out],
    },
  )
  found = {one["id"] for one in answer["results"]}
  assert found == {
    item
    for item in run.stock
    if category in kinds[item]
    and prices[item] is not None
    and prices[item] <= most
    and item != run.catalog.item_ids[0]
  }
  assert answer["meta"]["num_candidates"] == len(found) > 0


def test_one_of_several_categories_is_enough(server, run, table):
  names = sorted({name for some in table["categories"] for name in some})[:2]
  answer = ask(server, instruction=WISH, k=60, filters={"category": names})
  for one in answer["results"]:
    assert set(names) & set(one["attributes"]["categories"])


def test_what_is_not_read_is_said(server, run):
  answer = ask(server, history=run.catalog.item_ids[:9], instruction=WISH)
  assert any("newest 4 of 9" in note for note in answer["meta"]["warnings"])


def test_words_say_how_many_results_there_are(server):
  wish = "Give me two items about the ocean."
  answer = ask(server, instruction=wish, k=5)
  assert len(answer["results"]) == 2
  turn = {"messages": [{"role": "user", "content": wish}]}
  chat = server.post("/v1/chat/completions", turn).json()["recommendation"]
  assert chat["results"] == answer["results"]
  answer = ask(server, instruction="Top 9 about the ocean.", k=5)
  assert len(answer["results"]) == 5
  note = "9 items are asked for, and at most 5 given"
  assert note in answer["meta"]["warnings"]


def test_a_wish_binds_as_it_does_in_a_conversation(server, run, table):
  most = float(table["price"].median())
  brand, liked = table["brand"][0], table["title"][1]
  wish = (
    f"About the ocean under {most:.2f} dollars, nothing by {brand}, more like "
    f"{liked}"
  )
  answer = ask(server, instruction=wish, k=60)
  turn = {"messages": [{"role": "user", "content": wish}], "k": 60}
  chat = server.post("/v1/chat/completions", turn).json()["recommendation"]
  assert answer["results"] == chat["results"]
  assert answer["understood"] == chat["understood"]
  kinds = {one["kind"] for one in answer["understood"]["constraints"]}
  assert kinds == {"wanted", "unwanted", "max_price", "like"}
  assert answer["meta"]["history"] == [run.catalog.item_ids[1]]
  found = {one["id"] for one in answer["results"]}
  assert found == {
    row["item_id"]
    for row in table.iter_rows(named=True)
    if (row["price"] or 1e9) <= most
    and row["brand"] != brand
    and row["title"] != liked
  }


def test_a_wish_and_a_filter_both_bind(server, table):
  low, high = sorted(table["price"].drop_nulls())[5:30:24]
  for said, filtered in ((low, high), (high, low)):
    answer = ask(
      server,
      instruction=f"under {said:.2f} dollars",
      filters={"price_max": filtered},
      k=60,
    )
    prices = [one["attributes"]["price"] for one in answer["results"]]
    assert max(prices) == low


def test_a_wish_that_nothing_meets_has_no_results(server):
  answer = ask(server, instruction="Something for under 1 cent")
  assert answer["results"] == []
  assert answer["meta"]["num_candidates"] == 0
  assert "no item is known to meet" in answer["meta"]["warnings"][0]


def test_weights_of_another_checkpoint_are_told(serve, run):
  opened = dataclasses.replace(run.opened, step=7)
  weights = dataclasses.replace(
    opened.catalog_ranker.weights, checkpoint_step=3
  )
  opened.__dict__["catalog_ranker"] = dataclasses.replace(
    opened.catalog_ranker, weights=weights
  )
  odd = dataclasses.replace(run, ranker=run_ranker.Ranker(opened))
  with serve(lambda number: odd) as server:
    answer = ask(server.ready(), instruction=WISH)
  assert any("checkpoint_3" in note for note in answer["meta"]["warnings"])


def test_items_are_found_by_words_of_their_titles(server, run):
  title = run.catalog.titles[7]
  first, *rest = title.split()
  found = server.get(
    "/v1/items", params={"query": f"{rest[-1]} {first}".upper(), "limit": 50}
  ).json()
  titles = [one["title"] for one in found["data"]]
  assert title in titles
  assert set(titles) == {
    t
    for t in run.catalog.titles
    if first.casefold() in t.casefold() and rest[-1].casefold() in t.casefold()
  }
  assert found["total"] == len(titles)
  assert set(found["data"][0]) == {"id", "title", "attributes"}


def test_titles_that_begin_with_the_query_come_first(server, run):
  word = run.catalog.titles[7].split()[0]
  found = server.get("/v1/items", params={"query": word, "limit": 60}).json()
  begin = [
    one["title"].casefold().startswith(word.casefold()) for one in found["data"]
  ]
  assert begin[0]
  assert begin == sorted(begin, reverse=True)


def test_pages_of_items_are_the_whole_catalogue(server, run):
  found = []
  for offset in range(0, 80, 20):
    page = server.get("/v1/items", params={"offset": offset}).json()
    assert page["total"] == len(run.catalog)
    found += [one["id"] for one in page["data"]]
  assert found == run.catalog.item_ids


def test_the_server_says_what_it_has(server, run):
  assert server.get("/healthz").json() == {"status": "ok"}
  assert server.get("/readyz").json() == {"status": "ready", "generation": 1}
  (model,) = server.get("/v1/models").json()["data"]
  assert model["id"] == "shop"
  assert server.get("/models").json() == server.get("/v1/models").json()
  info = server.get("/info").json()
  assert info["checkpoint"] == "step 7"
  assert info["scores"] == "matches"
  assert info["catalog"]["items"] == len(run.catalog)
  assert info["catalog"]["fingerprint"] == run.catalog.fingerprint()
  assert info["catalog"]["has_stock"]
  assert info["limits"]["documents"] == 1000


def test_the_schema_has_every_route(server):
  paths = server.get("/openapi.json").json()["paths"]
  docs = server.get("/docs")
  assert all(f" {path}</h2>" in docs.text for path in paths)
  assert "<code>top_n</code>: integer or null, or None" in docs.text
  assert "<script" not in docs.text
  assert "http" not in docs.text
  assert "default-src 'none'" in docs.headers["Content-Security-Policy"]
  assert {"/rerank", "/v1/rerank", "/v2/rerank"} <= set(paths)
  assert {"/v1/recommendations", "/v1/items", "/v1/models"} <= set(paths)
  for found in paths.values():
    for operation in found.values():
      assert {"401", "422", "503"} <= set(operation["responses"])


def test_prices_that_there_are_not_are_told(server, run, monkeypatch):
  """A wish for them changes nothing and says so; a filter is refused."""
  monkeypatch.setitem(vars(run.ranker.shelf), "has_prices", False)
  said = {"role": "user", "content": "under 20 dollars"}
  answer = server.post("/v1/chat/completions", {"messages": [said], "k": 3})
  told = answer.json()["recommendation"]["meta"]["warnings"]
  assert told == [
    "'under 20 dollars' changes nothing: this catalogue has no prices"
  ]
  filtered = {"instruction": "Ocean", "filters": {"price_max": 20}}
  refused = server.post("/v1/recommendations", filtered)
  assert refused.status_code == 422
  assert refused.json()["error"]["code"] == "no_prices"
