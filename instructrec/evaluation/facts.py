"""What is known of each request, whatever method ranks it."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """Item ids and counts of each request.

  Attributes:
    targets: id of the right item.
    candidates: ids in the order in which they were presented, the target among
      them; None where the whole catalogue is ranked.
    target_counts: interactions of the target in the training log.
    history_lengths: items in the history.
  """

  targets: Sequence[str]
  candidates: Sequence[Sequence[str]] | None
  target_counts: Int[np.ndarray, " requests"]
  history_lengths: Int[np.ndarray, " requests"]

  def check(
    self, group: str, num_candidates: Int[np.ndarray, " requests"]
  ) -> None:
    """Looks whether they are of the requests that were ranked.

    Args:
      group: named in errors.
      num_candidates: how many items each request ranks.

    Raises:
      ValueError: where there are other requests or other candidates.
    """
    for field in dataclasses.fields(self):
      values = getattr(self, field.name)
      if values is not None and len(values) != len(num_candidates):
        raise ValueError(
          f"{group}: {field.name} are of {len(values)} requests, expected "
          f"{len(num_candidates)}"
        )
    if self.candidates is None:
      return
    for i, (ids, target) in enumerate(
      zip(self.candidates, self.targets, strict=True)
    ):
      if len(ids) != num_candidates[i] or len(set(ids)) < len(ids):
        raise ValueError(
          f"{group}: request {i} has the {len(ids)} candidates {list(ids)}, "
          f"expected {num_candidates[i]} different ones"
        )
      if target not in ids:
        raise ValueError(
          f"{group}: the target {target!r} of request {i} is not among its "
          f"candidates {list(ids)}"
        )

  @functools.cached_property
  def positions(self) -> Int[np.ndarray, " requests"] | None:
    """Index of the target in the presented list; None without lists."""
    if self.candidates is None:
      return None
    return np.array(
      [
        list(ids).index(target)
        for ids, target in zip(self.candidates, self.targets, strict=True)
      ],
      np.int64,
    )

  def columns(self) -> dict[str, pl.Series]:
    """The facts as columns of a table with a row for each request.

    Returns:
      `target`, `candidates` (16 hex digits that stand for the set of ids),
      `target_position`, `target_count` and `history_length`; nulls where there
      are no lists.
    """
    ids = self.candidates
    return {
      "target": pl.Series(list(self.targets), dtype=pl.String),
      "candidates": pl.Series(
        [None] * len(self.targets)
        if ids is None
        else [_digest(i) for i in ids],
        dtype=pl.String,
      ),
      "target_position": pl.Series(
        [None] * len(self.targets)
        if self.positions is None
        else self.positions,
        dtype=pl.Int64,
      ),
      "target_count": pl.Series(self.target_counts, dtype=pl.Int64),
      "history_length": pl.Series(self.history_lengths, dtype=pl.Int64),
    }


def _digest(item_ids: Sequence[str]) -> str:
  """Stands for a set of ids, whatever their order."""
  text = "\x1f".join(sorted(item_ids))
  return hashlib.sha256(text.encode()).hexdigest()[:16]
