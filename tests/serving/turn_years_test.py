"""What a message says of years, of items that have some."""

import itertools
import operator

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog
from instructrec.serving.constraints import Constraint, Kind
from instructrec.serving.messages import Message


def texts(state):
  return [one.text for one in state.kept]


def since(year):
  return f"from {year} or later"


def until(year):
  return f"from {year} or earlier"


@pytest.mark.parametrize(
  ("said", "expected"),
  [
    *((said, ["from 1994"]) for said in (
      "from 1994", "in 1994", "released in 1994", "from the year 1994",
      "something that was made in 1994",
    )),
    *((said, [until(1989)]) for said in (
      "before 1990", "older than 1990", "made before 1990", "pre-1990",
      "earlier than the 1990s", "before the nineties", "before the year 1990",
      "prior to the 90s", "not since 1990", "until 1989", "up to 1989",
      "1989 or earlier", "1989 and older", "from 1989 or before",
      "nothing from 1990 on", "no 1990 or later",
      "nothing newer than 1989", "nothing after the 80s", "the 80s or earlier",
      "no later than 1989", "I don't want anything after 1989",
    )),
    *((said, [since(2000)]) for said in (
      "after 1999", "newer than 1999", "more recent than the 90s",
      "since 2000", "from 2000 on", "from 2000 onwards", "2000 or later",
      "2000 and newer", "the 2000s and later", "nothing before 2000",
      "nothing older than 2000", "not older than 2000", "no earlier than 2000",
      "I don't want anything older than 2000", "starting in 2000",
      "released after the nineties", "post-1999",
    )),
    *((said, [since(1990), until(1999)]) for said in (
      "between 1990 and 1999", "from 1990 to 1999", "1990-1999",
      "1990 \u2013 1999", "in 1990-1999", "between 1999 and 1990",
      "1990 until 1999",
    )),
    ("the 70s to the 90s", [since(1970), until(1999)]),
    ("a 1994 horror", ["from 1994", "horror"]),
    ("horror from 1994", ["horror", "from 1994"]),
    ("horror before 1990, no war", ["horror", until(1989), "no war"]),
    ("no horror before 1990", ["horror", since(1990)]),
    # A decade alone is wanted, as other attributes are.
    ("from the 90s", ["1990s"]),
    ("horror from the nineties", ["horror", "1990s"]),
    ("nothing from the 90s", ["no 1990s"]),
    ("80s or 90s", ["1980s", "1990s"]),
    ("the 80s and 90s", ["1980s", "1990s"]),
    ("the 1850s or later", [since(1850)]),
    # What is no year.
    ("from 1994 on war", ["from 1994", "war"]),
    ("under 2000 dollars", []),
    ("from $1990", []),
    ("from 2000 pages on", []),
    ("I was born in 1994", []),
    ("horror that came out in 1994", ["horror", "from 1994"]),
    ("from the 80s on", [since(1980)]),
    ("like Heat 0 (1970)", ["like 'Heat 0 (1970)'"]),
  ],
)  # fmt: skip
def test_years_of_films(said, expected, films):
  found = films.read([Message("user", said)])
  assert sorted(texts(found)) == sorted(expected)
  assert bool(expected) or found.not_understood
  assert not (expected and found.not_understood), found.understood


def test_a_year_of_somebodys_life_is_none_of_items(films):
  found = films.read([Message("user", "a fan of horror since 1990")])
  assert found.understood == "horror; not understood: 'since 1990'"


@pytest.mark.parametrize(
  ("said", "kept", "words"),
  [
    ("horror, but not from 1994", ["horror"], "not from 1994"),
    ("horror, not from 1990 to 1995", ["horror"], "not from 1990 to 1995"),
    ("nothing between 1990 and 1995", [], "nothing between 1990 and 1995"),
    ("no horror from 1994", ["no horror"], "from 1994"),
    ("no 1994 horror", ["no horror"], "1994"),
  ],
)
def test_years_between_others_are_not_left_out(said, kept, words, films):
  found = films.read([Message("user", said)])
  assert texts(found) == kept
  assert found.notes == [
    f"{words!r} changes nothing: years between others are not left out"
  ]


@pytest.mark.parametrize("said", ["from 1994", "before 1990", "1990 or later"])
def test_without_years_nothing_is_read_of_them(said, shop):
  kinds = {one.kind for one in shop.read([Message("user", said)]).kept}
  assert kinds.isdisjoint((Kind.MAX_YEAR, Kind.MIN_YEAR, Kind.YEAR))


@pytest.mark.parametrize(
  ("script", "expected"),
  [
    (["before 1990", "before 1985"], [until(1984)]),
    (["from 1994", "after 2000"], [since(2001)]),
    (["from 1990 to 1995", "from 1994"], ["from 1994"]),
    (["after 1990", "before 2000"], [since(1991), until(1999)]),
    (["horror from the 90s", "after 2000"], ["horror", since(2001)]),
    (["after 2000", "from the 90s"], ["1990s"]),
    (["horror before 1990", "any year"], ["horror"]),
    (["before 1990", "the year doesn't matter"], []),
    (["before 1990", "undo"], []),
    (["90s horror from 1994"], ["1990s", "horror", "from 1994"]),
  ],
)
def test_a_later_message_corrects(script, expected, films):
  found = films.read([Message("user", said) for said in script])
  assert sorted(texts(found)) == sorted(expected)


def test_a_later_price_takes_back_one_that_leaves_nothing_of_it(shop):
  script = ["over 20 dollars", "under 10 dollars"]
  found = shop.read([Message("user", said) for said in script])
  assert texts(found) == ["a price of at most 10"]


def test_a_year_is_no_price_where_items_have_both(opened):
  rows = [
    {
      "item_id": str(number),
      "title": f"Book {number}",
      "year": None if number % 7 == 0 else 1950 + number % 60,
      "price": 5.0 + number % 30,
    }
    for number in range(120)
  ]
  books = opened(catalog.Catalog(pl.DataFrame(rows)))
  for said, kinds in (
    ("from 1990", {Kind.YEAR}),
    ("between 1990 and 1995", {Kind.MIN_YEAR, Kind.MAX_YEAR}),
    ("1990 or later, under 20", {Kind.MIN_YEAR, Kind.MAX_PRICE}),
    ("from 10 to 20 dollars", {Kind.MIN_PRICE, Kind.MAX_PRICE}),
    ("a budget of 2000", {Kind.MAX_PRICE}),
  ):
    found = books.read([Message("user", said)])
    assert {one.kind for one in found.kept} == kinds, said
  shelf = books.shelf
  years = [row["year"] for row in rows]
  for kind, unknown in itertools.product(
    (Kind.MAX_YEAR, Kind.MIN_YEAR, Kind.YEAR), (False, True)
  ):
    one = Constraint(kind, number=1980)
    fit = {
      Kind.MAX_YEAR: operator.le,
      Kind.MIN_YEAR: operator.ge,
      Kind.YEAR: operator.eq,
    }[kind]
    fits = [None if year is None else fit(year, 1980) for year in years]
    assert [shelf.meets(one, item) for item in range(len(rows))] == fits
    np.testing.assert_array_equal(
      shelf.allowed([one], unknown=unknown),
      [unknown if meets is None else meets for meets in fits],
    )
