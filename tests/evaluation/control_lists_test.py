"""Control metrics of lists: by hand, their properties, lists that cheat."""

import hacking_lists
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.evaluation import control, control_lists, generated
from instructrec.evaluation.control import Direction

_NO, _END, _BLANK = generated.INVALID, generated.EMPTY, control.BLANK
# Twelve items: 0 to 4 have what is wished for. The history is 10 and 11.
_HAS = np.arange(12) < 5
_HISTORY = [10, 11]
_POOL, _OTHERS = 5, 5
_TARGET = 1


def _lists(rows, k=4, history=_HISTORY):
  width = max(k, *(len(row) for row in rows))
  items = np.array([[*row, *[_END] * (width - len(row))] for row in rows])
  return control_lists.Lists(
    items, np.full(len(rows), k), np.array([history] * len(rows))
  )


def _wish(direction, count=0, pool=_POOL, others=_OTHERS, size=1):
  return control.Wish(
    *(np.full(size, value) for value in (direction, count, pool, others))
  )


def _measure(row, wish, k=4, plain=None):
  lists = _lists([row], k)
  more = {}
  if plain is not None:
    more["plain"] = _lists([plain], k)
    more["plain_has"] = control.at_places(_HAS[None], more["plain"].items)
  columns = control_lists.per_list(
    lists,
    np.array([_TARGET]),
    wish,
    control.at_places(_HAS[None], lists.items),
    names=("HR@10", "NDCG@10", "MRR@10"),
    **more,
  )
  return {name: column.item() for name, column in columns.items()}


# entries, then CorrectCount, TooMany, TooFew, NonExist, EmptyEntry, RepeatItem,
# InHistory, place of the target (0: none), good items that have it, and not.
_TABLE = [
  ("all well", [1, 5, 0, 6], (1, 0, 0, 0, 0, 0, 0), 1, (2, 2)),
  ("target last", [5, 0, 6, 1], (1, 0, 0, 0, 0, 0, 0), 4, (2, 2)),
  ("no target", [5, 0, 6, 7], (1, 0, 0, 0, 0, 0, 0), 0, (1, 3)),
  ("all have it", [0, 1, 2, 3], (1, 0, 0, 0, 0, 0, 0), 2, (4, 0)),
  ("none has it", [5, 6, 7, 8], (1, 0, 0, 0, 0, 0, 0), 0, (0, 4)),
  ("empty", [], (0, 0, 4, 0, 0, 0, 0), 0, (0, 0)),
  ("one", [1], (0, 0, 3, 0, 0, 0, 0), 1, (1, 0)),
  ("one too few", [1, 5, 0], (0, 0, 1, 0, 0, 0, 0), 1, (2, 1)),
  ("one too many", [5, 6, 7, 8, 1], (0, 1, 0, 0, 0, 0, 0), 0, (0, 4)),
  ("three too many", [0, 5, 6, 7, 8, 0, _NO], (0, 3, 0, 0, 0, 0, 0), 0, (1, 3)),
  ("no title first", [_NO, 1, 5, 0], (1, 0, 0, 1, 0, 0, 0), 2, (2, 1)),
  ("no titles", [_NO] * 4, (1, 0, 0, 4, 0, 0, 0), 0, (0, 0)),
  ("a blank", [1, _BLANK, 5, 0], (1, 0, 0, 1, 1, 0, 0), 1, (2, 1)),
  ("all blank", [_BLANK] * 4, (1, 0, 0, 4, 4, 0, 0), 0, (0, 0)),
  ("blank behind", [1, 5, 0, 6, _BLANK], (0, 1, 0, 0, 0, 0, 0), 1, (2, 2)),
  ("repeated", [1, 1, 5, 0], (1, 0, 0, 0, 0, 1, 0), 1, (2, 1)),
  ("one item", [0] * 4, (1, 0, 0, 0, 0, 3, 0), 0, (1, 0)),
  ("history", [10, 1, 11, 5], (1, 0, 0, 0, 0, 0, 2), 2, (1, 1)),
  ("history twice", [10, 10, 1, 5], (1, 0, 0, 0, 0, 1, 2), 3, (1, 1)),
  ("echo", [10, 11], (0, 0, 2, 0, 0, 0, 2), 0, (0, 0)),
  (
    "no titles are none twice",
    [_NO, _NO, 1, 5],
    (1, 0, 0, 2, 0, 0, 0),
    3,
    (1, 1),
  ),
  ("everything", [_NO, 10, 0, 0, 1, 1], (0, 2, 0, 1, 0, 1, 1), 0, (1, 0)),
  ("short and wrong", [_NO, 0, 0], (0, 0, 1, 1, 0, 1, 0), 0, (1, 0)),
]
_COUNTED = (
  "CorrectCount",
  "TooMany",
  "TooFew",
  "NonExist",
  "EmptyEntry",
  "RepeatItem",
  "InHistory",
)


