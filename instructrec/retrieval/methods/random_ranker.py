"""Scores items at random: the floor of every table."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from instructrec.data import candidates, catalog, interaction, request
from instructrec.retrieval import retriever


@dataclasses.dataclass(eq=False)
class Random(retriever.Retriever):
  """The random baseline.

  A score depends on (seed, request id, item id) alone, so that neither the
  order of candidates nor the batch changes it.

  Attributes:
    seed: of the scores.
  """

  name = "random"
  description = "uniform numbers by seed, request and item"

  seed: int = 0

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    del training_log, items, validation

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    """Uniform numbers in [0, 1)."""
    return candidates.pair_uniforms(
      [r.request_id for r in requests], self.item_ids, self.seed
    )

  def _save(self, folder: pathlib.Path) -> None:
    """Nothing: the settings say it all."""

  def _load(self, folder: pathlib.Path) -> None:
    """Nothing to read."""
