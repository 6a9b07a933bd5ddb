"""What control rows ask, by hand."""

import numpy as np
import polars as pl
import pytest

from instructrec.alignment import asked
from instructrec.evaluation import control
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attribute, Attributes, Kind

EVEN, LOW = (Attribute(Kind.CATEGORY, name) for name in ("even", "low"))


class _Items(list):
  """Items called by their places."""

  def index(self, item):
    return int(item)


ITEMS = _Items(map(str, range(10)))
ATTRIBUTES = Attributes(
  [EVEN, LOW], [np.arange(0, 10, 2), np.arange(4)], len(ITEMS)
)


def _read(*rows):
  columns = ("constraints", "k", "history_ids", "next_id")
  frame = pl.DataFrame(
    [dict(zip(columns, row, strict=True)) for row in rows],
    schema={
      "constraints": pl.List(pl.String),
      "k": pl.Int64,
      "history_ids": pl.List(pl.String),
      "next_id": pl.String,
    },
  )
  return asked.Asked.of(frame, ITEMS, ATTRIBUTES)


def test_rows_are_wishes_with_their_pools():
  found = _read(
    ([], 3, ["1", "1"], "2"),
    (["wanted category:even"], 4, ["0", "1"], "2"),
    (["unwanted category:low"], 4, ["1"], "9"),
    (["at_most 30% category:even"], 10, [], ""),
    (["wanted category:even", "unwanted category:low"], 2, ["6", "0"], "3"),
  )
  assert found.wish.direction.tolist() == [
    Direction.PLAIN,
    Direction.WANTED,
    Direction.UNWANTED,
    Direction.AT_MOST,
    Direction.WANTED,
  ]
  assert found.wish.count.tolist() == [0, 0, 0, 3, 0]
  assert found.wish.pool.tolist() == [0, 4, 3, 5, 2]
  assert found.wish.others.tolist() == [9, 4, 6, 5, 6]
  assert found.history.tolist() == [[1, -1], [0, 1], [1, -1], [-1, -1], [6, 0]]
  assert found.targets.tolist() == [2, 2, 9, asked.NOBODY, 3]
  low, high = found.bounds
  assert (low.tolist(), high.tolist()) == ([0, 4, 0, 0, 2], [3, 4, 0, 3, 2])
  # Even and not low: 4, 6 and 8.
  assert found.has(np.array([[4, 2, -1]] * 5))[4].tolist() == [1, 0, 0]
  conflict = control.Case.CONFLICT
  assert (found.cases == conflict).tolist() == [
    False,
    False,
    True,
    False,
    False,
  ]
  few = found.take(np.array([4, 0]))
  assert few.wish.pool.tolist() == [2, 0]
  assert few.has(np.array([[8], [8]])).tolist() == [[True], [False]]


def test_what_is_no_wish_is_named():
  with pytest.raises(ValueError, match="beside at_most 3 category:even"):
    _read((["at_most 3 category:even", "wanted category:low"], 5, [], ""))
  with pytest.raises(ValueError, match="wanted brand:even, which no item"):
    _read((["wanted brand:even"], 5, [], ""))
