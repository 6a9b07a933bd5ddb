"""The page of results says what the files of figures say."""

import pathlib

from instructrec.evaluation import published_page

_ROOT = pathlib.Path(__file__).parents[2]
_DOCS = _ROOT / "docs"


def test_page_and_files_hold_together():
  """`instructrec results write` would change nothing."""
  text = (_DOCS / "results.md").read_text(encoding="utf-8")
  found = published_page.load_all(_DOCS / "results")
  assert published_page.filled(text, found) == text
  assert published_page.named(text) == set(found)


def test_the_readme_shows_published_figures():
  text = (_ROOT / "README.md").read_text(encoding="utf-8")
  found = published_page.load_all(_DOCS / "results")
  assert published_page.filled(text, found, "docs/results") == text
  assert published_page.named(text) == {"games_random9"}


def test_files_are_small_and_say_how_they_were_made():
  for name, found in published_page.load_all(_DOCS / "results").items():
    path = _DOCS / "results" / f"{name}.json"
    assert path.stat().st_size < 60_000, name
    assert found.commands, name
    assert found.environment.get("instructrec"), name
    assert any("fingerprint" in key for key in found.data), name
