"""Scores candidates at random: the floor of every table."""

import hashlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Float

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import ranker


class Random:
  """The random baseline.

  A score depends on (seed, request id, item id) alone, so that neither the
  order of candidates nor the batch changes it.

  Args:
    seed: of the scores.
  """

  name = "random"

  def __init__(self, seed: int = 0) -> None:
    self.seed = seed

  def fit(
    self, training_log: interaction.InteractionLog, items: catalog.Catalog
  ) -> Self:
    """Learns nothing; see `Ranker.fit`."""
    del training_log, items
    return self

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """Uniform numbers in [0, 1); see `Ranker.score`."""
    return ranker.pad(
      [[self._uniform(r.request_id, i) for i in r.candidates] for r in requests]
    )

  def _uniform(self, request_id: str, item_id: str) -> float:
    text = f"{self.seed}\x1f{request_id}\x1f{item_id}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    # The 53 bits that a float64 holds: 64 would round some numbers up to 1.
    return (int.from_bytes(digest) >> 11) / 2**53
