"""Draws what is asked of a list, with a list that does so.

By default what is wanted, or is not, is drawn from the best of a retriever,
which knows the history alone: nothing tells the target. `protocol="paper"`
draws as Lu et al. (2024) do: at test time what is wanted is the most specific
category of the target, and what is not wanted is none of the target's.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from instructrec.alignment import labels
from instructrec.alignment.constraint import PROPORTIONS, Constraint
from instructrec.alignment.labels import Ranking
from instructrec.alignment.moments import Moment
from instructrec.alignment.wordings import ControlTask
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attributes, Kind
from instructrec.instructions.draws import Draws
from instructrec.instructions.format import Origin

LIST_LENGTH = 10
"""Of lists in evaluation, of those with proportions, and the longest of
training."""
UNSEEN_LENGTHS = (7, 12)
UNSEEN_COUNTS = (3, 7)
"""Proportions of ten that are held out: 3 and 30%, 7 and 70%."""
_POOL, _SHOWN = 100, 10
"""From how many of the best what is wanted is drawn, and what is not."""
_COUNTS = {
  Direction.AT_MOST: (0, -1),
  Direction.AT_LEAST: (0, 1),
  Direction.ABOUT: (0,),
}
"""What a list has more than it is asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
  """What may be drawn for a row.

  Attributes:
    lengths: of the list.
    counts: of a proportion, in tenths of the list.
    unseen: what of it no training row has: "wording", "threshold" or "k".
  """

  lengths: tuple[int, ...]
  counts: tuple[int, ...]
  unseen: tuple[str, ...] = ()


_SEEN_LENGTHS, _SEEN_COUNTS = (
  tuple(sorted({*range(1, most + 1)} - {*unseen}))
  for most, unseen in (
    (LIST_LENGTH, UNSEEN_LENGTHS),
    (LIST_LENGTH - 1, UNSEEN_COUNTS),
  )
)
TRAINED = Terms(_SEEN_LENGTHS, _SEEN_COUNTS)
SEEN = Terms((LIST_LENGTH,), _SEEN_COUNTS)
UNSEEN = {
  "wording": dataclasses.replace(SEEN, unseen=("wording",)),
  "threshold": Terms((LIST_LENGTH,), UNSEEN_COUNTS, ("threshold",)),
  "k": Terms(UNSEEN_LENGTHS, _SEEN_COUNTS, ("k",)),
}


def unseen_of(task: ControlTask) -> tuple[Terms, ...]:
  """What test rows of a task have that training rows do not, one by one."""
  other = {ControlTask.PROPORTION: ("threshold",), ControlTask.CATEGORY: ()}
  names = ("wording", *other.get(task, ("k",)))
  return tuple(UNSEEN[name] for name in names)


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
  """What is asked, and a list that does so.

  Attributes:
    task: the control task.
    constraints: what is asked; of `category` what the item has, the answer
      first.
    k: length of the list; 0 where the answer is no list.
    label: places of its items; of `category` the item that is asked about.
    origin: what the constraints were drawn from.
  """

  task: ControlTask
  constraints: tuple[Constraint, ...]
  k: int
  label: tuple[int, ...]
  origin: Origin = Origin.NONE

  @property
  def direction(self) -> Direction | None:
    """Of a proportion; None of other tasks."""
    if self.task is not ControlTask.PROPORTION:
      return None
    return self.constraints[0].direction


