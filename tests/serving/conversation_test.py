"""Conversations of ten turns keep and drop what is said."""

import itertools

import numpy as np
import pytest

from instructrec.serving import conversation
from instructrec.serving.messages import Message


def kept(state):
  return {one.text for one in state.kept}


SHOP = (
  ("Hi! I am looking for puzzles with dinosaurs.", {"puzzles", "dinosaur"}),
  (
    "Nothing by Oakline please.",
    {"puzzles", "dinosaur", "no Oakline"},
  ),
  (
    "under 30 dollars",
    {"puzzles", "dinosaur", "no Oakline", "a price of at most 30"},
  ),
  (
    "more like the second one",
    {"puzzles", "dinosaur", "no Oakline", "a price of at most 30", "like 1"},
  ),
  (
    "Actually, Oakline is fine.",
    {"puzzles", "dinosaur", "a price of at most 30", "like 1"},
  ),
  (
    "Kites instead.",
    {"among kites", "dinosaur", "a price of at most 30", "like 1"},
  ),
  ("Forget the price.", {"among kites", "dinosaur", "like 1"}),
  ("not the first one", {"among kites", "dinosaur", "like 1", "not 0"}),
  ("Start over. Robots, but no science kits.", {"robot", "no science kits"}),
  (
    "at most two vehicles",
    {"robot", "no science kits", "at most 2 of vehicles"},
  ),
)
TOYS = (
  ("Something for a girl who loves dolls", {"dolls"}),
  ("cheaper", {"dolls", "cheaper"}),
  (
    "and no princess stuff",
    {"dolls", "cheaper", "no Princess"},
  ),
  (
    "I'd rather have board games",
    {"board games", "cheaper", "no Princess"},
  ),
  (
    "also something from lego",
    {"board games", "LEGO", "cheaper", "no Princess"},
  ),
  (
    "the price doesn't matter any more",
    {"board games", "LEGO", "no Princess"},
  ),
  (
    "ok princess things can come back",
    {"board games", "LEGO"},
  ),
  (
    "without Hasbro and without trains",
    {"board games", "LEGO", "no Hasbro", "no Train"},
  ),
  ("scratch that", {"board games", "LEGO"}),
  (
    "between 10 and 20 euros please",
    {
      "board games",
      "LEGO",
      "a price of at least 10",
      "a price of at most 20",
    },
  ),
)
FILMS = (
  ("I want a comedy from the 90s", {"comedy", "1990s"}),
  ("no horror", {"comedy", "1990s", "no horror"}),
  ("make that the eighties", {"comedy", "1980s", "no horror"}),
  ("I don't mind horror", {"comedy", "1980s"}),
  (
    "something like the third",
    {"comedy", "1980s", "like 2"},
  ),
  (
    "hide the first two",
    {"comedy", "1980s", "like 2", "not 0", "not 1"},
  ),
  (
    "sci-fi too",
    {"comedy", "1980s", "sci-fi", "like 2", "not 0", "not 1"},
  ),
  (
    "never mind the comedy",
    {"1980s", "sci-fi", "like 2", "not 0", "not 1"},
  ),
  ("forget everything, I feel like war films", {"war"}),
  ("no more than 3 dramas though", {"war", "at most 3 of drama"}),
)


@pytest.mark.parametrize(
  ("name", "script"), [("shop", SHOP), ("toys", TOYS), ("films", FILMS)]
)
def test_ten_turns_keep_and_drop_what_is_said(name, script, request):
  conversations = request.getfixturevalue(name)
  items = conversations.shelf.catalog
  shown = tuple(items.item_ids[3:8])
  titles = {repr(items.title(item)): i for i, item in enumerate(shown)}
  prices = [items[item].price for item in shown if items[item].price]
  cheaper = prices and f"a price of at most {np.median(prices) - 0.01:g}"
  talk, right, wrong = [], 0, []
  for text, expected in script:
    talk.append(Message("user", text))
    state = conversations.read(talk)
    found = set()
    for said in kept(state):
      for title, number in titles.items():
        said = said.replace(title, str(number))
      found.add("cheaper" if said == cheaper else said)
    if {f.casefold() for f in found} == {e.casefold() for e in expected}:
      right += 1
    else:
      wrong.append((text, sorted(found), sorted(expected), state.understood))
    talk.append(Message("assistant", "Here you are.", shown))
  assert not wrong


def test_each_constraint_has_its_words_its_turn_and_what_took_it_back(shop):
  talk = [
    Message("user", "Puzzles, but no kites. Something purple."),
    Message("user", "Under 20 dollars"),
    Message("user", "Forget the price. Kites are fine after all."),
  ]
  found = shop.read(talk).to_json()
  assert [
    (c["text"], c["words"], c["turn"], c["status"], c["dropped_in_turn"])
    for c in found["constraints"]
  ] == [
    ("puzzles", "Puzzles", 1, "kept", None),
    ("no kites", "no kites", 1, "dropped", 3),
    ("a price of at most 20", "Under 20 dollars", 2, "dropped", 3),
  ]
  assert found["wish"] == "I would like puzzles."
  assert found["not_understood"] == [{"words": "purple", "turn": 1, "why": ""}]
  assert found["text"] == ("puzzles; no more: no kites, a price of at most 20")


