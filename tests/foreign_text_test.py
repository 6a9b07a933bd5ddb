"""What others wrote is shown, and steers neither a terminal nor a page."""

import unicodedata

import markdown_it
import pytest

from instructrec import foreign_text

STEERING = [
  "\x1b[2J\x1b[1;1H",  # Clears the screen.
  "\x1b]0;title\x07",  # Names the window.
  "\x1b]8;;http://a.b\x1b\\here\x1b]8;;\x1b\\",  # A link.
  "\x9b31m",  # The same as ESC [.
  "good\rbad",
  "a\bb",
  "\x00\x7f\x85\x0b\x0c",
  "\u202egnp.exe",  # Right to left from here.
  "\u2066a\u2069\u2067b\u2069\u2068c\u2069\u202aa\u202b\u202c\u202d",
  "\u2028\u2029",
  "\ud800",
]


@pytest.mark.parametrize("text", STEERING)
def test_nothing_that_steers_is_left(text):
  found = foreign_text.printable(f"A {text} B")
  assert found.startswith("A ")
  assert found.endswith(" B")
  assert not {unicodedata.category(c) for c in found} & {"Cc", "Cs", "Zl", "Zp"}
  assert not {unicodedata.bidirectional(c) for c in found} & {
    *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
  }
  found.encode()


def test_every_character_is_as_unicode_has_it():
  """All control characters, all that embed or override, nothing else."""
  steers = {
    chr(code)
    for code in range(0x110000)
    if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")
    or unicodedata.bidirectional(chr(code))
    in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
  } - {"\t", "\n"}
  every = "".join(map(chr, range(0x110000)))
  assert set(every) - set(foreign_text.printable(every)) == steers


def test_escapes_tell_what_stood_there():
  assert foreign_text.printable("a\x1b[1mb\u202ec\ud800") == (
    "a\\x1b[1mb\\u202ec\\ud800"
  )


@pytest.mark.parametrize(
  "text",
  [
    "Rocky Ⅱ: 東京, שלום\u200f, العربية, 👩‍👩‍👧, C++ & C#, 100% {x} [2023]",
    "two\nlines\tand a tab",
    "",
  ],
)
def test_all_other_text_stays(text):
  assert foreign_text.printable(text) == text


@pytest.mark.parametrize(
  "text",
  [
    "<script>alert(1)</script>",
    "<img src=http://a.b/c>",
    "![x](http://a.b/c.png)",
    "[x](javascript:alert(1))",
    "[x][y] and [y]: http://a.b",
    "<http://a.b>",
    "`code` and ``more``",
    "**bold** *it* __b__ _i_ a_b_c",
    "# a heading",
    "> a quote",
    "- a list",
    "&lt; &#60;",
    "a\\b \\<i>",
    "line\n\n# another",
    "~~~\ncode",
  ],
)
def test_in_markdown_a_text_means_itself(text):
  page = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
  for before in ("", "| a |\n|---|\n| "):
    tokens = page.parse(before + foreign_text.in_markdown(text))
    inline = [t for t in tokens if t.type == "inline"][-1]
    assert {child.type for child in inline.children} == {"text"}
    shown = "".join(child.content for child in inline.children)
    assert shown == " ".join(text.split())
  kinds = {token.type for token in page.parse(foreign_text.in_markdown(text))}
  assert kinds == {"paragraph_open", "inline", "paragraph_close"}


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    ("http://user:secret@host:8000/v1", "http://host:8000/v1"),
    ("https://user@host/v1", "https://host/v1"),
    ("HTTPS://u:p@ss@host", "HTTPS://host"),
    ("http://u:p/w@host/v1", "http://host/v1"),
    ("a http://u:p@one, b https://v:q@two.", "a http://one, b https://two."),
    ("--chat_base_url='http://u:p@h/v1'", "--chat_base_url='http://h/v1'"),
    ("gs://bucket/a@b", "gs://bucket/a@b"),
    ("ftp://user:secret@host/a@b", "ftp://host/a@b"),
    ("http://host/v1", "http://host/v1"),
    ("mail me@host", "mail me@host"),
  ],
)
def test_addresses_name_no_user(text, shown):
  assert foreign_text.without_user(text) == shown
