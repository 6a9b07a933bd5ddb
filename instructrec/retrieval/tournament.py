"""Long lists ranked in rounds of short ones, as the InstructRec paper does.

A ranker that reads the whole list at once can take few candidates. So a list
is split at random into groups, the best of each group goes on, and the winners
are ranked (section 4.3.2 of the paper: 100 candidates in 10 groups of 10, then
the 10 winners). Second-best candidates of a strong group are lost: only the
first place is what one pass over all candidates would give, and that where the
ranker scores each candidate by itself.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from instructrec.data import candidates, request
from instructrec.retrieval import ranker

GROUP_SIZE = 10


@dataclasses.dataclass(eq=False)
class Tournament:
  """A ranker over another one.

  Attributes:
    inner: ranks the groups; it may look at all of a group at once.
    group_size: candidates of a group, at most.
    seed: of the groups.
    num_lists: groups that `inner` has ranked so far.
  """

  inner: ranker.Ranker
  group_size: int = GROUP_SIZE
  seed: int = 0
  num_lists: int = 0

  def __post_init__(self) -> None:
    """Checks the size.

    Raises:
      ValueError: where groups have no loser.
    """
    if self.group_size < 2:
      raise ValueError(
        f"group_size is {self.group_size}, expected at least 2: the best of a "
        "group goes on"
      )

  @property
  def name(self) -> str:
    """See `ranker.Ranker`."""
    return f"{self.inner.name} (tournament)"

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """Places of each request's candidates; higher is better.

    Args:
      requests: with distinct candidates.

    Returns:
      Those of the last round have 0, 1, ... by their order in it, ties kept;
      those that went out have -1 in the round before it, -2 earlier, and so
      on. Slots past the end of a list are minus infinity.
    """
    left = [r.candidates for r in requests]
    # Counts the rounds from the first; the last one ends at zero below.
    places: list[dict[str, float]] = [{} for _ in requests]
    round_number = 0
    while longer := [i for i, c in enumerate(left) if len(c) > self.group_size]:
      groups = [
        (i, group)
        for i in longer
        for group in self._groups(requests[i], left[i], round_number)
      ]
      scores = self._score(requests, groups)
      winners: dict[int, list[str]] = {i: [] for i in longer}
      for (i, group), row in zip(groups, scores, strict=True):
        winners[i].append(group[int(np.argmax(row[: len(group)]))])
      for i in longer:
        out = set(left[i]) - set(winners[i])
        places[i] |= dict.fromkeys(out, float(round_number))
        left[i] = tuple(winners[i])
      round_number += 1
    finals = list(enumerate(left))
    for (i, group), row in zip(
      finals, self._score(requests, finals), strict=True
    ):
      _, order = np.unique(row[: len(group)], return_inverse=True)
      rounds = max(places[i].values(), default=-1.0) + 1
      places[i] = {item: place - rounds for item, place in places[i].items()}
      places[i] |= dict(zip(group, order.astype(float).tolist(), strict=True))
    return ranker.pad(
      [
        [found[item] for item in r.candidates]
        for r, found in zip(requests, places, strict=True)
      ]
    )

  def _groups(
    self, r: request.RankingRequest, items: Sequence[str], round_number: int
  ) -> list[tuple[str, ...]]:
    """Groups of nearly the same size, drawn by seed, request and round."""
    drawn = candidates.shuffle(
      f"{r.request_id}/{round_number}", items, self.seed
    )
    count = -(-len(drawn) // self.group_size)
    return [tuple(drawn[start::count]) for start in range(count)]

  def _score(
    self,
    requests: Sequence[request.RankingRequest],
    groups: Sequence[tuple[int, tuple[str, ...]]],
  ) -> Float[np.ndarray, "groups candidates"]:
    """Scores of the groups; what is not a number is the worst."""
    self.num_lists += len(groups)
    found = self.inner.score(
      [
        dataclasses.replace(requests[i], candidates=group)
        for i, group in groups
      ]
    )
    return np.where(np.isnan(found), -np.inf, found)


@dataclasses.dataclass(eq=False)
class Pointwise:
  """Scores that one pass gave, of a ranker that scores each item by itself.

  In whatever group a candidate stands, its score is the same, so that a
  tournament of such a ranker needs no further pass.

  Attributes:
    name: of the ranker.
    requests: what was scored.
    scores: as the ranker gave them.
  """

  name: str
  requests: dataclasses.InitVar[Sequence[request.RankingRequest]]
  scores: dataclasses.InitVar[Float[np.ndarray, "requests candidates"]]

  def __post_init__(
    self,
    requests: Sequence[request.RankingRequest],
    scores: Float[np.ndarray, "requests candidates"],
  ) -> None:
    """Keeps the scores by request and item."""
    self._scores = {
      r.request_id: dict(zip(r.candidates, row.tolist(), strict=False))
      for r, row in zip(requests, scores, strict=True)
    }

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """See `ranker.Ranker.score`."""
    return ranker.pad(
      [
        [self._scores[r.request_id][item] for item in r.candidates]
        for r in requests
      ]
    )
