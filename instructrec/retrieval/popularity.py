"""Scores a candidate by how often it occurs in the training log."""

import collections
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Float

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import ranker


class Popularity:
  """The popularity baseline; equally frequent items stay tied."""

  name = "popularity"

  def __init__(self) -> None:
    self._counts: collections.Counter[str] = collections.Counter()

  def fit(
    self, training_log: interaction.InteractionLog, items: catalog.Catalog
  ) -> Self:
    """Counts the items; see `Ranker.fit`."""
    del items
    self._counts = collections.Counter(training_log.frame["item_id"])
    return self

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """Counts of the candidates; see `Ranker.score`."""
    return ranker.pad(
      [[float(self._counts[i]) for i in r.candidates] for r in requests]
    )
