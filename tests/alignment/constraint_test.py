"""What is asked of a list, as a value and as text."""

import pytest

from instructrec.alignment.constraint import Constraint
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attribute, Kind

PUZZLES = Attribute(Kind.CATEGORY, "puzzles")


@pytest.mark.parametrize(
  "text",
  [
    "wanted category:puzzles",
    "unwanted brand:3 at_most: 20% off",
    "at_most 30% category:board games, dice",
    "at_least 0 price:cheap",
    "about 12 decade:1990s",
  ],
)
def test_text_and_constraint_are_the_same(text):
  found = Constraint.parse(text)
  assert str(found) == text
  assert Constraint.parse(str(found)) == found


def test_a_constraint_reads_as_it_is_meant():
  assert Constraint.parse("at_most 30% category:puzzles") == Constraint(
    PUZZLES, Direction.AT_MOST, 30, percent=True
  )


@pytest.mark.parametrize(
  "text",
  [
    "",
    "wanted puzzles",
    "wanted size:large",
    "at_most category:puzzles",
    "wanted 3 category:puzzles",
    "about 101% category:puzzles",
    "about -1 category:puzzles",
  ],
)
def test_what_is_no_constraint_is_refused(text):
  with pytest.raises(ValueError, match="constraint"):
    Constraint.parse(text)


# Of a list of ten: how many may have it.
MET = {
  "wanted": {10},
  "unwanted": {0},
  "at_most 3": {0, 1, 2, 3},
  "at_most 30%": {0, 1, 2, 3},
  "at_most 25%": {0, 1, 2},
  "at_least 8": {8, 9, 10},
  "at_least 75%": {8, 9, 10},
  "about 4": {4},
  "about 40%": {4},
  "about 45%": {5},
}


@pytest.mark.parametrize("asked", MET)
def test_which_lists_of_ten_do_as_they_are_asked(asked):
  constraint = Constraint.parse(f"{asked} category:puzzles")
  met = {having for having in range(11) if constraint.is_met(having, 10)}
  assert met == MET[asked]
