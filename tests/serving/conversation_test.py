"""Conversations of ten turns keep and drop what is said."""

import dataclasses
import itertools

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog, synthetic
from instructrec.instructions import attributes, wish_reader
from instructrec.serving import (
  constraints,
  conversation,
  item_shelf,
  list_limits,
)
from instructrec.serving.messages import Message


def opened(items):
  known = attributes.Attributes.of(items)
  return conversation.Conversations(
    item_shelf.Shelf(items, known), wish_reader.WishReader(known)
  )


@pytest.fixture(scope="module")
def shop():
  _, items = synthetic.generate(num_users=2, num_items=200, seed=4)
  return opened(items)


@pytest.fixture(scope="module")
def toys():
  """Categories in levels, brands, long titles, prices for most."""
  leaves = (
    ("Toys & Games > Puzzles > Jigsaw Puzzles", "Jigsaw"),
    ("Toys & Games > Games > Board Games", "Board Game"),
    ("Toys & Games > Dolls & Accessories > Dolls", "Doll"),
    ("Toys & Games > Building Toys > Building Sets", "Building Set"),
    ("Toys & Games > Action Figures > Statues", "Action Figure"),
  )
  brands = ("LEGO", "Melissa & Doug", "Ravensburger", "Hasbro")
  themes = ("Farm", "Princess", "Space", "Train")
  rows = [
    {
      "item_id": f"B{number:04d}",
      "title": f"{brand.split()[0]} {theme} {kind} No. {number}",
      "categories": [path],
      "brand": brand,
      "price": None if number % 11 == 0 else 5.0 + number % 40,
    }
    for number, ((path, kind), brand, theme) in enumerate(
      itertools.islice(
        itertools.cycle(itertools.product(leaves, brands, themes)), 160
      )
    )
  ]
  return opened(catalog.Catalog(pl.DataFrame(rows)))


