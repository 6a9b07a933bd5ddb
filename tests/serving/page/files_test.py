"""The files of the page: small, self-contained, safe with foreign text."""

import html.parser
import pathlib
import re
import runpy

import pytest
import setuptools

ROOT = pathlib.Path(__file__).parents[3]
PAGE = ROOT / "instructrec" / "serving" / "page"
FILES = sorted(path.name for path in PAGE.iterdir())
# What makes markup or programs of text.
UNSAFE = (
  "innerHTML",
  "outerHTML",
  "insertAdjacentHTML",
  "document.write",
  "DOMParser",
  "createContextualFragment",
  "setHTML",
  "srcdoc",
  "eval(",
  "new Function",
  'setAttribute("style"',
  'setAttribute("on',
)


class Tags(html.parser.HTMLParser):
  """All tags of a page with their attributes, and the text of scripts."""

  def __init__(self, text):
    super().__init__()
    self.found = []
    self.inline = ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))

  def handle_data(self, data):
    if self.found and self.found[-1][0] in ("script", "style"):
      self.inline += data.strip()


def tags():
  return Tags((PAGE / "index.html").read_text())


def test_the_files():
  assert {path.suffix for path in PAGE.iterdir()} == {
    ".html",
    ".css",
    ".js",
    ".svg",
  }
  assert sum(path.stat().st_size for path in PAGE.iterdir()) < 80_000


def test_nothing_is_inline():
  read = tags()
  assert read.inline == ""
  for tag, attributes in read.found:
    assert tag != "style"
    assert "style" not in attributes, attributes
    assert not [name for name in attributes if name.startswith("on")]
    if tag == "script":
      assert attributes["src"].endswith(".js")


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host(name):
  text = (PAGE / name).read_text().replace("http://www.w3.org/2000/svg", "")
  assert not re.findall(r"https?:|[\"'(]//|@import", text)


@pytest.mark.parametrize("name", [n for n in FILES if n.endswith(".js")])
def test_text_never_becomes_markup(name):
  text = (PAGE / name).read_text()
  assert [word for word in UNSAFE if word in text] == []


def test_whatever_is_loaded_is_there():
  loaded = {
    attributes.get("src") or attributes.get("href")
    for tag, attributes in tags().found
    if tag in ("script", "link", "img")
  }
  for name in FILES:
    if name.endswith(".js"):
      loaded |= {
        place.removeprefix("./")
        for place in re.findall(r'from "([^"]+)"', (PAGE / name).read_text())
      }
  assert loaded | {"index.html"} == set(FILES)


def test_every_field_of_the_page_has_a_label():
  read = tags().found
  named = {attributes.get("for") for tag, attributes in read if tag == "label"}
  fields = {
    attributes["id"]
    for tag, attributes in read
    if tag in ("input", "select") and "id" in attributes
  }
  assert fields
  assert fields <= named


def test_the_wheel_carries_every_file(monkeypatch):
  told = {}
  monkeypatch.setattr(setuptools, "setup", told.update)
  monkeypatch.chdir(ROOT)
  runpy.run_path(str(ROOT / "setup.py"))
  packaged = {
    path.name
    for pattern in told["package_data"]["instructrec.serving"]
    for path in (ROOT / "instructrec" / "serving").glob(pattern)
  }
  assert set(FILES) <= packaged
  manifest = (ROOT / "MANIFEST.in").read_text()
  assert "recursive-include instructrec/serving/page *" in manifest