class Asker:
  """Draws questions; see the module.

  Args:
    attributes: of the catalogue.
    kinds: what may be asked for, the one of proportions first; each has
      attributes.
    from_target: whether to draw as the paper does.
  """

  def __init__(
    self, attributes: Attributes, kinds: Sequence[Kind], *, from_target: bool
  ) -> None:
    self._attributes = attributes
    self._kinds = (kinds[0],) if from_target else tuple(kinds)
    self._from_target = from_target
    self._having = [
      item
      for item in range(attributes.num_items)
      if self._of(item, self._kinds[0])
    ]

  def ask(
    self,
    task: ControlTask,
    at: Moment,
    ranking: Ranking,
    terms: Terms,
    draws: Draws,
  ) -> Question | None:
    """A question of a task.

    Args:
      task: what is asked.
      at: whom.
      ranking: what the retriever thinks for them.
      terms: what may be drawn.
      draws: of all that is drawn.

    Returns:
      The question; None where nothing can be asked, as where the catalogue has
      too few items of what is wanted.
    """
    if task is ControlTask.PLAIN:
      k = draws.pick(terms.lengths)
      label = labels.plain(ranking, at.target, k)
      return Question(task, (), k, tuple(label))
    if task is ControlTask.PALR:
      return self._palr(at, terms, draws)
    if task is ControlTask.CATEGORY:
      return self._category(draws)
    if task in (ControlTask.COLD_WANTED, ControlTask.COLD_UNWANTED):
      return self._cold(task, terms, draws)
    if task is ControlTask.PROPORTION:
      return self._proportion(at, ranking, terms, draws)
    return self._restricted(task, at, ranking, terms, draws)

  def _palr(self, at: Moment, terms: Terms, draws: Draws) -> Question | None:
    found = labels.next_items(at.later, at.history)
    lengths = [k for k in terms.lengths if k <= len(found)]
    if not lengths:
      return None
    k = draws.pick(lengths)
    return Question(ControlTask.PALR, (), k, tuple(found[:k]))

  def _category(self, draws: Draws) -> Question | None:
    if self._kinds[0] is not Kind.CATEGORY:
      return None
    item = draws.pick(self._having)
    found = sorted(self._of(item, Kind.CATEGORY), key=self._size)
    wanted = tuple(self._constraint(n, Direction.WANTED) for n in found)
    return Question(ControlTask.CATEGORY, wanted, 0, (item,), Origin.CATALOGUE)

  def _cold(
    self, task: ControlTask, terms: Terms, draws: Draws
  ) -> Question | None:
    item, other = draws.pick(self._having), draws.pick(self._having)
    kind = self._kinds[0]
    if task is ControlTask.COLD_WANTED:
      direction, options = Direction.WANTED, self._of(item, kind)
    else:
      own = set(self._of(item, kind))
      direction = Direction.UNWANTED
      options = [n for n in self._of(other, kind) if n not in own]
    if not options:
      return None
    number = draws.pick(options)
    where = self._attributes.mask(number)
    if direction is Direction.UNWANTED:
      where = ~where
    lengths = [k for k in terms.lengths if k <= where.sum()]
    if not lengths:
      return None
    k = draws.pick(lengths)
    label = labels.members(item, np.flatnonzero(where), k, draws)
    constraints = (self._constraint(number, direction),)
    return Question(task, constraints, k, tuple(label), Origin.CATALOGUE)

  def _restricted(
    self,
    task: ControlTask,
    at: Moment,
    ranking: Ranking,
    terms: Terms,
    draws: Draws,
  ) -> Question | None:
    """What is wanted, what is not, or first the one and then the other."""
    where = np.ones(self._attributes.num_items, bool)
    least, origin = min(terms.lengths), Origin.NONE
    constraints = []
    for direction in (Direction.WANTED, Direction.UNWANTED):
      if task is not ControlTask.COMBINED and task.name != direction.name:
        continue
      wanted = direction is Direction.WANTED

      def allowed(number: int, before=where, wanted=wanted) -> np.ndarray:
        mask = self._attributes.mask(number)
        return before & (mask if wanted else ~mask)

      options, origin = self._options(direction, at, ranking, where)
      number = self._first(
        options, lambda n: ranking.pool(allowed(n)) >= least, draws
      )
      if number is None:
        return None
      where = allowed(number)
      constraints.append(self._constraint(number, direction))
    pool = ranking.pool(where)
    k = draws.pick([k for k in terms.lengths if k <= pool])
    label = labels.restricted(ranking, where, at.target, k)
    return Question(task, tuple(constraints), k, tuple(label), origin)

  def _proportion(
    self, at: Moment, ranking: Ranking, terms: Terms, draws: Draws
  ) -> Question | None:
    direction, k = draws.pick(PROPORTIONS), LIST_LENGTH
    percent = draws.chance(0.5)

    def made(number: int) -> dict[int, list[int]]:
      """What can be asked for, with what lists can have."""
      mask = self._attributes.mask(number)
      inside, outside = ranking.pool(mask), ranking.pool(~mask)
      found = {
        count: [
          count + more
          for more in _COUNTS[direction]
          if count + more <= inside and k - count - more <= outside
        ]
        for count in terms.counts
      }
      return {count: having for count, having in found.items() if having}

    options, origin = self._options(direction, at, ranking, True)
    kinds = [n for n in options if self._kind(n) is self._kinds[0]]
    number = self._first(kinds, lambda n: bool(made(n)), draws)
    if number is None:
      return None
    counts = made(number)
    count = draws.pick(sorted(counts))
    label = labels.proportion(
      ranking,
      self._attributes.mask(number),
      draws.pick(counts[count]),
      k,
      first=direction is not Direction.AT_MOST,
    )
    if self._from_target:
      label = draws.shuffled(label)
    constraint = Constraint(
      self._attributes.attributes[number],
      direction,
      count * 100 // k if percent else count,
      percent,
    )
    task = ControlTask.PROPORTION
    return Question(task, (constraint,), k, tuple(label), origin)

  def _options(
    self,
    direction: Direction,
    at: Moment,
    ranking: Ranking,
    where: np.ndarray | bool,
  ) -> tuple[list[int], Origin]:
    """Attributes that may be asked for, the likelier ones more than once."""
    unwanted = direction in (Direction.UNWANTED, Direction.AT_MOST)
    depth = _SHOWN if unwanted else _POOL
    shown = self._of_all(ranking.best(depth, where))
    if not self._from_target:
      return (shown if unwanted else sorted(set(shown))), Origin.TEACHER
    own = self._of(at.target, self._kinds[0])
    if unwanted:
      counts = collections.Counter(n for n in shown if n not in own)
      most = max(counts.values(), default=0)
      often = sorted(n for n, count in counts.items() if count == most)
      return often, Origin.TARGET_ATTRIBUTES
    if at.split == "train":
      every = range(len(self._attributes))
      found = [n for n in every if self._kind(n) is self._kinds[0]]
      return found, Origin.CATALOGUE
    return sorted(own, key=self._size)[:1], Origin.TARGET_ATTRIBUTES

  def _first(
    self, options: Iterable[int], fits: Callable[[int], bool], draws: Draws
  ) -> int | None:
    """One that fits; half of the draws look for the first kind first."""
    by_kind = collections.defaultdict(list)
    for number in draws.shuffled([*options]):
      by_kind[self._kind(number)].append(number)
    first, *rest = self._kinds
    order = [first, *draws.shuffled(rest)]
    if rest and draws.chance(0.5):
      order = order[1:] + order[:1]
    ordered = (n for kind in order for n in dict.fromkeys(by_kind[kind]))
    return next((n for n in ordered if fits(n)), None)

  def _of(self, item: int, kind: Kind) -> list[int]:
    found = self._attributes.of_item(item)
    return [number for number in found if self._kind(number) is kind]

  def _of_all(self, items: Iterable[int]) -> list[int]:
    return [
      number
      for item in items
      for number in self._attributes.of_item(item)
      if self._kind(number) in self._kinds
    ]

  def _kind(self, number: int) -> Kind:
    return self._attributes.attributes[number].kind

  def _size(self, number: int) -> int:
    return len(self._attributes.items(number))

  def _constraint(self, number: int, direction: Direction) -> Constraint:
    return Constraint(self._attributes.attributes[number], direction)
