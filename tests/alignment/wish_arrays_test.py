"""Constraints as arrays, worked by hand."""

import numpy as np
import polars as pl
import pytest

from instructrec.alignment import wish_arrays
from instructrec.alignment.constraint import Constraint
from instructrec.data.catalog import Catalog
from instructrec.evaluation.control import Direction

# Of 24 items every second is a game, every third by Oakline.
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
# Two games, one of them by Oakline; nothing; the same.
HISTORY = np.array([[0, 2, -1], [-1, -1, -1], [2, 0, -1], [0, 2, -1]])


def test_one_constraint_none_a_share_and_two():
  rows = [
    ["unwanted category:games"],
    [],
    ["at_most 30% category:games"],
    ["wanted category:games", "unwanted brand:Oakline"],
  ]
  wish, has = wish_arrays.WishArrays(ITEMS).of(
    [[*map(Constraint.parse, row)] for row in rows],
    np.array([10, 5, 10, 3]),
    HISTORY,
  )
  assert wish.direction.tolist() == [
    Direction.UNWANTED,
    Direction.PLAIN,
    Direction.AT_MOST,
    Direction.WANTED,
  ]
  assert wish.count.tolist() == [0, 0, 3, 0]
  # Twelve games without two of the history; of eight games that Oakline did
  # not make, one is in the history.
  assert wish.pool.tolist() == [10, 24, 10, 7]
  assert wish.others.tolist() == [12, 0, 12, 15]
  games = np.arange(24) % 2 == 0
  np.testing.assert_array_equal(has[0], games)
  np.testing.assert_array_equal(has[3], games & (np.arange(24) % 3 != 0))


@pytest.mark.parametrize(
  ("constraints", "message"),
  [
    (["wanted category:boats"], "no item of the catalogue has"),
    (
      ["at_most 3 category:games", "unwanted brand:Oakline"],
      "proportion beside another constraint",
    ),
  ],
)
def test_what_cannot_be_measured_is_refused(constraints, message):
  row = [*map(Constraint.parse, constraints)]
  with pytest.raises(ValueError, match=message):
    wish_arrays.WishArrays(ITEMS).of([row], np.array([10]), HISTORY[:1])
