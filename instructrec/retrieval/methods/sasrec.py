"""SASRec: a causal transformer over item ids (Kang and McAuley, 2018)."""

import dataclasses

import numpy as np
from jaxtyping import Int

from instructrec.retrieval import sequential


@dataclasses.dataclass(eq=False, kw_only=True)
class SASRec(sequential.SequentialRetriever):
  """Predicts each item from those before it.

  Unlike the original: cross-entropy over the whole catalogue instead of one
  sampled negative, and positions that count from the oldest item.
  """

  name = "sasrec"
  description = "a causal transformer over item ids, trained here"
  causal = True

  @property
  def _longest(self) -> int:
    # The oldest is never predicted: a history of `max_length` and what follows.
    return self.max_length + 1

  def _example(
    self, tokens: Int[np.ndarray, "rows width"], rng: np.random.Generator
  ) -> sequential.Example:
    del rng
    slots = np.arange(tokens.shape[1] - 1, dtype=np.int32)
    targets = tokens[:, 1:]
    return tokens[:, :-1], np.tile(slots, (len(tokens), 1)), targets
