"""Lists that control tasks teach: what a retriever shows, under restrictions.

After "Aligning Large Language Models for Controllable Recommendations" (Lu et
al., 2024, section 3.1). Items are places in the catalogue. A target that the
history has already is never put into a list.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.data import request
from instructrec.instructions.draws import Draws
from instructrec.retrieval import retriever


@dataclasses.dataclass(frozen=True)
class Ranking:
  """What a retriever thinks of the catalogue for one history.

  Attributes:
    scores: of every item; higher is better.
    unseen: which items are not in the history.
  """

  scores: Float[np.ndarray, " items"]
  unseen: Bool[np.ndarray, " items"]

  def pool(self, where: Bool[np.ndarray, " items"] | bool = True) -> int:
    """How many items can be shown.

    Args:
      where: which items are allowed.

    Returns:
      Those of them that are not in the history.
    """
    return int((self.unseen & where).sum())

  def best(
    self, k: int, where: Bool[np.ndarray, " items"] | bool = True
  ) -> list[int]:
    """The best items that are not in the history.

    Args:
      k: how many, at most.
      where: which items are allowed.

    Returns:
      Places, best first; all where there are fewer.
    """
    allowed = self.unseen & where
    k = min(k, int(allowed.sum()))
    if not k:
      return []
    return retriever.best_places(self.scores, allowed, k).tolist()

  def best_within(
    self, k: int, having: Bool[np.ndarray, " items"], low: int, high: int
  ) -> list[int]:
    """The best items of which so many items have something: a hard filter.

    Args:
      k: how many items.
      having: which items have it.
      low: how many of the list are to have it at least, 0 to k.
      high: likewise at most.

    Returns:
      Places, best first; fewer than k where there are too few of one kind.
    """
    kept = np.zeros(len(having), bool)
    kept[self.best(high, having)] = True
    kept[self.best(k - low, ~having)] = True
    return self.best(k, kept)


def rankings(
  teacher: retriever.Retriever, requests: Sequence[request.RankingRequest]
) -> Iterator[Ranking]:
  """Rankings of some requests, scored together.

  Args:
    teacher: a fitted retriever.
    requests: with histories.

  Yields:
    One a request, in order; a few hundred are held at a time.
  """
  for part, scores in teacher.catalog_chunks(requests):
    for row, seen in zip(scores, teacher.seen(part), strict=True):
      yield Ranking(row, ~seen)


def plain(ranking: Ranking, target: int, k: int) -> list[int]:
  """The target, and the retriever's best behind it.

  Args:
    ranking: of the history.
    target: what the user took next.
    k: length.

  Returns:
    The list.
  """
  best = ranking.best(k)
  if not ranking.unseen[target]:
    return best
  return [target, *(item for item in best if item != target)][:k]


def restricted(
  ranking: Ranking, where: Bool[np.ndarray, " items"], target: int, k: int
) -> list[int]:
  """The retriever's best of those allowed; the target first if among them.

  Args:
    ranking: of the history.
    where: which items are allowed.
    target: what the user took next.
    k: length.

  Returns:
    The list.
  """
  best = ranking.best(k, where)
  # Stable: all others stay in order.
  return sorted(best, key=lambda item: item != target)


def proportion(
  ranking: Ranking,
  having: Bool[np.ndarray, " items"],
  count: int,
  k: int,
  *,
  first: bool = True,
) -> list[int]:
  """So many of the best items that have an attribute, and of the others.

  Args:
    ranking: of the history.
    having: which items have the attribute.
    count: how many of them.
    k: length.
    first: whether they come first, or the others do.

  Returns:
    The list, the one kind behind the other.
  """
  parts = ranking.best(count, having), ranking.best(k - count, ~having)
  return [*parts[0], *parts[1]] if first else [*parts[1], *parts[0]]


def members(
  item: int, others: Int[np.ndarray, " others"], k: int, draws: Draws
) -> list[int]:
  """An item, and others drawn from some.

  Args:
    item: the first.
    others: what is drawn from, without replacement.
    k: length.
    draws: of the others.

  Returns:
    The list.
  """
  return [item, *map(int, draws.sample(others[others != item], k - 1))]


def next_items(later: Sequence[int], seen: Sequence[int]) -> list[int]:
  """What the user took next, each once: the labels of PALR.

  Args:
    later: what the user took, in order.
    seen: the history.

  Returns:
    Those of them that are new, in order.
  """
  known = set(seen)
  return [item for item in dict.fromkeys(later) if item not in known]
