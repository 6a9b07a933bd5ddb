"""What is known of each request, whatever method ranks it."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """Item ids and counts of each request.

  Attributes:
    targets: id of the right item.
    candidates: ids in the order in which they were presented; None where the
      whole catalogue is ranked. A retriever's list may lack the target.
    target_counts: interactions of the target in the training log.
    history_lengths: items in the history.
  """

  targets: Sequence[str]
  candidates: Sequence[Sequence[str]] | None
  target_counts: Int[np.ndarray, " requests"]
  history_lengths: Int[np.ndarray, " requests"]

  def take(self, rows: Bool[np.ndarray, " requests"]) -> "Facts":
    """The facts of some requests.

    Args:
      rows: which.

    Returns:
      Theirs, in the same order.
    """
    chosen = np.flatnonzero(rows).tolist()
    lists = self.candidates
    return Facts(
      targets=[self.targets[i] for i in chosen],
      candidates=None if lists is None else [lists[i] for i in chosen],
      target_counts=self.target_counts[rows],
      history_lengths=self.history_lengths[rows],
    )

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
    for i, ids in enumerate(self.candidates):
      if len(ids) != num_candidates[i] or len(set(ids)) < len(ids):
        raise ValueError(
          f"{group}: request {i} has the {len(ids)} candidates {list(ids)}, "
          f"expected {num_candidates[i]} different ones"
        )

  @functools.cached_property
  def positions(self) -> Int[np.ndarray, " requests"] | None:
    """Index of the target in the presented list, -1 where it lacks it.

    None without lists.
    """
    if self.candidates is None:
      return None
    return np.array(
      [
        list(ids).index(target) if target in ids else -1
        for ids, target in zip(self.candidates, self.targets, strict=True)
      ],
      np.int64,
    )

  def columns(self) -> dict[str, pl.Series]:
    """The facts as columns of a table with a row for each request.

    Returns:
      `target`, `candidates` (16 hex digits that stand for the set of ids),
      `target_position`, `target_count` and `history_length`; nulls where there
      are no lists, and for positions where a list lacks the target.
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
        else [None if place < 0 else int(place) for place in self.positions],
        dtype=pl.Int64,
      ),
      "target_count": pl.Series(self.target_counts, dtype=pl.Int64),
      "history_length": pl.Series(self.history_lengths, dtype=pl.Int64),
    }


def concatenate(parts: Sequence[Facts]) -> Facts:
  """The facts of several blocks of requests as one.

  Args:
    parts: at least one; all with lists, or all without.

  Returns:
    The facts, in the order of the parts.

  Raises:
    ValueError: where some have lists and others none.
  """
  lists = [part.candidates for part in parts if part.candidates is not None]
  if len(lists) not in (0, len(parts)):
    raise ValueError(
      f"{len(lists)} of {len(parts)} parts have candidate lists, expected all "
      "or none"
    )
  return Facts(
    targets=[target for part in parts for target in part.targets],
    candidates=[ids for each in lists for ids in each] if lists else None,
    target_counts=np.concatenate([part.target_counts for part in parts]),
    history_lengths=np.concatenate([part.history_lengths for part in parts]),
  )


def _digest(item_ids: Sequence[str]) -> str:
  """Stands for a set of ids, whatever their order."""
  text = "\x1f".join(sorted(item_ids))
  return hashlib.sha256(text.encode()).hexdigest()[:16]
