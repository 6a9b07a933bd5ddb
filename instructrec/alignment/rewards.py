r"""What a list earns: rewards of its items and of the whole list.

Pure functions of arrays, NumPy's or JAX's, also inside a compiled program. They
are the metrics (`evaluation.control`): an entry earns -1 exactly where these
count an error, and a list earns the most for its wish exactly where it obeys.

After "Aligning Large Language Models for Controllable Recommendations" (Lu et
al., 2024, section 3.2). Let k be asked for, y be the target, rho(i) the place
of item i in the teacher's ranking of the catalogue, from 0, and a and b the
good items up to place j that have what the wish speaks of, and that have it
not:

    s_j    = -1 at an error; 1 where item j is y; else 1 / log2(rho + 3)
    t_j    = -1 at an error; else 1 where item j is as the wish says, or 0
    item_j = s_j without a wish; else alpha s_j + (1 - alpha) t_j
    list   = scale [alpha sum_j d_j / sum_{j=1..k} 1 / log2(j + 1)^2
             + (1 - alpha) T]

with d_j = -1 at an error; else s_j / log2(j + 1). T, without a wish, is
1 / log2(1 + place of y), or 0 where y is missing; else 1 / (1 + distance),
where the distance is that of the whole list from the wish. `Form.PAPER` has t_j
and distance to the letter (the first that holds):

| wish | t_j | distance |
|---|---|---|
| wanted | 1 if it has it; 0 | min(k, pool) - a |
| unwanted | 1 if it has it not; 0 | k - b |
| at most n | .5 if b > k - n; 1 if it has it not; .5 if a < n; 0 | a - n or 0 |
| at least n | .5 if a > n; 1 if it has it; .5 if b < k - n; 0 | n - a or 0 |
| about n, has it | 1 if a <= n; 0 | abs(a - n) |
| about n, has it not | 1 if a >= n; .5 if b <= k - n; 0 | abs(a - n) |

These can be gamed (`tests/contracts/rewards_test.py` has the lists):

- a missing entry costs nothing: whoever is not sure stops, and the empty list
  obeys "at most" in full;
- the n-th item that "at most n" allows earns nothing, nor does the (k - n)-th
  other item of "at least n": none, or all, of the category is paid better than
  what was asked for;
- "about n" pays others in full behind the n-th item alone: the category comes
  first, whatever the ranking says.

`Form.MENDED`, the default, has one rule for all wishes, from `control.bounds`
as far as the catalogue allows, and counts each missing entry as an error in the
list's sum:

    t_j      = 1 where it has it and a <= high, or has it not and b <= k - low
    distance = control.shortfall

All t_j of k entries are 1 exactly where the list obeys.

Not copied from the paper's code: a title that does not exist was the first item
of the catalogue, which then seemed repeated (here it is no item); of items that
share a title only the first existed (titles are told apart); "at most" and "at
least" were rewarded as "about" in training; the pool held the history's items,
which may not be shown.
"""

import enum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import control
from instructrec.evaluation.control import Direction

ALPHA = 0.5
SCALE = 10.0


class Form(enum.StrEnum):
  """Whose rewards; see the module."""

  MENDED = "mended"
  PAPER = "paper"


class Asked(NamedTuple):
  """Requests; the dimensions are those of lists, or 1.

  Attributes:
    k: how many items are asked for.
    target: index of what the user took next.
    history: items of the history; -1 where it has fewer.
    wish: what is asked of the list.
  """

  k: Int[Any, "*lists"]
  target: Int[Any, "*lists"]
  history: Int[Any, "*lists seen"]
  wish: control.Wish


class Shown(NamedTuple):
  """Lists.

  Attributes:
    items: of each place, or what stands there instead; see
      `evaluation.control`. There must be as many places as are asked for.
    has: which places hold an item that has what the wish speaks of.
    teacher_ranks: place of each item in the teacher's ranking, from 0; anything
      where there is no item.
  """

  items: Int[Any, "*lists places"]
  has: Bool[Any, "*lists places"]
  teacher_ranks: Int[Any, "*lists places"]


class Earned(NamedTuple):
  """What lists earn; see the module. Places without entry earn 0.

  Attributes:
    ranking: s of each place.
    task: t of each place.
    items: of each place.
    lists: of each list.
  """

  ranking: Float[Any, "*lists places"]
  task: Float[Any, "*lists places"]
  items: Float[Any, "*lists places"]
  lists: Float[Any, "*lists"]


