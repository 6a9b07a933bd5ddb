"""Scores a candidate by how often it occurs in the training log."""

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
    self._counts: dict[str, int] | None = None

  def fit(
    self, training_log: interaction.InteractionLog, items: catalog.Catalog
  ) -> Self:
    """Counts the items; see `Ranker.fit`."""
    del items
    counts = training_log.frame["item_id"].value_counts()
    self._counts = dict(counts.iter_rows())
    return self

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """Counts of the candidates, 0 for an unseen one; see `Ranker.score`."""
    counts = self._counts
    if counts is None:
      raise RuntimeError(
        "the popularity baseline has counted nothing yet; call fit with the "
        "training log before score"
      )
    return ranker.pad(
      [[float(counts.get(i, 0)) for i in r.candidates] for r in requests]
    )
