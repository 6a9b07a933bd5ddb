"""Ranks requests by the likelihoods of titles, one after another."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from instructrec.serving import list_limits, questions, rankings
from instructrec.serving import ranker as ranker_lib


@dataclasses.dataclass(frozen=True, eq=False)
class LikelyRanker:
  """A run that ranks by likelihoods alone.

  Attributes:
    instructions: the model, told in words.
  """

  instructions: ranker_lib.InstructionRanker

  def rank(self, request: rankings.Request) -> rankings.Ranking:
    """The likeliest titles.

    Args:
      request: what is ranked, for whom.

    Returns:
      The places; ties keep the order of the candidates.

    Raises:
      ValueError: see `InstructionRanker.rank`.
    """
    ranker, items = self.instructions, self.instructions.catalog
    limits = request.limits
    if request.is_whole:
      allowed = np.zeros(len(items), bool)
      allowed[request.places] = True
      ranked = ranker.top(
        request.history, request.wish, request.k, allowed=allowed, limits=limits
      )
    else:
      ids = [items.item_ids[place] for place in request.places]
      every = ranker.rank(request.history, request.wish, ids)
      if request.breaking is not None:
        every = _behind(every, dict(zip(ids, request.breaking, strict=True)))
      by_place = {items.index(one.item_id): one for one in every}
      first = list_limits.first(np.array([*by_place]), limits, request.k)
      ranked = [by_place[place] for place in first.tolist()]
    return rankings.Ranking(
      tuple(
        rankings.Place(p.item_id, p.title, p.score, {"likelihood": p.score})
        for p in ranked
      ),
      len(request.places),
      "log-likelihood in nats",
      instruction=ranker.instruction(request.history, request.wish),
    )

  def scores(
    self,
    ids: Sequence[str],
    histories: Sequence[Sequence[str]],
    wishes: Sequence[str | None],
  ) -> Float[np.ndarray, "requests items"]:
    """Scores of some items for histories and wishes.

    Args:
      ids: of the items.
      histories: item ids, oldest first.
      wishes: of each history, or None.

    Returns:
      A column for each item of the catalogue; those of other items are no
      numbers.
    """
    items = self.instructions.catalog
    scores = np.full((len(histories), len(items)), np.nan)
    for row, asked in enumerate(zip(histories, wishes, strict=True)):
      for one in self.instructions.rank(*asked, ids):
        scores[row, items.index(one.item_id)] = one.score
    return scores


def _behind(
  ranked: Sequence[ranker_lib.Ranked], breaking: Mapping[str, bool]
) -> list[ranker_lib.Ranked]:
  """A ranking with what breaks something behind the others."""
  found = [
    dataclasses.replace(one, score=one.score + questions.BREAKING)
    if breaking[one.item_id]
    else one
    for one in ranked
  ]
  return sorted(found, key=lambda one: -one.score)
