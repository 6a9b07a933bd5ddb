"""What control rows ask, by hand."""

import numpy as np
import polars as pl
import pytest

from instructrec.alignment import asked
from instructrec.alignment.constraint import Constraint
from instructrec.data import dataset
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attributes


@pytest.fixture(scope="module", name="items")
def items_fixture(prepared_dir):
  return dataset.load(prepared_dir).catalog


def test_rows_are_read_as_places_of_the_catalogue(items):
  found = Attributes.of(items)
  number = max(range(len(found)), key=lambda n: len(found.items(n)))
  attribute, mask = found.attributes[number], found.mask(number)
  has = np.flatnonzero(mask)
  text = f"{attribute.kind}:{attribute.name}"
  ids = items.item_ids
  rows = pl.DataFrame(
    {
      "constraints": [[f"at_most 30% {text}"], [f"unwanted {text}"]],
      "k": [10, 4],
      # The second row's history has it, twice the same.
      "history_ids": [[], [ids[has[0]]] * 2],
      "next_id": ["", ids[3]],
    },
    schema_overrides={"history_ids": pl.List(pl.String)},
  )
  read = asked.Asked.of(rows, items)
  assert read.wish.direction.tolist() == [Direction.AT_MOST, Direction.UNWANTED]
  assert read.wish.count.tolist() == [3, 0]
  assert read.wish.pool.tolist() == [len(has), len(has) - 1]
  assert read.history.tolist() == [[-1], [has[0]]]
  assert read.targets.tolist() == [asked.NOBODY, 3]
  assert [each.tolist() for each in read.bounds] == [[0, 0], [3, 0]]
  lists = np.array([[has[1], -1], [has[0], np.flatnonzero(~mask)[0]]])
  assert read.has(lists).tolist() == [[True, False], [True, False]]
  # What somebody else read of the rows, in place of their column.
  wanted = Constraint(attribute, Direction.WANTED)
  other = asked.Asked.of(rows, items, [(), (wanted,)])
  assert other.wish.direction.tolist() == [Direction.PLAIN, Direction.WANTED]
  assert other.targets.tolist() == read.targets.tolist()
  last = read.take(np.array([1]))
  assert last.wish.pool.tolist() == [len(has) - 1]
  assert last.has(lists[1:]).tolist() == [[True, False]]
