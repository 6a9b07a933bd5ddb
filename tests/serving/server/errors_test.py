"""What is refused, with which status, and in one form for all clients."""

import asyncio
import json

import pytest

from instructrec import limits
from instructrec.serving.server import gates, metrics

DEEP = "[" * 100_000
FINE = {"query": "a kite", "documents": ["A kite"]}
WISH = {"instruction": "a kite"}
CHAT, SAID = "/v1/chat/completions", {"role": "user", "content": "a kite"}
# The path, the body (text as it is, other things as JSON), the status, and the
# field that is named.
MALFORMED = [
  ("/rerank", "", 422, None),
  ("/rerank", "{", 400, None),
  ("/rerank", b"\xff\xfe", 400, None),
  ("/rerank", DEEP, 400, None),
  ("/rerank", '{"query":' + DEEP, 400, None),
  ("/rerank", "null", 422, None),
  ("/rerank", "[]", 422, None),
  ("/rerank", "3", 422, None),
  ("/rerank", '"text"', 422, None),
  ("/rerank", {}, 422, "query"),
  ("/rerank", {"query": "a"}, 422, "documents"),
  ("/rerank", {"documents": ["a"]}, 422, "query"),
  ("/rerank", {"query": None, "documents": ["a"]}, 422, "query"),
  ("/rerank", {"query": 3, "documents": ["a"]}, 422, "query"),
  ("/rerank", {"query": "", "documents": ["a"]}, 400, "query"),
  ("/rerank", {"query": " \n\t", "documents": ["a"]}, 400, "query"),
  ("/rerank", {"query": "a" * 2001, "documents": ["a"]}, 422, "query"),
  ("/rerank", {"query": "a", "documents": []}, 400, "documents"),
  ("/rerank", {"query": "a", "documents": "b"}, 422, "documents"),
  ("/rerank", {"query": "a", "documents": [3]}, 422, "documents.0"),
  ("/rerank", {"query": "a", "documents": [None]}, 422, "documents.0"),
  ("/rerank", {"query": "a", "documents": [["b"]]}, 422, "documents.0"),
  ("/rerank", {"query": "a", "documents": ["b", {}]}, 422, "documents.1"),
  ("/rerank", {"query": "a", "documents": [{"text": 3}]}, 422, "documents.0"),
  (
    "/rerank",
    {"query": "a", "documents": [{"item_id": "none"}]},
    422,
    "documents.0.item_id",
  ),
  ("/rerank", {"query": "a", "documents": ["b"] * 1001}, 422, "documents"),
  ("/rerank", {"query": "a", "documents": ["b" * 100_001]}, 422, "documents.0"),
  ("/rerank", FINE | {"top_n": -1}, 422, "top_n"),
  ("/rerank", FINE | {"top_n": "1"}, 422, "top_n"),
  ("/rerank", FINE | {"top_n": 1.5}, 422, "top_n"),
  ("/rerank", FINE | {"top_n": True}, 422, "top_n"),
  ("/rerank", FINE | {"history": ["no such title"]}, 422, "history"),
  ("/rerank", FINE | {"history": "A kite"}, 422, "history"),
  ("/rerank", FINE | {"return_documents": "yes"}, 422, "return_documents"),
  ("/rerank", FINE | {"model": "other"}, 404, "model"),
  ("/rerank", FINE | {"model": 3}, 422, "model"),
  ("/rerank", '{"query": "a", "query": 3, "documents": ["a"]}', 422, "query"),
  ("/rerank", {"query": "a", "texts": []}, 400, "texts"),
  ("/rerank", {"query": "a", "texts": [3]}, 422, "texts.0"),
  ("/rerank", {"query": "a", "texts": None}, 422, "texts"),
  ("/rerank", FINE | dict.fromkeys(map(str, range(100)), 0), 422, None),
  ("/rerank", FINE | {"rank_fields": ["text"] * 101}, 422, "rank_fields"),
  ("/v1/recommendations", {}, 400, None),
  ("/v1/recommendations", {"instruction": " "}, 400, None),
  ("/v1/recommendations", {"instruction": 3}, 422, "instruction"),
  ("/v1/recommendations", {"history": ["zz"]}, 422, "history"),
  ("/v1/recommendations", {"history": ["id:zz"]}, 422, "history"),
  ("/v1/recommendations", {"history": ["a"] * 1001}, 422, "history"),
  ("/v1/recommendations", {"history": [3]}, 422, "history.0"),
  ("/v1/recommendations", WISH | {"k": 0}, 422, "k"),
  ("/v1/recommendations", WISH | {"k": -3}, 422, "k"),
  ("/v1/recommendations", WISH | {"k": 10**30}, 422, "k"),
  ("/v1/recommendations", WISH | {"filters": []}, 422, "filters"),
  (
    "/v1/recommendations",
    WISH | {"filters": {"category": "none"}},
    422,
    "filters.category",
  ),
  (
    "/v1/recommendations",
    '{"instruction": "a kite", "filters": {"price_max": NaN}}',
    422,
    "filters.price_max.constrained-float",
  ),
  (
    "/v1/recommendations",
    WISH | {"filters": {"price_max": -1}},
    422,
    "filters.price_max",
  ),
  (
    "/v1/recommendations",
    WISH | {"filters": {"price_max": 0.0001}},
    422,
    "filters",
  ),
  (
    "/v1/recommendations",
    WISH | {"filters": {"exclude": ["zz"]}},
    422,
    "filters.exclude",
  ),
  (
    "/v1/recommendations",
    WISH | {"filters": dict.fromkeys(map(str, range(101)), 0)},
    422,
    "filters",
  ),
  (CHAT, {}, 422, "messages"),
  (CHAT, {"messages": []}, 400, "messages"),
  (CHAT, {"messages": [SAID] * 10_000}, 422, "messages"),
  (CHAT, {"messages": [[]]}, 422, "messages"),
  (CHAT, {"messages": [{"role": "boss", "content": "a"}]}, 422, "messages"),
  (CHAT, {"messages": [{"role": "user", "content": 3}]}, 422, "messages"),
  (CHAT, {"messages": [SAID], "k": -1}, 422, "k"),
  (CHAT, {"messages": [SAID], "stream": "yes"}, 422, "stream"),
  (
    CHAT,
    '{"messages": [{"role": "user", "content": "a \\ud800 kite"}]}',
    422,
    "messages",
  ),
]


