"""Planted leaks are caught; what is no leak passes."""

import dataclasses

import pytest

from instructrec.data import catalog
from instructrec.instructions import leaks
from instructrec.instructions.format import Instruction


def planted(**changes):
  return Instruction(
    **{
      "example_id": "e",
      "task": "sequential",
      "template_id": "t",
      "kind": "direct",
      "preference": "P1",
      "intention": "I0",
      "task_form": "T2",
      "intention_origin": "none",
      "user_id": "u",
      "request_id": "r",
      "inputs": 'Bought "Go". Next?',
      "prompt": "Bought [history]. Next?",
      "targets": "Space Chess",
      "target_id": "c",
      "candidates": ("Space Chess", "Ludo"),
      "candidate_ids": ("c", "l"),
      "label": 0,
      "history_ids": ("g",),
      "split": "test",
      **changes,
    }
  )


def item(item_id, title):
  return catalog.Item(item_id, title)


def problems(row, history=("Go",), target="Space Chess", **known):
  return leaks.problems(
    row,
    leaks.Known(
      target=item("c", target),
      history=[item("g", title) for title in history],
      asked=row.candidates,
      **known,
    ),
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"inputs": 'Wants "Space Chess" next'}, "quote the target's title"),
    ({"inputs": "I wish for space chess, please"}, "say the target's title"),
    ({"inputs": 'Item "c" next'}, "hold the target's id"),
    (
      {
        "task_form": "T3",
        "inputs": 'Space Chess? From "Space Chess"; "Ludo" choose.',
      },
      "say the target's title",
    ),
    (
      {"task_form": "T0", "inputs": 'Loves Space Chess. Is "Ludo" right?'},
      "say the target's title",
    ),
    (
      {"task_form": "T1", "inputs": '"Space Chess" or "Ludo"? "Space Chess"!'},
      "quote the target's title",
    ),
    ({"history_ids": ("g", "stranger")}, "no part of the history"),
  ],
)
def test_planted_leaks_are_caught(changes, message):
  (found,) = problems(planted(**changes))
  assert message in found


def test_a_target_in_the_history_is_caught():
  row = planted(history_ids=("g", "c"))
  known = leaks.Known(
    target=item("c", "Space Chess"),
    history=[item("g", "Go"), item("c", "Space Chess")],
  )
  assert leaks.problems(row, known) == ["the target c is in the history"]
  again = dataclasses.replace(known, taken_before=True)
  assert leaks.problems(row, again) == []


REVIEW = "I bought this for my nephew and he played all day with it"


def test_a_later_item_is_caught():
  later = [item("x", "Moon Ludo")]
  row = planted(inputs='Bought "Go" and "Moon Ludo". Next?')
  (found,) = problems(row, later=later)
  assert "taken after the target" in found
  assert not problems(planted(), later=later)


def test_the_held_out_review_is_caught():
  row = planted(inputs=f"Bought Go. They say: {REVIEW[:50]}. Next?")
  (found,) = problems(row, target_review=REVIEW)
  assert "review of the target" in found
  assert not problems(row, target_review=REVIEW, review_allowed=True)
  assert not problems(row, target_review=REVIEW, history_review=REVIEW)
  assert not problems(planted(), target_review=REVIEW)


def test_a_template_may_give_the_target_and_ask_for_something_else():
  row = planted(inputs='After "Go" came "Space Chess". Why?')
  assert problems(row)
  assert not problems(row, target_given=True)


def test_a_wish_that_tells_the_target_is_caught():
  row = planted(inputs='Bought "Go". They want zorbic games, please.')
  known = {
    "wish": "zorbic games, please.",
    "hidden_words": frozenset(("zorbic",)),
  }
  (found,) = problems(row, **known)
  assert "the wish says ['zorbic'], which tell the target" in found
  # What the target has may be said, and a title of the history in quotes.
  assert not problems(
    row, wish="board games", hidden_words=known["hidden_words"]
  )
  assert not problems(
    planted(inputs='Bought "Zorbic Go". Like "Zorbic Go", but cheap.'),
    history=("Zorbic Go",),
    wish='Like "Zorbic Go", but cheap.',
    hidden_words=known["hidden_words"],
  )


def test_check_names_the_row():
  row = planted(inputs='Wants "Space Chess" next')
  known = leaks.Known(target=item("c", "Space Chess"))
  with pytest.raises(
    leaks.InstructionLeakError,
    match="instruction e, whose target is item 'c': the in",
  ):
    leaks.check(
      planted(**{**dataclasses.asdict(row), "history_ids": ()}), known
    )


@pytest.mark.parametrize(
  ("changes", "extra"),
  [
    ({}, {}),
    ({"task_form": "T3", "inputs": 'From "Space Chess"; "Ludo" choose.'}, {}),
    (
      {"task_form": "T0", "inputs": 'Is "Space Chess" right?'},
      {},
    ),
    # Part of another title, or of another word, or an ordinary word.
    (
      {"inputs": 'Has "Space Chess II".'},
      {"history": ("Space Chess II",)},
    ),
    ({"inputs": "Hyperspace Chessboard"}, {}),
    (
      {"inputs": "Let us go out", "history_ids": ()},
      {"target": "Go", "history": ()},
    ),
  ],
)
def test_what_is_no_leak_passes(changes, extra):
  assert problems(planted(**changes), **extra) == []
