"""What is asked of a list, read from words alone."""

import polars as pl
import pytest

from instructrec.alignment import read_constraints, wordings
from instructrec.alignment.constraint import PROPORTIONS, Constraint
from instructrec.alignment.wordings import ControlTask
from instructrec.data.catalog import Catalog
from instructrec.instructions.attributes import Attributes

ITEMS = Catalog(
  pl.DataFrame(
    {
      "item_id": [f"i{i}" for i in range(24)],
      "title": [f"Thing number {chr(97 + i)}" for i in range(24)],
      "categories": [["Games"] if i % 2 == 0 else ["Kites"] for i in range(24)],
      "brand": ["Oakline" if i % 3 == 0 else "Pebble" for i in range(24)],
    }
  )
)


@pytest.fixture(scope="module", name="reader")
def reader_fixture():
  return read_constraints.ConstraintReader(Attributes.of(ITEMS))


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("Ten things, please.", ()),
    ("Ten things, at most two games", ("at_most 2 category:games",)),
    ("List exactly 10 items, no more and no fewer.", ()),
    ("10 games, at most 3 by Oakline", ("at_most 3 brand:Oakline",)),
    ("No less than 30 % games!", ("at_least 30% category:games",)),
    ("Kites up to 20 percent of it", ("at_most 20% category:kites",)),
    ("Keep the kites to 2, of 10 items.", ("at_most 2 category:kites",)),
    ("5, or thereabouts, are kites", ("about 5 category:kites",)),
    ("Games, and 3 or more of them by Oakline", ("at_least 3 brand:Oakline",)),
    ("I hate kites. 2 games at least.", ("at_least 2 category:games",)),
    # What is behind the number comes first; another sentence does not count.
    ("Kites, about 4 games.", ("about 4 category:games",)),
    ("I like games. At most 4 of 10.", ("wanted category:games",)),
    ("at most 300% kites", ("wanted category:kites",)),
    # The number itself is too many, or too few; names follow at once.
    ("fewer than 3 games", ("at_most 2 category:games",)),
    ("less than 30% games", ("at_most 29% category:games",)),
    ("no fewer than 3 games", ("at_least 3 category:games",)),
    ("more than 4 games", ("at_least 5 category:games",)),
    ("I don't want to see more than two kites",
     ("at_most 2 category:kites",)),
    ("exactly three games", ("about 3 category:games",)),
    ("Exactly 10 items by Oakline", ("wanted brand:Oakline",)),
    ("Ten items, three of which are kites", ("about 3 category:kites",)),
    ("10 items, 30% of them kites", ("about 30% category:kites",)),
    ("5 of them for me, no kites", ("unwanted category:kites",)),
    ("at most half games", ("at_most 50% category:games",)),
    ("half of the list should be games", ("about 50% category:games",)),
    ("at most twelve games", ("at_most 12 category:games",)),
    ("at most a dozen games", ("at_most 12 category:games",)),
    ("maximum 2 games", ("at_most 2 category:games",)),
    ("at  most  two  games", ("at_most 2 category:games",)),
    ("0 kites please", ("unwanted category:kites",)),
    ("no more than zero kites", ("at_most 0 category:kites",)),
    # What measures an item, or is a part of another number, counts nothing.
    ("games for at most 4 players", ("wanted category:games",)),
    ("games for ages 8 or less", ("wanted category:games",)),
    ("kites of about 20 dollars", ("wanted category:kites",)),
    ("at most 1,000 games", ("wanted category:games",)),
    ("games for 8 or more players", ("wanted category:games",)),
    ("at most one or two games", ("at_most 2 category:games",)),
    ("at most 2-3 games", ("at_most 3 category:games",)),
    # A length of the list limits nothing that is named behind it.
    ("Keep the list to 10 items and no kites", ("unwanted category:kites",)),
    ("At most 3 items, and no kites", ("unwanted category:kites",)),
    ("Limit games to 2 and kites to 3", ("at_most 2 category:games",)),
    ("no kites by Oakline", ("unwanted category:kites",
                             "unwanted brand:Oakline")),
    ("games, but nothing by Oakline", ("wanted category:games",
                                       "unwanted brand:Oakline")),
  ],
)  # fmt: skip
def test_what_is_read(text, expected, reader):
  assert tuple(map(str, reader.read(text))) == expected


def test_every_wording_of_control_tasks_is_read_as_it_asks(reader):
  """Those that are held out, too."""
  words = wordings.Wordings()
  one, other = (
    Constraint.parse(f"wanted {name}").attribute
    for name in ("category:games", "brand:Oakline")
  )
  directions = {"wanted": one, "unwanted": other}
  for wording in words.wordings:
    if wording.task in (ControlTask.CATEGORY, ControlTask.PALR):
      continue
    asked = [
      Constraint(attribute, read_constraints.Direction[name.upper()])
      for name, attribute in directions.items()
      if f"{{{name}}}" in wording.inputs
    ]
    if wording.direction:
      (direction,) = (
        each for each in PROPORTIONS if each.name.lower() == wording.direction
      )
      asked = [Constraint(one, direction, 30, percent=True)]
    slots = {wordings.slot_of(c): words.phrase(c) for c in asked}
    if wording.direction:
      slots["amount"] = wordings.amount(asked[0])
    _, prompt = wordings.filled(
      wording, {**slots, "items": words.items(10)}, ""
    )
    assert reader.read(prompt) == tuple(asked), prompt