def check(found, status, param=None):
  """The form of an error, as each dialect's clients read it."""
  assert found.status_code == status, found.text
  body = found.json()
  assert body["message"] == body["detail"] == body["error"]["message"]
  assert body["message"]
  assert len(body["message"]) <= 500
  assert body["error_type"] == body["error"]["type"]
  assert body["error"]["code"]
  assert body["id"].startswith("err-")
  if param is not None:
    assert body["error"]["param"].startswith(param), body
  return body


@pytest.mark.parametrize(
  ("path", "body", "status", "param"),
  MALFORMED,
  ids=[str(number) for number in range(len(MALFORMED))],
)
def test_what_is_malformed_is_refused_by_name(
  server, path, body, status, param
):
  if isinstance(body, str | bytes):
    found = server.post(
      path, content=body, headers={"Content-Type": "application/json"}
    )
  else:
    found = server.post(path, body)
  check(found, status, (param or "").removesuffix(".constrained-float") or None)


@pytest.mark.parametrize(
  ("path", "body", "message"),
  [
    ("/rerank", "", "the body is no JSON object; send one"),
    ("/rerank", "[]", "the body is no JSON object; send one"),
    ("/v1/recommendations", "3", "the body is no JSON object; send one"),
    ("/v1/recommendations", '{"k": 0}', "k is 0: "),
    ("/v1/recommendations", '{"k": "3"}', 'k is "3": '),
    (
      "/v1/recommendations",
      '{"filters": {"price_min": 3}}',
      "there is no field filters.price_min",
    ),
    ("/rerank", '{"query": "a"}', "documents: Field required"),
    # What is wrong a million times is told, and kept, once.
    (
      CHAT,
      '{"messages": [' + "0," * 500 + "0]}",
      "messages: List should have at most 500 items",
    ),
    (
      "/v1/recommendations",
      json.dumps({"filters": dict.fromkeys(map(str, range(101)), 0)}),
      "filters: found 101 fields, expected at most 100",
    ),
  ],
)
def test_what_was_found_is_said(server, path, body, message):
  found = server.post(
    path, content=body, headers={"Content-Type": "application/json"}
  )
  assert found.json()["message"].startswith(message)


