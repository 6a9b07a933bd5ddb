"""The page in a browser, and a server that answers by rule."""

import contextlib
import shutil
import threading
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
BRANDS, KINDS = ("Corvine", "Oakline", "Lumen"), ("Puzzles", "Board Games")


def catalog():
  items = [
    {
      "id": str(number),
      "title": f"{BRANDS[number % 3]} {KINDS[number % 2][:-1]} {number}",
      "attributes": {
        "categories": ["Toys", KINDS[number % 2]],
        "brand": BRANDS[number % 3],
        "price": 5.0 + number,
        "year": None,
      },
    }
    for number in range(24)
  ]
  items[7]["title"] = HOSTILE
  return items


def understood(sentences, wanted, against):
  """What was said of names, and the last sentence where it names nothing."""

  def constraint(kind, name, text, **more):
    (turn, words), *_ = [
      (turn, sentence)
      for turn, sentence in enumerate(sentences, 1)
      if name.lower() in sentence.lower()
    ]
    return {
      "kind": kind,
      "attribute": {"kind": "brand", "name": name},
      "number": None,
      "item_id": None,
      "title": None,
      "text": text,
      "words": words,
      "turn": turn,
      "status": "kept",
      "dropped_in_turn": None,
      **more,
    }

  if not sentences:
    return None
  said = " ".join(sentences).lower()
  names = [name for name in (*BRANDS, *KINDS) if name.lower() in said]
  gone = [name for name in names if name not in (*wanted, *against)]
  unclear = not any(name.lower() in sentences[-1].lower() for name in names)
  last = len(sentences)
  return {
    "constraints": [
      *(constraint("wanted", name, name) for name in wanted),
      *(constraint("unwanted", name, f"no {name}") for name in against),
      *(
        constraint("wanted", name, name, status="dropped", dropped_in_turn=last)
        for name in gone
      ),
    ],
    "history": [],
    "wish": None,
    "not_understood": [{"words": sentences[-1], "turn": last, "why": ""}]
    if unclear
    else [],
    "text": "",
  }


def reasons(raising, avoided):
  """Why an item is recommended, as the server says it."""
  effects = [
    {
      "part": "words",
      "words": name,
      "item_id": None,
      "without": 0.5,
      "effect": 0.2,
      "above_average": 0.12,
    }
    for name in raising
  ]
  met = [
    *({"kind": "wanted", "text": name, "meets": True} for name in raising),
    *(
      {"kind": "unwanted", "text": f"no {name}", "meets": True}
      for name in avoided
    ),
    {"kind": "like", "text": "like 'A title'", "meets": None},
  ]
  return {"effects": effects, "constraints": met, "text": ""}


