"""Rewards are the metrics, in NumPy and compiled, and are not to be gamed."""

import functools
import itertools
import math

import hacking_lists
import jax
import numpy as np
import pytest

from instructrec.alignment import rewards
from instructrec.alignment.rewards import Form
from instructrec.evaluation import control, control_lists, generated
from instructrec.evaluation.control import Direction

_NO, _END, _BLANK = generated.INVALID, generated.EMPTY, control.BLANK
_WIDTH, _GROUP = 8, 4
# Twelve items: 0 to 4 have what is wished for. The teacher's order of them:
_ORDER = [5, 0, 6, 2, 7, 3, 8, 4, 1, 9, 10, 11]
_HAS = np.arange(12) < 5
_RANKS = np.argsort(_ORDER)
_HISTORY = [10, 11]
_TARGET = 1


@functools.cache
def _compiled():
  return {
    form: jax.jit(functools.partial(rewards.rewards, form=form))
    for form in Form
  }


def _shown(rows, width=_WIDTH):
  items = np.array([[*row, *[_END] * (width - len(row))] for row in rows])
  return rewards.Shown(
    items,
    control.at_places(_HAS[None], items),
    control.at_places(_RANKS[None], items),
  )


def _asked(direction, count=0, k=4, size=1, pool=5, others=5):
  def full(value):
    return np.full(size, value)

  wish = control.Wish(full(int(direction)), *map(full, (count, pool, others)))
  history = np.array([_HISTORY] * size)
  return rewards.Asked(full(k), full(_TARGET), history, wish)


def _earned(row, direction, count=0, form=Form.MENDED, **more):
  found = rewards.rewards(
    _shown([row]), _asked(direction, count, **more), form=form
  )
  return rewards.Earned(*(each[0] for each in found))


@pytest.fixture(scope="module", name="batch")
def batch_fixture():
  """Random lists, four a request, with every error and every wish."""
  rng = np.random.default_rng(0)
  size = 240
  codes = np.array([*range(12), _NO, _BLANK])
  items = rng.choice(codes, (size, _GROUP, _WIDTH))
  # Half of them without repetitions; all end somewhere.
  for row in items[::2].reshape(-1, _WIDTH):
    row[:] = rng.permutation(10)[:_WIDTH]
  lengths = rng.integers(0, _WIDTH + 1, (size, _GROUP, 1))
  items = np.where(np.arange(_WIDTH) < lengths, items, _END)
  items[:2, :, :4] = [1, 5, 0, 6]
  k = rng.integers(1, _WIDTH + 1, (size, 1))
  k[:2], items[:2, :, 4:] = 4, _END
  wish = control.Wish(
    rng.integers(0, len(Direction), (size, 1)),
    rng.integers(0, k + 1),
    rng.integers(1, 6, (size, 1)),
    rng.integers(1, 6, (size, 1)),
  )
  history = np.broadcast_to(np.array(_HISTORY), (size, 1, 2))
  target = rng.integers(0, 10, (size, 1))
  shown = rewards.Shown(
    items,
    control.at_places(_HAS[None, None], items),
    control.at_places(_RANKS[None, None], items),
  )
  return shown, rewards.Asked(k, target, history, wish)


@pytest.fixture(scope="module", name="found")
def found_fixture(batch):
  return {form: rewards.rewards(*batch, form=form) for form in Form}