@pytest.mark.parametrize(
  ("row", "counts", "place", "good"),
  [row[1:] for row in _TABLE],
  ids=[row[0] for row in _TABLE],
)
def test_each_list_by_hand(row, counts, place, good):
  found = _measure(row, _wish(Direction.AT_LEAST, 2))
  assert tuple(found[name] for name in _COUNTED) == counts
  assert found["HR@10"] == (place > 0)
  assert found["MRR@10"] == pytest.approx(1 / place if place else 0)
  assert found["NDCG@10"] == pytest.approx(
    1 / np.log2(place + 1) if place else 0
  )
  has, lacks = good
  assert found["TCP"] == has / 4
  assert found["CPA"] == (has >= 2)
  assert found["CPA within one"] == (has >= 1)
  found = _measure(row, _wish(Direction.UNWANTED))
  assert found["CPA"] == (lacks == 4)
  assert found["CPA within one"] == (lacks >= 3)
  assert found["TCP"] == has / 4


# Lists of four good items by how many have it: CPA and CPA within one.
@pytest.mark.parametrize(
  ("direction", "count", "exact", "near"),
  [
    (Direction.PLAIN, 0, "11111", "11111"),
    (Direction.WANTED, 0, "00001", "00011"),
    (Direction.UNWANTED, 0, "10000", "11000"),
    (Direction.AT_MOST, 0, "10000", "11000"),
    (Direction.AT_MOST, 1, "11000", "11100"),
    (Direction.AT_MOST, 4, "11111", "11111"),
    (Direction.AT_LEAST, 0, "11111", "11111"),
    (Direction.AT_LEAST, 3, "00011", "00111"),
    (Direction.AT_LEAST, 4, "00001", "00011"),
    (Direction.ABOUT, 0, "10000", "11000"),
    (Direction.ABOUT, 2, "00100", "01110"),
    (Direction.ABOUT, 4, "00001", "00011"),
  ],
)
def test_proportions_by_hand(direction, count, exact, near):
  for has in range(5):
    row = [*range(has), *range(5, 9 - has)]
    found = _measure(row, _wish(direction, count))
    assert found["CPA"] == int(exact[has]), has
    assert found["CPA within one"] == int(near[has]), has


@pytest.mark.parametrize(
  ("direction", "pool", "others", "row", "correct", "obeys"),
  [
    # Two items have it: two are enough, and four that hold them.
    (Direction.WANTED, 2, 8, [0, 1], True, True),
    (Direction.WANTED, 2, 8, [0, 1, 5], True, True),
    (Direction.WANTED, 2, 8, [0, 1, 5, 6], True, True),
    (Direction.WANTED, 2, 8, [0, 5, 6, 7], True, False),
    (Direction.WANTED, 2, 8, [0], False, False),
    (Direction.WANTED, 2, 8, [0, 1, 5, 6, 7], False, True),
    (Direction.UNWANTED, 8, 3, [5, 6, 7], True, True),
    (Direction.UNWANTED, 8, 3, [5, 6], False, False),
    # So many of the others are to be had that a list has no excuse.
    (Direction.AT_LEAST, 2, 8, [0, 1], False, True),
    (Direction.AT_LEAST, 2, 8, [0, 1, 5, 6], True, True),
    # The catalogue ends before the list does.
    (Direction.PLAIN, 2, 1, [0, 1, 5], True, True),
    (Direction.PLAIN, 2, 1, [0, 1], False, True),
  ],
)
def test_pools_below_k(direction, pool, others, row, correct, obeys):
  count = 3 if direction is Direction.AT_LEAST else 0
  found = _measure(row, _wish(direction, count, pool, others))
  assert found["CorrectCount"] == correct
  assert found["CPA"] == obeys
  assert (found["TooFew"] == 0) == (correct or len(row) > 4)


