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
