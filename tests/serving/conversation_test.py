"""Conversations of ten turns keep and drop what is said."""

import itertools

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog, synthetic
from instructrec.instructions import attributes, wish_reader
from instructrec.serving import constraints, conversation
from instructrec.serving.messages import Message


def opened(items):
  known = attributes.Attributes.of(items)
  return conversation.Conversations(
    constraints.Shelf(items, known), wish_reader.WishReader(known)
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
    {"kites", "dinosaur", "a price of at most 30", "like 1"},
  ),
  ("Forget the price.", {"kites", "dinosaur", "like 1"}),
  ("not the first one", {"kites", "dinosaur", "like 1", "not 0"}),
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