@pytest.mark.parametrize("form", list(Form))
def test_compiled_rewards_are_numpys(form, batch, found):
  compiled = _compiled()[form](*batch)
  for name, own, other in zip(
    rewards.Earned._fields, found[form], compiled, strict=True
  ):
    assert own.shape == other.shape
    np.testing.assert_allclose(other, own, rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("form", list(Form))
def test_an_entry_earns_minus_one_exactly_where_metrics_count_an_error(
  form, batch, found
):
  shown, asked = batch
  for row in range(len(asked.k)):
    for place in range(_GROUP):
      lists = control_lists.Lists(
        shown.items[row, place][None], asked.k[row], asked.history[row]
      )
      wrong = control.errors(lists.items, lists.k, lists.history)
      counted = sum(
        int(each.sum()) for each in (wrong.too_many, wrong.invalid)
      ) + int((wrong.repeated | wrong.in_history).sum())
      for earned in (found[form].ranking, found[form].task):
        assert (earned[row, place] == -1).sum() == counted
        assert ((earned[row, place] == -1) == wrong.any[0]).all()
  empty = shown.items == _END
  for earned in found[form][:3]:
    assert (earned[empty] == 0).all()
    assert earned.min() == -1
    assert earned.max() == 1


def test_a_list_earns_the_most_for_its_wish_exactly_where_it_obeys(batch):
  shown, asked = batch
  own = rewards.rewards(shown, asked, alpha=0.0, scale=1.0).lists
  metric = np.empty(own.shape)
  for place in range(_GROUP):
    lists = control_lists.Lists(
      shown.items[:, place], asked.k[:, 0], asked.history[:, 0]
    )
    wish = control.Wish(*(each[:, 0] for each in asked.wish))
    metric[:, place] = control_lists.per_list(
      lists, asked.target[:, 0], wish, shown.has[:, place]
    )["CPA"]
  wished = np.broadcast_to(asked.wish.direction != Direction.PLAIN, own.shape)
  assert ((own == 1) == (metric == 1))[wished].all()
  assert (own <= 1).all()
  assert set(metric[wished]) == {0, 1}


def test_all_items_earn_their_task_exactly_where_a_full_list_obeys(
  batch, found
):
  shown, asked = batch
  k, wish = asked.k, asked.wish
  good = control.good(shown.items, k, asked.history)
  missing = control.shortfall(shown.has, good, k, wish)
  full = (good.sum(-1) == k) & (control.num_entries(shown.items) == k)
  total = found[Form.MENDED].task.sum(-1)
  assert ((total == k) == (full & (missing == 0))).all()
  assert (total == k).any()


def test_the_ranking_of_the_best_list_is_one():
  """The target, then the teacher's best of the others."""
  ranks = np.array([[0, 0, 1, 2]])
  shown = rewards.Shown(np.array([[1, 5, 0, 6]]), np.zeros((1, 4), bool), ranks)
  asked = _asked(Direction.UNWANTED)
  earned = rewards.rewards(shown, asked, alpha=1.0, scale=1.0)
  assert earned.lists == pytest.approx(1)
  assert earned.ranking[0] == pytest.approx(1 / np.log2([2, 3, 4, 5]))


# The paper's t of lists, each item "c" (has it) or "o", by hand.
@pytest.mark.parametrize(
  ("direction", "count", "kinds", "task"),
  [
    (Direction.WANTED, 0, "ccoo", [1, 1, 0, 0]),
    (Direction.UNWANTED, 0, "ccoo", [0, 0, 1, 1]),
    (Direction.AT_MOST, 1, "cooo", [0, 1, 1, 1]),
    (Direction.AT_MOST, 1, "oooo", [1, 1, 1, 0.5]),
    (Direction.AT_MOST, 2, "cocc", [0.5, 1, 0, 0]),
    (Direction.AT_LEAST, 2, "coco", [1, 0.5, 1, 0]),
    (Direction.AT_LEAST, 2, "cccc", [1, 1, 0.5, 0.5]),
    (Direction.AT_LEAST, 2, "oooc", [0.5, 0, 0, 1]),
    (Direction.ABOUT, 2, "coco", [1, 0.5, 1, 1]),
    (Direction.ABOUT, 2, "ccoo", [1, 1, 1, 1]),
    (Direction.ABOUT, 2, "cccc", [1, 1, 0, 0]),
    (Direction.ABOUT, 2, "oooo", [0.5, 0.5, 0, 0]),
  ],
)
def test_the_papers_task_by_hand(direction, count, kinds, task):
  row = _row(kinds)
  assert _earned(row, direction, count, Form.PAPER).task[:4].tolist() == task


@pytest.mark.parametrize(
  ("direction", "count", "kinds", "task"),
  [
    (Direction.PLAIN, 0, "ccoo", [1, 1, 1, 1]),
    (Direction.WANTED, 0, "ccoo", [1, 1, 0, 0]),
    (Direction.UNWANTED, 0, "ccoo", [0, 0, 1, 1]),
    (Direction.AT_MOST, 1, "cooo", [1, 1, 1, 1]),
    (Direction.AT_MOST, 1, "occo", [1, 1, 0, 1]),
    (Direction.AT_MOST, 1, "oooo", [1, 1, 1, 1]),
    (Direction.AT_LEAST, 2, "coco", [1, 1, 1, 1]),
    (Direction.AT_LEAST, 2, "cccc", [1, 1, 1, 1]),
    (Direction.AT_LEAST, 2, "oooc", [1, 1, 0, 1]),
    (Direction.ABOUT, 2, "coco", [1, 1, 1, 1]),
    (Direction.ABOUT, 2, "ccco", [1, 1, 0, 1]),
    (Direction.ABOUT, 2, "oooo", [1, 1, 0, 0]),
  ],
)
def test_the_mended_task_by_hand(direction, count, kinds, task):
  assert _earned(_row(kinds), direction, count).task[:4].tolist() == task


def _row(kinds):
  have, others = iter(range(5)), iter(range(5, 10))
  return [next(have if kind == "c" else others) for kind in kinds]


def test_a_list_by_hand():
  """At most one of four; an invented title, a target in second place."""
  earned = _earned([5, 1, _NO, 0], Direction.AT_MOST, 1)
  first = 1 / math.log2(3)
  assert earned.ranking[:4] == pytest.approx([first, 1, -1, 0.5])
  assert earned.task[:4].tolist() == [1, 1, -1, 0]
  assert earned.items[:4] == pytest.approx([(first + 1) / 2, 1, -1, 0.25])
  total = first + 1 / math.log2(3) - 1 + 0.5 / math.log2(5)
  ideal = sum(1 / math.log2(j + 1) ** 2 for j in range(1, 5))
  # Two others are missing.
  assert earned.lists == pytest.approx(10 * (total / ideal / 2 + 1 / 3 / 2))
  paper = _earned([5, 1, _NO, 0], Direction.AT_MOST, 1, Form.PAPER)
  # One too many.
  assert paper.lists == pytest.approx(10 * (total / ideal / 2 + 1 / 2 / 2))


def test_places_of_the_teacher_by_hand():
  scores = np.array([[0.5, 3.0, 1.0, 1.0, -2.0], [5, 4, 3, 2, 1.0]])
  items = np.array([[1, 2, 3, 4, _NO], [0, 4, _END, 2, _BLANK]])
  expected = [[0, 1, 1, 4, 0], [0, 4, 0, 2, 0]]
  assert rewards.teacher_ranks(scores, items).tolist() == expected
  grouped = jax.jit(rewards.teacher_ranks)(
    scores[:, None], np.stack([items, items[:, ::-1]], 1)
  )
  assert grouped[:, 0].tolist() == expected
  assert grouped[:, 1].tolist() == [row[::-1] for row in expected]


def _by_the_letter(row, k, target, wish, ranks, has, history):
  """The paper's rewards in a loop, for one list."""
  direction, n, pool, _ = wish
  rest = k - n
  seen, a, b, items, total, place = set(), 0, 0, [], 0.0, None
  for j, item in enumerate(row, start=1):
    if j > k or item < 0 or item in seen or item in history:
      items.append(-1.0)
      total -= 1
      seen.add(item)
      continue
    seen.add(item)
    score = 1.0 if item == target else 1 / math.log2(ranks[item] + 3)
    place = j if item == target else place
    a, b = a + has[item], b + (not has[item])
    if direction == Direction.PLAIN:
      items.append(score)
    else:
      if direction == Direction.WANTED:
        task = float(has[item])
      elif direction == Direction.UNWANTED:
        task = float(not has[item])
      elif direction == Direction.AT_MOST:
        task = 0.5 if b > rest else 1 if not has[item] else 0.5 * (a < n)
      elif direction == Direction.AT_LEAST:
        task = 0.5 if a > n else 1 if has[item] else 0.5 * (b < rest)
      elif has[item]:
        task = float(a <= n)
      else:
        task = 1 if a >= n else 0.5 * (b <= rest)
      items.append((score + task) / 2)
    total += score / math.log2(j + 1)
  if direction == Direction.PLAIN:
    obeyed = 1 / math.log2(place + 1) if place else 0
  else:
    distance = {
      Direction.WANTED: min(k, pool) - a,
      Direction.UNWANTED: k - b,
      Direction.AT_MOST: 0 if a <= n else a - n,
      Direction.AT_LEAST: 0 if a >= n else n - a,
      Direction.ABOUT: abs(a - n),
    }[direction]
    obeyed = 1 / (distance + 1)
  ideal = sum(1 / math.log2(j + 1) ** 2 for j in range(1, k + 1))
  return items, 10 * (total / ideal / 2 + obeyed / 2)


def test_the_papers_rewards_are_those_of_a_loop(batch):
  shown, asked = batch
  # A pool below what lists hold would divide by zero.
  asked = asked._replace(
    wish=asked.wish._replace(pool=np.full_like(asked.k, 5))
  )
  found = rewards.rewards(shown, asked, form=Form.PAPER)
  for row, place in itertools.product(range(len(asked.k)), range(_GROUP)):
    items = [i for i in shown.items[row, place].tolist() if i != _END]
    wish = tuple(int(each[row, 0]) for each in asked.wish)
    expected, whole = _by_the_letter(
      items,
      int(asked.k[row, 0]),
      int(asked.target[row, 0]),
      wish,
      _RANKS,
      _HAS,
      _HISTORY,
    )
    assert found.items[row, place, : len(items)] == pytest.approx(expected)
    assert found.lists[row, place] == pytest.approx(whole)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("name", hacking_lists.HACKS)
def test_no_hacking_list_beats_an_honest_one(direction, name):
  count = hacking_lists.COUNT.get(direction, 0)
  honest = _earned(hacking_lists.HONEST[direction], direction, count)
  hack = _earned(hacking_lists.HACKS[name], direction, count)
  assert hack.task.sum() <= honest.task.sum() == 4
  assert hack.items.sum() < honest.items.sum()
  assert hack.lists < honest.lists
  # Nor a list that does not listen.
  plain = _earned(hacking_lists.HONEST[Direction.PLAIN], direction, count)
  assert plain.items.sum() <= honest.items.sum()
  assert plain.lists <= honest.lists


# Where the paper's own rewards prefer the first list to the second.
@pytest.mark.parametrize(
  ("direction", "count", "gamed", "better"),
  [
    # None of the category, where one in four is fine and the target is one.
    (Direction.AT_MOST, 1, [5, 6, 7, 8], [5, 0, 6, 7]),
    # All of the category, where two of four were asked for.
    (Direction.AT_LEAST, 2, [1, 0, 2, 3], [1, 5, 0, 6]),
    # The category first, though the teacher has another item before it.
    (Direction.ABOUT, 2, [1, 0, 5, 6], [1, 5, 0, 6]),
  ],
)
def test_the_papers_items_can_be_gamed_and_the_mended_not(
  direction, count, gamed, better
):
  def total(row, form):
    return _earned(row, direction, count, form).items.sum()

  assert total(gamed, Form.PAPER) > total(better, Form.PAPER)
  assert total(gamed, Form.MENDED) <= total(better, Form.MENDED)


def test_the_papers_list_reward_pays_for_stopping():
  stopped, tried = [1], [1, _NO, 5, 6]

  def whole(row, form):
    return _earned(row, Direction.AT_MOST, 1, form).lists

  assert whole(stopped, Form.PAPER) > whole(tried, Form.PAPER)
  assert whole(stopped, Form.MENDED) < whole(tried, Form.MENDED)
  # Nothing at all is full of obedience.
  assert whole([], Form.PAPER) == 5
  assert whole([], Form.MENDED) < 0
