"""The page in a browser, against answers as docs/serving.md has them."""

import asyncio
import contextlib
import os
import pathlib
import re
import shutil
import threading
import time

import pytest

fastapi = pytest.importorskip("fastapi", reason="needs instructrec[serve]")
uvicorn = pytest.importorskip("uvicorn", reason="needs instructrec[serve]")
from fastapi import responses, staticfiles  # noqa: E402

PAGE = pathlib.Path(__file__).parents[2] / "instructrec" / "serving" / "page"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
BRANDS, KINDS = ("Corvine", "Oakline", "Lumen"), ("Puzzles", "Board Games")
pytestmark = pytest.mark.slow


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


class Shop:
  """A server that ranks by rule: what a sentence names, its brand last.

  Attributes:
    refusals: responses that come instead of the next recommendations.
    key: what is asked for; None for nothing.
    asked: the bodies of all questions for recommendations.
  """

  def __init__(self):
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
    self.app.mount("/", staticfiles.StaticFiles(directory=PAGE, html=True))

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
      "catalog": {
        "items": len(self.items),
        "fingerprint": "sha256:0",
        "categories": list(KINDS),
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
    named = [
      {"kind": kind, "name": name}
      for kind, names in (("brand", BRANDS), ("category", KINDS))
      for name in names
      if name.lower() in text
    ]
    against = [one for one in named if f"no {one['name'].lower()}" in text]
    wanted = [one for one in named if one not in against]

    def holds(item, one):
      known = item["attributes"]
      return one["name"] in (known["brand"], *known["categories"])

    def score(item):
      return (
        0.5
        + 0.2 * sum(holds(item, one) for one in wanted)
        - 0.2 * sum(holds(item, one) for one in against)
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
        "reasons": [],
      }
      for item in best
    ]
    understood = None
    if sentences:
      understood = {
        "text": "nothing that the catalogue knows",
        "wanted": wanted,
        "unwanted": against,
      }
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
      "understood": understood,
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
  return Shop()


@pytest.fixture
def address(shop):
  with served(shop.app) as found:
    yield found


@pytest.fixture
def page(browser, address):
  """The page, opened; fails where a script failed or another host was asked."""
  context = browser.new_context(viewport={"width": 1280, "height": 900})
  context.set_default_timeout(5000)
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
      "Content Security Policy" in message.text
      and faults.append(message.text)
    ),
  )
  page.goto(address)
  page.wait_for_selector("#server.ready")
  yield page
  context.close()
  assert faults == []