class Shop:
  """A server that ranks by rule: what a sentence names, its brand last.

  Attributes:
    refusals: responses that come instead of the next recommendations.
    key: what is asked for; None for nothing.
    hostile: a title that is markup.
    asked: the bodies of all questions for recommendations.
  """

  hostile = HOSTILE

  def __init__(self):
    import fastapi

    from instructrec.serving.server import page_files

    self.items = catalog()
    self.refusals, self.asked, self.key = [], [], None
    self.models = ["shop"]
    self.app = fastapi.FastAPI()
    self.app.middleware("http")(self._guard)
    self.app.get("/info")(self._info)
    self.app.get("/readyz")(lambda: {"status": "ready"})
    self.app.get("/v1/models")(
      lambda: {"object": "list", "data": [{"id": n} for n in self.models]}
    )
    self.app.get("/v1/items")(self._items)
    self.app.post("/v1/recommendations")(self._recommend)
    self.app.post("/v1/chat/completions")(self._chat)
    self.app.mount("/", page_files.PageFiles())

  async def _guard(self, request, call_next):
    key = request.headers.get("Authorization")
    routed = request.url.path.startswith(("/v1", "/info"))
    if routed and self.key and key != f"Bearer {self.key}":
      return self.refusal(401, "the key is missing or wrong")
    if request.method == "POST" and self.refusals:
      return self.refusals.pop(0)
    return await call_next(request)

  @staticmethod
  def refusal(status, message, **headers):
    from fastapi import responses

    error = {"message": message, "type": "error", "code": "x", "param": None}
    body = {"message": message, "error": error, "id": "err-1"}
    return responses.JSONResponse(body, status, headers)

  def _info(self):
    return {
      "model": "shop",
      "checkpoint": "step 1500",
      "version": "0.1.0",
      "generation": 1,
      "scores": "matches",
      "scale": "share among all items",
      "catalog": {
        "items": len(self.items),
        "fingerprint": "sha256:0",
        "categories": list(KINDS),
        "has_prices": True,
        "has_stock": True,
      },
      "limits": {"documents": 1000, "body_bytes": 1048576},
    }

  def _items(self, query: str = "", limit: int = 20):
    found = [
      item
      for item in self.items
      if all(word in item["title"].lower() for word in query.lower().split())
    ]
    return {"object": "list", "data": found[:limit], "total": len(found)}

  def _ranked(self, body, sentences):
    text = " ".join(sentences).lower()
    wanted, against = [], []
    for name in (*BRANDS, *KINDS):
      at = text.rfind(name.lower())
      if at >= 0 and f"forget about {name.lower()}" not in text:
        (against if text[:at].endswith("no ") else wanted).append(name)

    def holds(item, name):
      known = item["attributes"]
      return name in (known["brand"], *known["categories"])

    def score(item):
      return (
        0.5
        + 0.2 * sum(holds(item, name) for name in wanted)
        - 0.2 * sum(holds(item, name) for name in against)
        - 0.001 * int(item["id"])
      )

    filters = body["filters"]
    out = {name.removeprefix("id:") for name in filters["exclude"]}
    out |= {name.removeprefix("id:") for name in body["history"]}
    kept = [
      item
      for item in self.items
      if item["id"] not in out
      and item["attributes"]["price"] <= filters.get("price_max", 1e9)
      and set(filters.get("category", KINDS))
      & set(item["attributes"]["categories"])
    ]
    best = sorted(kept, key=score, reverse=True)[: body["k"]]
    results = [
      {
        **item,
        "score": score(item),
        "parts": {"match": score(item)},
        "reasons": reasons(
          [name for name in wanted if holds(item, name)],
          [name for name in against if not holds(item, name)],
        ),
      }
      for item in best
    ]
    meta = {
      "warnings": [],
      "history": [],
      "instruction": text,
      "num_candidates": len(kept),
      "milliseconds": 4.1,
    }
    return {
      "id": "rec-1",
      "object": "recommendations",
      "model": "shop",
      "results": results,
      "understood": understood(sentences, wanted, against),
      "meta": meta,
    }

  def _recommend(self, body: dict):
    self.asked.append(body)
    return self._ranked(body, [])

  def _chat(self, body: dict):
    self.asked.append(body)
    said = [m["content"] for m in body["messages"] if m["role"] == "user"]
    ranked = self._ranked(body, said)
    text = "\n".join(
      f"{place}. {item['title']}"
      for place, item in enumerate(ranked["results"], 1)
    )
    message = {"role": "assistant", "content": text}
    return {
      "id": "chatcmpl-1",
      "object": "chat.completion",
      "created": 0,
      "model": "shop",
      "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
      "recommendation": ranked,
    }


@contextlib.contextmanager
def served(app):
  """The address of an app on loopback, while it runs in a thread."""
  import uvicorn

  server = uvicorn.Server(
    uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
  )
  thread = threading.Thread(target=server.run)
  thread.start()
  while not server.started:
    assert thread.is_alive()
    time.sleep(0.01)
  try:
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
  finally:
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
  playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install playwright"
  )
  if not CHROMIUM:
    pytest.skip("needs chromium on the path")
  with playwright.sync_playwright() as started:
    browser = started.chromium.launch(
      executable_path=CHROMIUM, args=["--no-sandbox"]
    )
    yield browser
    browser.close()


@pytest.fixture
def shop():
  for name in ("fastapi", "uvicorn"):
    pytest.importorskip(name, reason="needs instructrec[serve]")
  return Shop()


@pytest.fixture
def address(shop):
  with served(shop.app) as found:
    yield found


@pytest.fixture
def page(browser, address):
  """The page, opened; fails where a script failed or another host was asked."""
  context = browser.new_context(viewport={"width": 1280, "height": 900})
  context.set_default_timeout(30_000)
  page = context.new_page()
  faults = []
  page.on("pageerror", lambda error: faults.append(str(error)))
  page.on(
    "request",
    lambda request: (
      request.url.startswith(address) or faults.append(request.url)
    ),
  )
  page.on(
    "console",
    lambda message: (
      "Content Security Policy" in message.text and faults.append(message.text)
    ),
  )
  page.goto(address)
  page.wait_for_selector("#server.ready")
  yield page
  context.close()
  assert faults == []