@pytest.fixture(scope="module")
def films():
  """Genres and years in titles; no prices and no brands."""
  genres = ("Comedy", "Horror", "Drama", "Sci-Fi", "War", "Animation")
  names = ("Heat", "Night Train", "Iron Sea", "Last Ward", "Ghost Hill")
  rows = [
    {
      "item_id": str(number),
      "title": f"{names[number % 5]} {number} ({1970 + number % 40})",
      "categories": [genres[number % 6], genres[(number // 6) % 6]],
    }
    for number in range(180)
  ]
  return opened(catalog.Catalog(pl.DataFrame(rows)))


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


@pytest.mark.parametrize(
  ("said", "expected"),
  [
    ("puzzles under $20", "puzzles, a price of at most 20"),
    ("puzzles for 1,250 dollars or less", "puzzles, a price of at most 1250"),
    ("19.99 tops", "a price of at most 19.99"),
    ("my budget is twenty", "a price of at most 20"),
    ("at least 5 euros", "a price of at least 5"),
    ("under 50 cents", "a price of at most 0.5"),
    ("at least fifty pence", "a price of at least 0.5"),
    *(
      (said, "a price of at least 5, a price of at most 10")
      for said in (
        "5 to 10 dollars",
        "5-10 dollars",
        "5 \u2013 10 euros",
        "$5-$10",
        "$5-10",
        "from 5 to 10 dollars",
        "between 5-10",
        "10 to 5 dollars",
        "a price of 5-10",
      )
    ),
    ("50-99 cents", "a price of at least 0.5, a price of at most 0.99"),
    ("cheap for 2-4 players", "cheap; not understood: '2-4 players'"),
    ("for kids 5-10", "not understood: 'kids 5-10'"),
    ("only two kites", "at most 2 of kites"),
    ("only kites", "among kites"),
    ("just kites, please", "among kites"),
    ("nothing but kites", "among kites"),
    ("kites only", "among kites"),
    ("kites and nothing else", "among kites"),
    ("solely kites", "among kites"),
    ("only show me kites", "among kites"),
    ("show me kites instead", "among kites"),
    ("only kites or puzzles", "among kites, among puzzles"),
    ("kites and puzzles only", "among kites, among puzzles"),
    ("only dinosaur kites", "Dinosaur, among kites"),
    ("only kites under $20", "among kites, a price of at most 20"),
    ("only kites, no puzzles", "among kites, no puzzles"),
    ("kites only under $20", "kites, a price of at most 20"),
    ("I just want kites", "kites"),
    ("not only kites", "kites"),
    ("just no kites", "no kites"),
    ("kites instead of puzzles", "kites, no puzzles"),
    ("one kite at most", "at most 1 of kites"),
    ("fewer puzzles", "at most 0 of puzzles"),
    ("under 90 minutes", "not understood: 'under 90 minutes'"),
    ("for kids under 8", "not understood: 'kids under 8'"),
    ("under 2", "a price of at most 2"),
    ("not the second or the fourth", "not 1, not 3"),
    ("hide the last two", "not 3, not 4"),
    ("show me others", "not 0, not 1, not 2, not 3, not 4"),
    ("I loved number 3", "like 2"),
    (
      "more like the seventh",
      "not understood: 'more like the seventh' (5 items were shown)",
    ),
    ("the second is too expensive", "a price of at most 8.09"),
    ("cheaper than the last one", "a price of at most 16.82"),
    ("the third is nice, more of that", "like 2"),
    ("something purple", "not understood: 'purple'"),
    ("hello, thanks a lot!", "nothing is asked for"),
    (
      "the first one is odd",
      "not understood: 'first one' (what of it is not known), 'odd'",
    ),
    (
      "ein Geschenk ohne Puzzles",
      "not understood: 'ein Geschenk ohne Puzzles'",
    ),
  ],
)
def test_a_message_after_an_answer(said, expected, shop):
  items = shop.shelf.catalog
  shown = tuple(items.item_ids[3:8])
  state = shop.read([Message("assistant", "", shown), Message("user", said)])
  found = state.understood.replace("nothing is asked for; ", "")
  for number, item in enumerate(shown):
    found = found.replace(repr(items.title(item)), str(number))
  assert found == expected


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


def test_answers_are_known_by_items_or_by_titles_in_their_text(shop):
  items = shop.shelf.catalog
  ids, titles = items.item_ids[3:6], items.titles[3:6]
  text = "Here you are:\n" + "\n".join(
    f"{n}. {title} (because of puzzles)" for n, title in enumerate(titles, 1)
  )
  for answer in (
    Message("assistant", text),
    Message("assistant", "", (ids[0], titles[1].upper(), ids[2])),
    Message.from_json(
      {"role": "assistant", "content": None, "items": [{"id": i} for i in ids]}
    ),
  ):
    state = shop.read([answer, Message("user", "more like the second")])
    assert state.shown == tuple(ids)
    assert state.history == (ids[1],)


@pytest.mark.parametrize("count", [1, 3])
def test_titles_that_reasons_name_have_no_number(shop, count):
  items = shop.shelf.catalog
  liked, *shown = items.titles[2 : 3 + count]
  lines = [f"Understood: puzzles, like {liked!r}."]
  for number, title in enumerate(shown, 1):
    lines.append(f"{number}. {title}")
    lines.append(f"   (raised by the history's {liked!r})")
  state = shop.read(
    [Message("assistant", "\n".join(lines)), Message("user", "not the first")]
  )
  assert state.shown == tuple(items.item_ids[3 : 3 + count])
  (kept,) = state.kept
  assert kept.item_id == items.item_ids[3]


def test_the_reason_in_a_line_of_a_list_has_no_number(shop):
  items = shop.shelf.catalog
  liked, *shown = items.titles[2:5]
  text = "\n".join(
    f"{number}) **{title}**, as you liked {liked}"
    for number, title in enumerate(shown, 1)
  )
  state = shop.read(
    [Message("assistant", text), Message("user", "more like the second")]
  )
  assert state.history == (items.item_ids[4],)


@pytest.mark.parametrize(
  "answer",
  [
    "Understood: like {!r}.\nNo item is known to meet all of that.",
    "I would take {}.",
  ],
)
def test_titles_outside_a_list_have_no_number(shop, answer):
  text = answer.format(shop.shelf.catalog.titles[2])
  state = shop.read(
    [Message("assistant", text), Message("user", "not the first")]
  )
  assert not state.shown
  assert not state.kept
  assert state.understood == (
    "nothing is asked for; not understood: 'not the first' (0 items were shown)"
  )


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


def test_films_are_known_by_their_names_without_the_year(films):
  items = films.shelf.catalog
  state = films.read([Message("user", "something like Night Train 1")])
  assert state.history == (items.item_ids[1],)


def test_what_binds_keeps_items_out(shop):
  items, shelf = shop.shelf.catalog, shop.shelf
  state = shop.read([Message("user", "no puzzles, under 20 dollars")])
  allowed = shelf.allowed(state.kept)
  expected = [
    "Puzzles" not in items[i].categories and items[i].price <= 20
    for i in items.item_ids
  ]
  assert allowed.tolist() == expected
  wanted = shop.read([Message("user", "puzzles")])
  assert shelf.allowed(wanted.kept).all()
  only = shop.read([Message("user", "only puzzles")])
  assert shelf.allowed(only.kept).tolist() == [
    "Puzzles" in items[i].categories for i in items.item_ids
  ]
  at_most = shop.read([Message("user", "at most two puzzles")])
  order = np.arange(len(items))
  first = list_limits.first(order, shelf.limits(at_most.kept), 100)
  puzzles = [
    i for i in first if "Puzzles" in items[items.item_ids[i]].categories
  ]
  every = [i for i in order if "Puzzles" in items[items.item_ids[i]].categories]
  assert puzzles == every[:2]
  others = [i for i in order if i not in every]
  assert [i for i in first if i not in puzzles] == others[:98]


@pytest.mark.parametrize("name", ["shop", "toys", "films"])
def test_constraints_said_anew_are_read_as_they_are(name, request):
  conversations = request.getfixturevalue(name)
  every = conversations.shelf.attributes.attributes
  for one, other in itertools.pairwise(every):
    asked = [
      constraints.Constraint(constraints.Kind.WANTED, one),
      constraints.Constraint(constraints.Kind.UNWANTED, other),
    ]
    text = constraints.spoken(asked)
    read = conversations.wishes.read(text)
    assert conversations.shelf.of_reading(read) == asked, text
    asked[0] = dataclasses.replace(asked[0], kind=constraints.Kind.AMONG)
    text = constraints.spoken(asked)
    state = conversations.read([Message("user", text)])
    assert list(state.kept) == asked, text
    assert state.wish == text


@pytest.mark.parametrize(
  ("message", "expected"),
  [
    ("hello", "found the message 'hello', expected an object whose role"),
    ({"role": "boss"}, "expected an object whose role is one of user"),
    ({"role": "user", "content": 3}, "content of a message is '3', expected"),
    ({"role": "user", "content": [{"image": "x"}]}, "expected text alone"),
    ({"role": "user", "content": "x", "items": "y"}, "items is 'y', expected"),
    (
      {"role": "user", "content": "x", "items": [None]},
      "found the item 'None'",
    ),
  ],
)
def test_what_is_no_message_is_named(message, expected):
  with pytest.raises(ValueError, match=expected):
    Message.from_json(message)


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


def test_words_of_every_day_are_no_titles():
  names = ["More", "Alien", *(f"Film {n} (1990)" for n in range(20))]
  frame = {"item_id": [str(n) for n in range(22)], "title": names}
  conversations = opened(catalog.Catalog(pl.DataFrame(frame)))
  for said, expected in (
    ("no more of it", set()),
    ("more like alien", {"like 'Alien'"}),
    ("not Alien", {"not 'Alien'"}),
  ):
    assert kept(conversations.read([Message("user", said)])) == expected


def test_a_limit_leaves_the_wish_as_it_was(shop):
  talk = [Message("user", "puzzles"), Message("user", "at most two puzzles")]
  assert kept(shop.read(talk)) == {"puzzles", "at most 2 of puzzles"}
  none = shop.read([*talk, Message("user", "no puzzles at all")])
  assert kept(none) == {"no puzzles"}
