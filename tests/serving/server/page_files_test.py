"""The server gives out the page, and says what the page may do."""

import pathlib

import pytest

from instructrec.serving.server import page_files


def rules(answer):
  policy = answer.headers["content-security-policy"]
  return dict(rule.strip().split(" ", 1) for rule in policy.split(";"))


@pytest.mark.parametrize(
  ("path", "kind"),
  [
    ("/", "text/html"),
    ("/page.css", "text/css"),
    ("/page.js", "text/javascript"),
    ("/icon.svg", "image/svg+xml"),
  ],
)
def test_files_come_with_their_kind_and_a_policy(server, path, kind):
  answer = server.get(path)
  assert answer.status_code == 200
  assert answer.headers["content-type"].startswith(kind)
  assert answer.headers["x-content-type-options"] == "nosniff"
  # Nothing but this server, and nothing that stands inline in a page.
  assert rules(answer)["default-src"] == "'none'"
  assert rules(answer)["frame-ancestors"] == "'none'"
  assert {*rules(answer).values()} == {"'none'", "'self'"}


def test_a_file_is_not_sent_twice(server):
  first = server.get("/page.js")
  again = server.get(
    "/page.js", headers={"If-None-Match": first.headers["etag"]}
  )
  assert first.headers["cache-control"] == "no-cache"
  assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/nothing.js", "/../served.py", "/%2e%2e/a"])
def test_what_is_no_file_of_the_page_is_not_found(server, path):
  assert server.get(path).status_code == 404


def test_every_file_is_given_out(server):
  for path in pathlib.Path(page_files.FOLDER).iterdir():
    assert server.get(f"/{path.name}").content == path.read_bytes()


def test_the_server_says_what_the_page_reads(server, run):
  """Fields that the page's api.js takes out of answers."""
  info = server.get("/info").json()
  assert {"model", "checkpoint", "version", "scale", "catalog"} <= {*info}
  catalog = {"items", "categories", "has_prices", "has_stock"}
  assert catalog <= {*info["catalog"]}
  listed = server.get("/v1/items", params={"query": "", "limit": 2}).json()
  assert {"id", "title", "attributes"} <= {*listed["data"][0]}
  assert listed["total"] == len(run.catalog)
  assert server.get("/v1/models").json()["data"][0]["id"] == info["model"]
  name = run.opened.parts.attributes.attributes[0].name
  item = listed["data"][0]["id"]
  said = {"role": "user", "content": f"No {name}."}
  answered = {"role": "assistant", "content": "", "items": [item]}
  asked = {
    "model": None,
    "history": [f"id:{item}"],
    "messages": [said, answered, {"role": "user", "content": "Cheaper."}],
    "k": 3,
    "reasons": True,
    "filters": {"exclude": [f"id:{listed['data'][1]['id']}"]},
  }
  answer = server.post("/v1/chat/completions", asked)
  assert answer.status_code == 200, answer.text
  assert isinstance(answer.json()["choices"][0]["message"]["content"], str)
  found = answer.json()["recommendation"]
  assert {"warnings", "num_candidates", "milliseconds"} <= {*found["meta"]}
  understood = found["understood"]
  assert {"text", "not_understood", "constraints"} <= {*understood}
  constraint = understood["constraints"][0]
  assert constraint["attribute"]["name"] == name
  assert constraint["kind"] == "unwanted"
  assert (constraint["turn"], constraint["status"]) == (1, "kept")
  assert {"text", "words", "dropped_in_turn"} <= {*constraint}
  place = found["results"][0]
  assert {"id", "title", "score", "attributes", "parts"} <= {*place}
  effect = place["reasons"]["effects"][0]
  assert {"part", "words", "above_average"} <= {*effect}
  assert {"text", "kind", "meets"} <= {*place["reasons"]["constraints"][0]}