@pytest.mark.parametrize(
  ("params", "name"),
  [
    ({"limit": 0}, "limit"),
    ({"limit": "x"}, "limit"),
    ({"offset": -1}, "offset"),
    ({"query": "a" * 3000}, "query"),
  ],
)
def test_queries_of_items_are_checked(server, params, name):
  check(server.get("/v1/items", params=params), 422, name)


@pytest.mark.parametrize(
  ("path", "body"),
  [
    ("/v2/rerank", FINE),
    ("/v1/recommendations", WISH),
    (CHAT, {"messages": [SAID]}),
  ],
)
def test_fields_that_say_nothing_are_told_or_refused(server, path, body):
  body = body | {"wishes": "no", "filter": {"price_max": 1}}
  found = server.post(path, body).json()
  found = found.get("recommendation", found)
  told = "these fields say nothing here: filter, wishes"
  assert told in found["meta"]["warnings"]
  refused = server.post(f"{path}?strict=true", body)
  assert "no field filter" in check(refused, 422, "filter")["message"]
  del body["wishes"], body["filter"]
  assert server.post(f"{path}?strict=1", body).status_code == 200


def test_what_is_not_there_is_404_or_405(server):
  assert "/docs" in check(server.get("/nowhere"), 404)["message"]
  for method, path, allowed in (
    ("GET", "/rerank", "POST"),
    ("DELETE", "/v1/items", "GET, HEAD"),
    ("OPTIONS", "/v1/models", "GET, HEAD"),
    ("TRACE", "/healthz", "GET, HEAD"),
    ("POST", "/openapi.json", "GET, HEAD"),
    ("POST", "/", "GET, HEAD"),
    ("PUT", "/page.css", "GET, HEAD"),
  ):
    found = server.run(server.client.request(method, path))
    check(found, 405)
    assert found.headers["Allow"] == allowed, path


@pytest.mark.parametrize(
  "text", ["\x00\x1b[31m", "<img src=x onerror=alert(1)>", "\ud800", "🪁"]
)
def test_any_characters_are_text(server, text):
  body = {"query": text + " kite", "documents": [text, "A kite"]}
  found = server.post(
    "/rerank",
    content=json.dumps(body | {"return_documents": True}),
    headers={"Content-Type": "application/json"},
  )
  # Half a character is none.
  assert found.status_code == (422 if text == "\ud800" else 200), found.text
  assert found.headers["Content-Type"] == "application/json"
  if found.status_code == 200:
    documents = {r["document"]["text"] for r in found.json()["results"]}
    assert documents == {text, "A kite"}


def test_a_large_body_is_refused_before_it_is_there(server, monkeypatch):
  monkeypatch.setenv(limits.BODY_BYTES.variable, "1000")
  sent = 0

  async def chunks():
    nonlocal sent
    while sent < 100_000_000:
      sent += 500
      yield b"a" * 500

  check(server.post("/rerank", FINE | {"user": "a" * 2000}), 413)
  check(server.post("/rerank", content=chunks()), 413)
  assert sent <= 2000
  assert server.post("/rerank", FINE).status_code == 200