@pytest.mark.parametrize(
  ("direction", "count", "pool", "others"),
  [
    (Direction.WANTED, 0, 0, 9),
    (Direction.UNWANTED, 0, 9, 0),
    (Direction.AT_LEAST, 2, 0, 9),
    (Direction.ABOUT, 2, 0, 9),
    (Direction.AT_MOST, 2, 9, 0),
  ],
)
def test_an_empty_pool_is_obeyed_by_nobody(direction, count, pool, others):
  found = _measure([0, 1, 5, 6], _wish(direction, count, pool, others))
  assert np.isnan([found["TCP"], found["CPA"], found["CPA within one"]]).all()
  assert found["HR@10"] == 1


def test_a_plain_list_says_what_control_adds_and_costs():
  wish = _wish(Direction.WANTED)
  found = _measure([0, 1, 2, 3], wish, plain=[1, 5, 6, 7])
  assert found["TCP"] == 1
  assert found["TCP plain"] == 0.25
  assert found["TCP lift"] == 0.75
  assert found["CPA plain"] == 0
  cost = 1 - 1 / np.log2(3)
  assert found["control cost"] == pytest.approx(cost)
  assert found["control cost where obeyed"] == pytest.approx(cost)
  found = _measure([5, 1, 2, 3], wish, plain=[1, 5, 6, 7])
  assert found["control cost"] == pytest.approx(cost)
  assert np.isnan(found["control cost where obeyed"])


def test_a_correction_is_met_and_the_first_wish_held():
  first, second = np.array([5, 5, 5, 9, 0]), np.array([6, 5, 4, 9, 1])
  most = np.full(5, 9)
  assert control_lists.turns(first, second, most).tolist() == [1, 0, 0, 1, 1]
  held = control_lists.held(np.array([0, 0, 2]), np.array([0, 1, 0]))
  np.testing.assert_array_equal(held, [1, 0, np.nan])


def test_exposure_is_of_good_items():
  lists = _lists([[0, 1, _NO, 10], [1, 1, 5], []])
  found = lists.exposure(np.arange(12) * 10)
  assert found.k == 4
  assert found.coverage == pytest.approx(3 / 12)
  assert found.mean_popularity == pytest.approx((0 + 10 + 10 + 50) / 4)
  assert _lists([[_NO, 10], []]).exposure(np.arange(12)) is None


def test_means_are_over_the_lists_that_have_the_metric():
  columns = {
    "a": np.array([1.0, 0, 1, 0]),
    "b": np.array([1.0, np.nan, 0, np.nan]),
    "c": np.full(4, np.nan),
  }
  found = control_lists.summary(columns, seed=0, num_resamples=200)
  assert list(found) == ["a", "b", "c"]
  assert found["a"].mean == 0.5
  assert found["b"].mean == 0.5
  assert found["b"].low == 0
  assert found["c"] is None
  # Two users with the same two lists each are two, and not four.
  users = control_lists.summary(
    columns, seed=0, num_resamples=200, clusters=["u", "u", "v", "v"]
  )
  assert users["a"].low == users["a"].high == 0.5


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"k": np.array([4, 4])}, "have shapes"),
    ({"k": np.array([0])}, "k is 0"),
    ({"items": np.array([[-4]])}, "items hold -4"),
    ({"history": np.array([10])}, "have shapes"),
  ],
)
def test_lists_that_are_none_are_refused(change, message):
  given_arrays = {
    "items": np.array([[1, 2]]),
    "k": np.array([2]),
    "history": np.array([[10]]),
  }
  with pytest.raises(ValueError, match=message):
    control_lists.Lists(**given_arrays | change)


def test_wishes_that_do_not_fit_are_refused():
  lists, targets = _lists([[1, 2, 3, 5]]), np.array([1])
  has = control.at_places(_HAS[None], lists.items)
  wish = _wish(Direction.ABOUT, 2)
  for given_args, message in (
    ((lists, targets, wish, has[:, :2]), "what items have is of shape"),
    ((lists, targets, wish, has * 1), "dtype int"),
    ((lists, np.array([1, 2]), wish, has), "targets have shape"),
    ((lists, targets, wish._replace(count=np.array([5])), has), "expected 0"),
  ):
    with pytest.raises(ValueError, match=message):
      control_lists.per_list(*given_args)
  with pytest.raises(ValueError, match="plain_has"):
    control_lists.per_list(lists, targets, wish, has, plain=lists)
  with pytest.raises(ValueError, match="expected a metric with a cut-off"):
    lists.accuracy(targets, ["MRR"])


