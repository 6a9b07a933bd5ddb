"""Texts of items, cleaned, and what titles look like."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instructrec.data import item_text


@pytest.mark.parametrize(
  ("given", "plain"),
  [
    ("Lego&#8482 City", "Lego\u2122 City"),
    ("Lego&trade City", "Lego\u2122 City"),
    ("Pens &amp; Ink&#174;", "Pens & Ink\u00ae"),
    ("&amp;amp;#8482 twice", "\u2122 twice"),
    ("AT&T and R&B", "AT&T and R&B"),
    ("a\tb\u00a0\n c", "a b c"),
    ("bell\x07 and \x1b[31mred", "bell and [31mred"),
    ("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",) * 2,
    ("\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",) * 2,
  ],
)
def test_plain_text_has_no_entities_or_control_characters(given, plain):
  assert item_text.plain(given) == plain


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ("www.acme.de", "acme.de"),
    ("https://www.acme.de/", "acme.de"),
    ("<b>Acme &amp; Sons</b>", "Acme & Sons"),
    ("&lt;i&gt;Acme&lt;/i&gt;", "Acme"),
    ("[[Acme]]", "Acme"),
    ("</span></span>", None),
    ("```", None),
    (" ", None),
    ("word " * 21, None),
    ("I <3 NY", "I <3 NY"),
    ("Less < More > Most", "Less < More > Most"),
  ],
)
def test_names_can_be_said_or_are_left_out(given, said):
  assert item_text.name(given) == said


_PIECES = st.sampled_from(
  [
    *("<b>", "</b>", "www.", "http://", "[[", "]]", "```", "<", ">", "/", "."),
    *("&amp;", "&#8482", "lt;", "a", "B", " ", "\x00", "\u200b", "\n"),
    "word " * 19,
  ]
)


@given(st.lists(_PIECES, max_size=8).map("".join))
@example("&amp;\x00lt;")
@example("&am&#8203;p;")
@settings(max_examples=300, deadline=None)
def test_cleaning_twice_is_cleaning_once(text):
  plain = item_text.plain(text)
  assert item_text.plain(plain) == plain
  said = item_text.name(text)
  if said is not None:
    assert not item_text.MARKUP.search(said)
    assert item_text.name(said) == said


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ("Rocky II", "Rocky \u2161"),
    ("Caf\u00e9", "Cafe\u0301"),
    ("E=MC2", "E=MC\u00b2"),
    ("ABC", "\uff21\uff22\uff23"),
    ("a b", "a\u200bb"),
    ("ab", "a\u00adb"),
    ("\u05d0\u05d1", "\u202e\u05d0\u05d1"),
  ],
)
def test_what_people_cannot_tell_apart_looks_alike(one, other):
  assert item_text.look(one) == item_text.look(other)


@pytest.mark.parametrize(
  ("one", "other"), [("Best of", "Best Of"), ("Wall-E", "Wall E"), ("A", "B")]
)
def test_case_and_punctuation_can_be_seen(one, other):
  assert item_text.look(one) != item_text.look(other)


@pytest.mark.parametrize(
  ("given", "turned"),
  [
    ("Boot, Das (Boat, The) (1981)", "Das Boot (The Boat) (1981)"),
    ("Auberge espagnole, L' (2002)", "L'Auberge espagnole (2002)"),
    ("Godfather: Part II, The (1974)", "The Godfather: Part II (1974)"),
    ("Seven (a.k.a. Se7en, The) (1995)", "Seven (a.k.a. The Se7en) (1995)"),
    ("Human Centipede II (Full Sequence), The (2011)",
     "The Human Centipede II (Full Sequence) (2011)"),
    ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
    ("Bug's Life, A (#2)", "A Bug's Life (#2)"),
    ("Me, Myself & Irene (2000)",) * 2,
    ("Paris, I Love You (2006)",) * 2,
    ("Tetsuo, the Ironman (1988)",) * 2,
  ],
)  # fmt: skip
def test_articles_come_first(given, turned):
  assert item_text.article_first(given) == turned
