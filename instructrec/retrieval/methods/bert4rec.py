"""BERT4Rec: a transformer that fills in masked items (Sun et al., 2019)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from instructrec.retrieval import sequences, sequential


@dataclasses.dataclass(eq=False, kw_only=True)
class BERT4Rec(sequential.SequentialRetriever):
  """Predicts masked items from both sides, the next one as a mask at the end.

  Attributes:
    mask_rate: share of a sequence's slots that are masked, at least one; in
      half of the sequences the only mask is the newest item, as in use.
  """

  name = "bert4rec"
  description = "a transformer that fills in masked item ids, trained here"
  causal = False
  space = {  # noqa: RUF012
    **sequential.SequentialRetriever.space,
    "mask_rate": (0.2, 0.4),
  }

  mask_rate: float = 0.2

  @property
  def _mask(self) -> int:
    return len(self.item_ids) + 1

  def _example(
    self, tokens: Int[np.ndarray, "rows width"], rng: np.random.Generator
  ) -> sequential.Example:
    rows, width = tokens.shape
    lengths = (tokens > 0).sum(1)
    count = max(1, round(self.mask_rate * width))
    # The slots with the smallest numbers; padding comes last.
    order = rng.random((rows, width))
    order[tokens == sequences.PADDING] = 2.0
    slots = np.argsort(order, axis=1)[:, :count].astype(np.int32)
    wanted = np.maximum(1, np.round(self.mask_rate * lengths)).astype(np.int32)
    kept = np.arange(count) < wanted[:, None]
    newest = rng.random(rows) < 0.5
    slots[newest, 0] = np.maximum(lengths[newest] - 1, 0)
    kept[newest, 1:] = False
    targets = np.where(kept, np.take_along_axis(tokens, slots, 1), 0)
    masked = tokens.copy()
    at_row, at_slot = np.nonzero(targets)
    masked[at_row, slots[at_row, at_slot]] = self._mask
    return masked, slots, targets

  def _query(
    self, histories: Sequence[Int[np.ndarray, " length"]]
  ) -> tuple[Int[np.ndarray, "requests width"], Int[np.ndarray, "requests 1"]]:
    newest = [h[-(self.max_length - 1) :] for h in histories]
    return super()._query([np.append(h, self._mask - 1) for h in newest])
