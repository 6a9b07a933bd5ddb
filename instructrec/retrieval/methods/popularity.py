"""Scores an item by how often it occurs in the training log."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import retriever

_COUNTS = "counts.npy"


@dataclasses.dataclass(eq=False)
class Popularity(retriever.Retriever):
  """The popularity baseline; equally frequent items stay tied."""

  name = "popularity"
  description = "how often the item occurs in the training log"

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    del items, validation
    places = self.indices(
      training_log.frame["item_id"].to_list(), "the training log"
    )
    self._counts = np.bincount(places, minlength=len(self.item_ids))

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    return np.tile(self._counts, (len(requests), 1))

  def _save(self, folder: pathlib.Path) -> None:
    np.save(folder / _COUNTS, self._counts)

  def _load(self, folder: pathlib.Path) -> None:
    self._counts = np.load(folder / _COUNTS)