def rewards(
  shown: Shown,
  asked: Asked,
  *,
  form: Form = Form.MENDED,
  alpha: float = ALPHA,
  scale: float = SCALE,
) -> Earned:
  """Rewards of lists; see the module.

  Args:
    shown: the lists.
    asked: what they answer.
    form: the paper's, or mended.
    alpha: how much the ranking counts beside the wish.
    scale: of the list's reward.

  Returns:
    The rewards, in the floating-point type of the arrays' library.
  """
  items, (k, target, history, wish) = shown.items, asked
  xp = items.__array_namespace__()
  wrong = control.errors(items, k, history).any
  good = (items >= 0) & ~wrong
  has, lacks = good & shown.has, good & ~shown.has
  ranking = xp.where(
    items == target[..., None],
    1.0,
    1.0 / xp.log2(shown.teacher_ranks.clip(0) + 3.0),
  )
  ranking = xp.where(wrong, -1.0, ranking * good)
  rule = _task_paper if form is Form.PAPER else _task
  task = xp.where(
    wrong, -1.0, rule(has, has.cumsum(-1), lacks.cumsum(-1), k, wish) * good
  )
  plain = (wish.direction == Direction.PLAIN)[..., None]
  item = xp.where(plain, ranking, alpha * ranking + (1 - alpha) * task)
  places = np.arange(items.shape[-1])
  discounted = xp.where(wrong, -1.0, ranking / np.log2(places + 2))
  total = discounted.sum(-1)
  if form is Form.MENDED:
    total = total - control.num_missing(items, k, wish)
  whole = scale * (
    alpha * total / _ideal(k, places, xp)
    + (1 - alpha) * _list_task(shown, asked, good, form)
  )
  return Earned(ranking, task, item, whole)


def teacher_ranks(
  scores: Float[Any, "*lists items"], items: Int[Any, "*lists places"]
) -> Int[Any, "*lists places"]:
  """Places of items in a ranking of the catalogue, from 0.

  Args:
    scores: of each item; higher is better.
    items: of lists; dimensions of size 1 of the scores are those of all lists.

  Returns:
    How many items score higher, 0 where there is no item.
  """
  own = control.at_places(scores, items)
  above = (scores[..., None, :] > own[..., None]).sum(-1)
  return above * (items >= 0)


def _ideal(
  k: Int[Any, "*lists"], places: Int[np.ndarray, " places"], xp: Any
) -> Float[Any, "*lists"]:
  """The ranking's sum of a list that has the target and the teacher's best."""
  worth = 1 / np.log2(places + 2) ** 2
  return xp.where(places < k[..., None], worth, 0.0).sum(-1)


def _task(
  has: Bool[Any, "*lists places"],
  a: Int[Any, "*lists places"],
  b: Int[Any, "*lists places"],
  k: Int[Any, "*lists"],
  wish: control.Wish,
) -> Bool[Any, "*lists places"]:
  """Whether each item is one that the wish has room for."""
  having, lacking = control.attainable(wish, k)
  xp = has.__array_namespace__()
  return xp.where(
    has, a <= (k - lacking)[..., None], b <= (k - having)[..., None]
  )


def _task_paper(
  has: Bool[Any, "*lists places"],
  a: Int[Any, "*lists places"],
  b: Int[Any, "*lists places"],
  k: Int[Any, "*lists"],
  wish: control.Wish,
) -> Float[Any, "*lists places"]:
  """The paper's t_j; see the table of the module."""
  xp = has.__array_namespace__()
  asked, n = wish.direction[..., None], wish.count[..., None]
  rest = k[..., None] - n
  half_most = xp.where(a < n, 0.5, 0.0)
  most = xp.where(b > rest, 0.5, xp.where(has, half_most, 1.0))
  half_least = xp.where(b < rest, 0.5, 0.0)
  least = xp.where(a > n, 0.5, xp.where(has, 1.0, half_least))
  others = xp.where(a >= n, 1.0, xp.where(b <= rest, 0.5, 0.0))
  about = xp.where(has, xp.where(a <= n, 1.0, 0.0), others)
  found = xp.where(asked == Direction.UNWANTED, ~has, has) * 1.0
  found = xp.where(asked == Direction.AT_MOST, most, found)
  found = xp.where(asked == Direction.AT_LEAST, least, found)
  return xp.where(asked == Direction.ABOUT, about, found)


def _list_task(
  shown: Shown, asked: Asked, good: Bool[Any, "*lists places"], form: Form
) -> Float[Any, "*lists"]:
  """T; see the module."""
  xp = good.__array_namespace__()
  k, wish = asked.k, asked.wish
  hit = good & (shown.items == asked.target[..., None])
  found = (hit / np.log2(np.arange(hit.shape[-1]) + 2)).sum(-1)
  if form is Form.PAPER:
    distance = _distance_paper(good & shown.has, good & ~shown.has, k, wish)
  else:
    distance = control.shortfall(shown.has, good, k, wish)
  obeyed = 1.0 / (distance + 1.0)
  return xp.where(wish.direction == Direction.PLAIN, found, obeyed)


def _distance_paper(
  has: Bool[Any, "*lists places"],
  lacks: Bool[Any, "*lists places"],
  k: Int[Any, "*lists"],
  wish: control.Wish,
) -> Int[Any, "*lists"]:
  """How far a list is from its wish by the paper's T."""
  xp = has.__array_namespace__()
  a, b, asked = has.sum(-1), lacks.sum(-1), wish.direction
  off = a - wish.count
  found = xp.where(
    asked == Direction.WANTED, (xp.minimum(k, wish.pool) - a).clip(0), k - b
  )
  found = xp.where(asked == Direction.AT_MOST, off.clip(0), found)
  found = xp.where(asked == Direction.AT_LEAST, (-off).clip(0), found)
  return xp.where(asked == Direction.ABOUT, abs(off), found)
