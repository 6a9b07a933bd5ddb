"""Several turns, and reasons."""

import json

import pytest

WISH = "Something for a trip to the ocean would be nice."


def user(text):
  return {"role": "user", "content": text}


def ask(server, *said, **body):
  found = server.post("/v1/chat/completions", {"messages": list(said), **body})
  assert found.status_code == 200, found.text
  return found.json()


def test_one_message_is_answered_as_a_recommendation(server, run):
  answer = ask(server, user(WISH), k=3)
  assert answer["object"] == "chat.completion"
  assert answer["model"] == "shop"
  plain = server.post(
    "/v1/recommendations", {"instruction": WISH, "k": 3}
  ).json()
  found = answer["recommendation"]
  assert [r["id"] for r in found["results"]] == [
    r["id"] for r in plain["results"]
  ]
  (choice,) = answer["choices"]
  assert choice["finish_reason"] == "stop"
  lines = choice["message"]["content"].splitlines()
  assert lines[1:] == [
    f"{number}. {one['title']}"
    for number, one in enumerate(found["results"], 1)
  ]
  assert found["understood"]["text"] in lines[0]
  usage = answer["usage"]
  assert usage["total_tokens"] == usage["prompt_tokens"] > 0


def test_later_turns_correct_earlier_ones(server, run):
  brand = run.catalog.frame["brand"][0]
  first = ask(server, user(f"Nothing by {brand}, please."), k=60)
  attributes = [r["attributes"] for r in first["recommendation"]["results"]]
  assert attributes
  assert all(one["brand"] != brand for one in attributes)
  again = ask(
    server,
    user(f"Nothing by {brand}, please."),
    {"role": "assistant", "content": first["choices"][0]["message"]["content"]},
    user(f"Actually, {brand} is fine."),
    k=60,
  )["recommendation"]
  (constraint,) = again["understood"]["constraints"]
  assert constraint["status"] == "dropped"
  assert constraint["dropped_in_turn"] == 2
  assert any(r["attributes"]["brand"] == brand for r in again["results"])


def test_an_answer_can_be_referred_to(server):
  first = ask(server, user(WISH), k=3)
  shown = first["recommendation"]["results"]
  said = first["choices"][0]["message"]["content"]
  second = ask(
    server,
    user(WISH),
    {"role": "assistant", "content": said},
    user("More like the second."),
  )["recommendation"]
  assert second["meta"]["history"] == [shown[1]["id"]]
  assert shown[1]["id"] not in {r["id"] for r in second["results"]}


def test_filters_and_history_hold_in_every_turn(server, run):
  most = float(run.catalog.frame["price"].median())
  taken = run.catalog.item_ids[:2]
  found = ask(
    server,
    user(WISH),
    history=taken,
    k=60,
    filters={"price_max": most, "exclude": [run.catalog.titles[5]]},
  )["recommendation"]
  assert found["meta"]["history"] == taken
  ids = {r["id"] for r in found["results"]}
  assert not ids & {*taken, run.catalog.item_ids[5]}
  assert all(r["attributes"]["price"] <= most for r in found["results"])


def test_where_nothing_is_left_that_is_the_answer(server):
  answer = ask(server, user("Something under 0.01 dollars."))
  assert answer["recommendation"]["results"] == []
  assert "ask for less" in answer["choices"][0]["message"]["content"]
  assert answer["recommendation"]["meta"]["num_candidates"] == 0


def test_a_stream_says_the_same_line_by_line(server):
  whole = ask(server, user(WISH), k=3)
  found = server.post(
    "/v1/chat/completions",
    {"messages": [user(WISH)], "k": 3, "stream": True},
  )
  kind, _, _ = found.headers["Content-Type"].partition(";")
  assert kind == "text/event-stream"
  paths = server.get("/openapi.json").json()["paths"]
  answers = paths["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
  assert {*answers} == {"application/json", kind}
  *events, done, end = found.text.split("\n\n")
  assert (done, end) == ("data: [DONE]", "")
  chunks = [json.loads(event.removeprefix("data: ")) for event in events]
  assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
  assert len({chunk["id"] for chunk in chunks}) == 1
  text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
  assert text == whole["choices"][0]["message"]["content"]
  last = chunks[-1]
  assert last["choices"][0]["finish_reason"] == "stop"
  titles = [r["title"] for r in last["recommendation"]["results"]]
  assert titles == [r["title"] for r in whole["recommendation"]["results"]]


@pytest.mark.parametrize(
  "path", ["/v1/recommendations", "/v1/chat/completions"]
)
def test_reasons_are_differences_of_scores(server, run, path):
  history = run.catalog.item_ids[:2]
  body = {"history": history, "k": 2, "reasons": True}
  if path == "/v1/recommendations":
    body["instruction"] = WISH
    found = server.post(path, body).json()
  else:
    found = ask(server, user(WISH), **body)["recommendation"]
  (scores,) = run.opened.catalog_ranker.score_catalog([history], [WISH])
  (without,) = run.opened.catalog_ranker.score_catalog([history[:1]], [WISH])
  for one in found["results"]:
    (effect,) = [
      e for e in one["reasons"]["effects"] if e["item_id"] == history[1]
    ]
    place = run.catalog.index(one["id"])
    expected = scores[place] - without[place]
    assert effect["effect"] == pytest.approx(expected, abs=1e-4)
  assert "reasons" not in server.post(path, {**body, "reasons": False}).text


@pytest.mark.parametrize(
  ("body", "status", "param"),
  [
    ({}, 422, "messages"),
    ({"messages": []}, 400, "messages"),
    ({"messages": "hello"}, 422, "messages"),
    ({"messages": [{"role": "system", "content": "hello"}]}, 400, "messages"),
    ({"messages": [user(" ")]}, 400, "messages"),
    ({"messages": [{"role": "nobody", "content": "a"}]}, 422, "messages"),
    ({"messages": [{"content": "a"}]}, 422, "messages"),
    ({"messages": [user(3)]}, 422, "messages"),
    ({"messages": [user([{"type": "image_url"}])]}, 422, "messages"),
    ({"messages": [user("a" * 4001)]}, 422, "messages"),
    ({"messages": [user("a")] * 501}, 422, "messages"),
    ({"messages": [user("a")], "model": "other"}, 404, "model"),
    ({"messages": [user("a")], "history": ["zz"]}, 422, "history"),
    ({"messages": [user("a")], "k": 0}, 422, "k"),
    (
      {"messages": [user("a")], "filters": {"category": "none"}},
      422,
      "filters.category",
    ),
  ],
  ids=range(15),
)
def test_what_is_no_conversation_is_refused(server, body, status, param):
  found = server.post("/v1/chat/completions", body)
  assert found.status_code == status, found.text
  assert found.json()["error"]["param"] == param