def test_a_conversation_is_read_the_same_again_and_in_parts(shop):
  talk = [Message("user", text) for text, _ in SHOP]
  whole = shop.read(talk)
  assert shop.read(list(talk)) == whole
  seen = [shop.read(talk[: turn + 1]) for turn in range(len(talk))]
  assert seen[-1] == whole
  # What was said once stays written down, whatever comes after.
  for before, after in itertools.pairwise(seen):
    assert [(s.constraint, s.turn) for s in before.said] == [
      (s.constraint, s.turn) for s in after.said[: len(before.said)]
    ]


def test_undo_takes_back_the_last_turn_alone(shop):
  talk = [Message("user", "puzzles"), Message("user", "kites instead")]
  assert kept(shop.read(talk)) == {"among kites"}
  assert shop.read(talk).understood == "among kites; no more: puzzles"
  only = shop.read([*talk[:1], Message("user", "only puzzles")])
  assert only.understood == "among puzzles"
  undone = shop.read([*talk, Message("user", "undo that")])
  assert kept(undone) == {"puzzles"}
  fresh = shop.read([Message("user", "undo that")])
  assert not fresh.said


def test_what_was_taken_stays_and_is_not_taken_twice(shop):
  items = shop.shelf.catalog
  title = items.titles[20]
  talk = [
    Message("user", f"I bought {title}. Something like it?"),
    Message("user", f"start over; I own {title}"),
  ]
  state = shop.read(talk, history=[items.item_ids[7]])
  assert state.history == (items.item_ids[7], items.item_ids[20])
  # Its words are no wishes.
  assert not state.said
  with pytest.raises(KeyError, match="nowhere"):
    shop.read(talk, history=["nowhere"])


@pytest.mark.parametrize(
  ("turns", "expected"),
  [
    (("other things are fine too",), {"kites"}),
    (("not only kites",), {"kites"}),
    (("others are ok",), {"kites"}),
    (("Forget about kites.",), set()),
    (("undo that",), set()),
    (("no kites",), {"no kites"}),
    (("I love kites",), {"among kites"}),
    (("kites are fine",), {"among kites"}),
    (("at most two kites",), {"among kites", "at most 2 of kites"}),
    (("just puzzles",), {"among puzzles"}),
    (("puzzles too",), {"among kites", "among puzzles"}),
    (("only Oakline",), {"kites", "among Oakline"}),
    (("I'd rather have puzzles",), {"puzzles"}),
    (("puzzles instead", "undo that"), {"among kites"}),
  ],
)
def test_what_alone_is_wanted_holds_until_it_is_taken_back(
  shop, turns, expected
):
  talk = [Message("user", text) for text in ("only kites", *turns)]
  assert kept(shop.read(talk)) == expected


def test_only_replaces_what_was_wanted_of_the_kind_alone(films):
  talk = [Message("user", "a comedy from the 90s")]
  only = films.read([*talk, Message("user", "only horror")])
  assert kept(only) == {"among horror", "1990s"}


@pytest.mark.parametrize(
  ("talk", "found"),
  [
    ([Message("user", "hi")] * 501, "has 501 messages, expected at most 500"),
    ([Message("user", "x" * 4001)], "has 4,001 characters in a message"),
    ([Message("user", "x" * 4000)] * 11, "has 44,000 characters of the user"),
    ([Message("assistant", "x" * 400_001)], "has 400,001 characters of answ"),
  ],
)
def test_too_much_is_refused(talk, found, shop):
  with pytest.raises(ValueError, match=found):
    shop.read(talk)


def test_what_is_forgotten_may_be_a_kind(films):
  talk = [
    Message("user", "a comedy from the 90s"),
    Message("user", "horror too"),
  ]
  found = films.read([*talk, Message("user", "forget the decade")])
  assert kept(found) == {"comedy", "horror"}
  found = films.read([*talk, Message("user", "never mind the genre")])
  assert kept(found) == {"1990s"}


def test_a_limit_leaves_the_wish_as_it_was(shop):
  talk = [Message("user", "puzzles"), Message("user", "at most two puzzles")]
  assert kept(shop.read(talk)) == {"puzzles", "at most 2 of puzzles"}
  none = shop.read([*talk, Message("user", "no puzzles at all")])
  assert kept(none) == {"no puzzles"}


@pytest.mark.parametrize(
  "said", ["under 40 dollars", "between 10 and 20 dollars", "cheaper"]
)
def test_what_the_catalogue_does_not_know_is_told(said, films):
  talk = [Message("user", "horror"), Message("assistant", "", ("3", "9"))]
  found = films.read([*talk, Message("user", said)])
  assert kept(found) == {"horror"}
  why = "this catalogue has no prices"
  assert found.notes == [f"{said!r} changes nothing: {why}"]
  assert found.understood == f"horror; not done: {said!r} ({why})"
  assert not films.read([*talk, Message("user", said), talk[0]]).notes


def test_the_last_items_are_known_by_their_titles(shop, monkeypatch):
  monkeypatch.setattr(conversation, "_MOST_KNOWN", 3)
  ids = shop.shelf.catalog.item_ids
  course = conversation._Course(shop, [ids[9]])
  course.answered(tuple(ids[:5]))
  assert course._before().known == tuple(ids[2:5])
  assert course._before().shown == tuple(ids[:5])