_ENTRIES = st.lists(
  st.integers(_BLANK, 11).filter(lambda i: i != _END), max_size=7
)
_DIRECTIONS = st.sampled_from(list(Direction))


@settings(deadline=None, max_examples=40)
@given(
  row=_ENTRIES,
  k=st.integers(1, 6),
  direction=_DIRECTIONS,
  count=st.integers(0, 6),
  order=st.randoms(use_true_random=False),
)
def test_bounds_and_invariances(row, k, direction, count, order):
  count = min(count, k)
  wish = _wish(direction, count)
  found = _measure(row, wish, k)
  wrong = sum(found[name] for name in ("TooMany", "NonExist"))
  assert 0 <= found["TCP"] <= 1
  assert found["CPA"] <= found["CPA within one"]
  assert found["EmptyEntry"] <= found["NonExist"] <= k
  assert wrong <= len(row)
  assert found["TooMany"] * found["TooFew"] == 0
  assert found["HR@10"] >= found["NDCG@10"] >= found["MRR@10"] >= 0
  # The order of the first k matters to the target's place alone.
  head = row[:k]
  order.shuffle(head)
  moved = _measure(head + row[k:], wish, k)
  skipped = ("NDCG@10", "MRR@10")
  assert {n: v for n, v in moved.items() if n not in skipped} == {
    n: v for n, v in found.items() if n not in skipped
  }
  # What stands behind the first k changes their number alone.
  cut = _measure(row[:k], wish, k)
  skipped = ("TooMany", "CorrectCount")
  assert {n: v for n, v in cut.items() if n not in skipped} == {
    n: v for n, v in found.items() if n not in skipped
  }


@settings(deadline=None, max_examples=40)
@given(
  row=st.lists(st.integers(0, 9), min_size=4, max_size=4, unique=True),
  direction=_DIRECTIONS,
  count=st.integers(0, 4),
)
def test_without_mistakes_the_metrics_are_the_papers(row, direction, count):
  """A list of k good items: SYSTEMS of counts alone."""
  found = _measure(row, _wish(direction, count))
  a = sum(bool(_HAS[item]) for item in row)
  distance = {
    Direction.PLAIN: 0,
    Direction.WANTED: 4 - a,
    Direction.UNWANTED: a,
    Direction.AT_MOST: max(0, a - count),
    Direction.AT_LEAST: max(0, count - a),
    Direction.ABOUT: abs(a - count),
  }[direction]
  assert found["TCP"] == a / 4
  assert found["CPA"] == (distance == 0)
  assert found["CPA within one"] == (distance <= 1)
  assert all(found[name] == 0 for name in _COUNTED[1:])


# The last one is an honest list in another order.
_HACKS = {**hacking_lists.HACKS, "the target last": [5, 6, 0, 1]}
# Higher is better of these, lower of the others.
_HIGHER = (
  "CorrectCount",
  "HR@10",
  "NDCG@10",
  "MRR@10",
  "CPA",
  "CPA within one",
)
_LOWER = (
  "TooMany",
  "TooFew",
  "NonExist",
  "EmptyEntry",
  "RepeatItem",
  "InHistory",
)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("name", _HACKS)
def test_no_hacking_list_beats_an_honest_one(direction, name):
  wish = _wish(direction, hacking_lists.COUNT.get(direction, 0))
  honest = _measure(hacking_lists.HONEST[direction], wish)
  hack = _measure(_HACKS[name], wish)
  # The target has what is not wanted: an honest list leaves it out.
  accuracy = direction is not Direction.UNWANTED
  better = [
    metric
    for metric in _HIGHER
    if (accuracy or "@" not in metric) and hack[metric] > honest[metric]
  ]
  better += [metric for metric in _LOWER if hack[metric] < honest[metric]]
  assert not better
  assert honest["CPA"] == 1
  if direction is Direction.WANTED:
    assert hack["TCP"] <= honest["TCP"]
