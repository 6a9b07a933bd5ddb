"""What wishes ask for, and which requests are cases of their own."""

import numpy as np
import pytest

from instructrec.evaluation import control, generated
from instructrec.evaluation.control import Case, Direction
from instructrec.instructions import title_list


def _wish(direction, count=0, pool=5, others=5):
  """Four times the same."""
  return control.Wish(
    *(np.full(4, value) for value in (direction, count, pool, others))
  )


def test_codes_are_those_of_the_reader():
  assert title_list.INVALID == generated.INVALID
  assert title_list.EMPTY == generated.EMPTY
  assert title_list.BLANK == control.BLANK


def test_cases_of_requests():
  history = np.array([[0, 1], [0, 10], [0, -1], [-1, -1]])
  has = control.at_places((np.arange(12) < 5)[None], history)

  def found(*args, **kwargs):
    wish = _wish(*args, **kwargs)
    return control.cases(wish, np.full(4, 4), history, has).tolist()

  ordinary, conflict = Case.ORDINARY, Case.CONFLICT
  assert found(Direction.PLAIN) == [ordinary] * 4
  assert found(Direction.WANTED) == [ordinary] * 4
  assert found(Direction.UNWANTED) == [conflict, ordinary, conflict, ordinary]
  assert found(Direction.UNWANTED, others=3) == [Case.SMALL_POOL] * 4
  assert found(Direction.UNWANTED, others=0) == [Case.EMPTY_POOL] * 4
  assert found(Direction.WANTED, pool=3) == [Case.SMALL_POOL] * 4
  assert found(Direction.AT_LEAST, 3, pool=3) == [ordinary] * 4
  assert found(Direction.AT_LEAST, 4, pool=3) == [Case.SMALL_POOL] * 4
  assert found(Direction.AT_LEAST, 0, pool=0) == [ordinary] * 4
  assert found(Direction.ABOUT, 2, pool=0) == [Case.EMPTY_POOL] * 4


@pytest.mark.parametrize(
  ("percent", "k", "most", "least", "about"),
  [
    (20, 10, 2, 2, 2),
    (30, 7, 2, 3, 2),
    (50, 7, 3, 4, 4),
    (25, 10, 2, 3, 3),
    (0, 5, 0, 0, 0),
    (100, 5, 5, 5, 5),
    (29, 100, 29, 29, 29),
  ],
)
def test_percent_are_counts(percent, k, most, least, about):
  found = [
    control.count_of_percent(percent, k, direction)
    for direction in (Direction.AT_MOST, Direction.AT_LEAST, Direction.ABOUT)
  ]
  assert found == [most, least, about]


def test_percent_that_are_none_are_refused():
  with pytest.raises(ValueError, match="percent is 101"):
    control.count_of_percent(101, 5, Direction.ABOUT)
  with pytest.raises(ValueError, match="WANTED, which has no number"):
    control.count_of_percent(10, 5, Direction.WANTED)