def test_a_body_without_an_end_is_not_waited_for():
  begun = [{"type": "http.request", "body": b"{", "more_body": True}]
  sent = []

  async def receive():
    return begun.pop() if begun else await asyncio.Event().wait()

  async def send(message):
    sent.append(message)

  refused = metrics.Metrics().rejected
  gate = gates.Gates(None, gates.Keys(), refused, seconds=0.01)
  scope = {"type": "http", "path": "/rerank", "headers": []}
  asyncio.run(gate(scope, receive, send))
  start, body = sent
  assert start["status"] == 408
  assert (b"connection", b"close") in start["headers"]
  assert "did not end within 0.01 seconds" in json.loads(body["body"])["detail"]
  assert refused.labels("body")._value.get() == 1


@pytest.fixture(scope="module")
def closed(serve):
  """A server that asks for keys."""
  keys = gates.Keys.of({gates.API_KEYS: "one, two", gates.ADMIN_KEY: "three"})
  with serve(keys=keys) as found:
    yield found.ready()


class TestKeys:
  """Bearer keys from the environment."""

  @pytest.mark.parametrize("key", ["one", "two"])
  def test_each_key_opens(self, closed, key):
    headers = {"Authorization": f"Bearer {key}"}
    assert closed.post("/rerank", FINE, headers=headers).status_code == 200
    assert closed.get("/info", headers=headers).status_code == 200

  @pytest.mark.parametrize(
    "headers",
    [
      {},
      {"Authorization": "Bearer"},
      {"Authorization": "Bearer on"},
      {"Authorization": "Bearer one, two"},
      {"Authorization": "Basic one"},
      {"Authorization": "one"},
      {"Authorization": b"Bearer \xff"},
      [("Authorization", "Bearer one"), ("Authorization", "Bearer two")],
    ],
  )
  @pytest.mark.parametrize("path", ["/rerank", "/v1/recommendations"])
  def test_nothing_else_does(self, closed, path, headers):
    found = closed.post(path, FINE, headers=headers)
    check(found, 401)
    assert found.headers["WWW-Authenticate"] == "Bearer"

  def test_probes_need_no_key(self, closed):
    for path in ("/healthz", "/health", "/readyz", "/metrics"):
      assert closed.get(path).status_code == 200

  def test_the_schema_says_which_routes_need_one(self, closed, server):
    def guarded(found):
      schema = found.get("/openapi.json").json()
      operations = {
        path: next(iter(methods.values()))
        for path, methods in schema["paths"].items()
      }
      assert schema["components"]["securitySchemes"]["key"]["scheme"] == (
        "bearer"
      )
      names = [one["operationId"] for one in operations.values()]
      assert len({*names}) == len(names)
      return {path for path, one in operations.items() if "security" in one}

    every = {*server.get("/openapi.json").json()["paths"]}
    assert guarded(closed) == every - {"/healthz", "/readyz", "/metrics"}
    assert guarded(server) == set()

  def test_a_reload_needs_a_key_of_its_own(self, closed, server):
    one = {"Authorization": "Bearer one"}
    check(closed.post("/v1/reload", headers=one), 401)
    three = {"Authorization": "Bearer three"}
    assert closed.post("/v1/reload", headers=three).status_code == 200
    # Without one nobody may.
    assert gates.ADMIN_KEY in check(server.post("/v1/reload"), 403)["message"]

  @pytest.mark.parametrize(
    "name", [gates.API_KEYS, gates.ADMIN_KEY], ids=["api", "admin"]
  )
  @pytest.mark.parametrize("value", ["", " ", "one,,two"])
  def test_an_empty_key_opens_nothing(self, name, value):
    with pytest.raises(ValueError, match="empty key"):
      gates.Keys.of({name: value})

  def test_keys_are_not_kept(self):
    assert "secret" not in repr(gates.Keys.of({gates.API_KEYS: "secret"}))

  def test_a_key_has_any_letters(self):
    keys = gates.Keys.of({gates.API_KEYS: "schl\u00fcssel"})
    sent = "Bearer schl\u00fcssel".encode()
    # As headers come: a character a byte.
    keys.check("/rerank", sent.decode("latin-1"))
