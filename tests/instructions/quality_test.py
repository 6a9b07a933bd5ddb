"""Each reason not to keep a text, and what can be audited by rule."""

import pytest

from instructrec.instructions import quality


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("", "empty"),
    (" \u00a0", "empty"),
    ("They like\nchess a lot.", "control_characters"),
    ("They like\x00 chess a lot.", "control_characters"),
    ("They like chess\x7f a lot.", "control_characters"),
    ("Likes chess.", "too_short"),
    ("chess " * 81, "too_long"),
    ("They like https://chess.example games.", "link_or_markup"),
    ("They like www.chess.example games.", "link_or_markup"),
    ("They like <b>chess</b> a lot.", "link_or_markup"),
    ("They like </p> chess a lot.", "link_or_markup"),
    ("They like [[chess]] a lot.", "link_or_markup"),
    ("They like ```chess``` a lot.", "link_or_markup"),
    ("They like space CHESS a lot.", "says_the_title"),
    # What is kept.
    ("They like chess.", None),
    (("chess " * 80).strip(), None),
    ("They like a < b and 1 < 2.", None),
    ("They like hyperspace chess boards.", None),
  ],
)
def test_each_reason(text, reason):
  assert quality.problem(text, "Space Chess") == reason


def test_a_query_may_be_a_single_word():
  assert quality.problem("Chess.") == "too_short"
  assert quality.problem("Chess.", is_query=True) is None
  assert quality.problem("", is_query=True) == "empty"


@pytest.mark.parametrize(
  ("text", "title", "said"),
  [
    ("I want SPACE chess now", "Space Chess", True),
    ("I want (Space Chess).", "Space Chess", True),
    ("I want hyperspace chess", "Space Chess", False),
    ("I want space chessboards", "Space Chess", False),
    ("Chess in space", "Space Chess", False),
    # A title of one word may be an ordinary word.
    ("I want to go", "Go", False),
    # Characters with a meaning in patterns stand for themselves.
    ("I want mr. x (blue)", "Mr. X (Blue)", True),
    ("I want mrs x blue", "Mr. X (Blue)", False),
    ("no text", "", False),
  ],
)
def test_a_title_counts_as_said_between_word_boundaries(text, title, said):
  assert quality.says_title(text, title) is said


@pytest.mark.parametrize(
  ("text", "derived", "related"),
  [
    ("They like chess.", True, False),
    ("They like ludo.", False, True),
    ("They like chess and ludo.", True, True),
    ("They like flowers.", False, False),
    # Stop words and words of two letters relate nothing.
    ("They have the of to go.", False, False),
  ],
)
def test_the_audit_compares_content_words(text, derived, related):
  found = quality.audit(
    text, ["Space Chess", "the game of go to have"], ["Ludo | to have the Go"]
  )
  assert found == {"derived": derived, "related_to_target": related}
