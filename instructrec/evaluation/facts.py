"""What is known of each request, whatever method ranks it."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lists:
  """The candidate list of each request, in as many bytes whatever its length.

  Attributes:
    lengths: how many candidates.
    positions: index of the target in the order in which they were presented;
      -1 where a list lacks it.
    digests: 16 hex digits that stand for the set of ids.
  """

  lengths: Int[np.ndarray, " requests"]
  positions: Int[np.ndarray, " requests"]
  digests: Sequence[str]

  @classmethod
  def of(
    cls, candidates: Sequence[Sequence[str]], targets: Sequence[str]
  ) -> "Lists":
    """What is kept of lists.

    Args:
      candidates: ids in the order in which they were presented. A retriever's
        list may lack the target.
      targets: id of the right item of each.

    Returns:
      Their lists, in the same order.

    Raises:
      ValueError: where a list names an item twice, or there are other numbers
        of lists and targets.
    """
    for i, ids in enumerate(candidates):
      if len(set(ids)) < len(ids):
        raise ValueError(
          f"request {i} has the {len(ids)} candidates {list(ids)}, expected "
          "different ones"
        )
    positions = [
      list(ids).index(target) if target in ids else -1
      for ids, target in zip(candidates, targets, strict=True)
    ]
    return cls(
      lengths=np.array([len(ids) for ids in candidates], np.int64),
      positions=np.array(positions, np.int64),
      digests=[_digest(ids) for ids in candidates],
    )

  def take(self, rows: Bool[np.ndarray, " requests"]) -> "Lists":
    """The lists of some requests, in the same order."""
    return Lists(
      lengths=self.lengths[rows],
      positions=self.positions[rows],
      digests=[self.digests[i] for i in np.flatnonzero(rows).tolist()],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """Item ids and counts of each request.

  Attributes:
    targets: id of the right item.
    lists: the candidates; None where the whole catalogue is ranked.
    target_counts: interactions of the target in the training log.
    history_lengths: items in the history.
    users: whose request each is; None where it is not known. Where users
      repeat, intervals draw users.
  """

  targets: Sequence[str]
  lists: Lists | None
  target_counts: Int[np.ndarray, " requests"]
  history_lengths: Int[np.ndarray, " requests"]
  users: Sequence[str] | None = None

  @classmethod
  def of(
    cls,
    *,
    targets: Sequence[str],
    candidates: Sequence[Sequence[str]] | None,
    target_counts: Int[np.ndarray, " requests"],
    history_lengths: Int[np.ndarray, " requests"],
    users: Sequence[str] | None = None,
  ) -> "Facts":
    """The facts, where the candidates themselves are at hand.

    Args:
      targets: see `Facts`.
      candidates: see `Lists.of`; None where the whole catalogue is ranked.
      target_counts: see `Facts`.
      history_lengths: likewise.
      users: likewise.

    Returns:
      The facts, which keep no candidates.

    Raises:
      ValueError: see `Lists.of`.
    """
    return cls(
      targets=targets,
      lists=None if candidates is None else Lists.of(candidates, targets),
      target_counts=target_counts,
      history_lengths=history_lengths,
      users=users,
    )

  def take(self, rows: Bool[np.ndarray, " requests"]) -> "Facts":
    """The facts of some requests.

    Args:
      rows: which.

    Returns:
      Theirs, in the same order.
    """
    chosen = np.flatnonzero(rows).tolist()
    return Facts(
      targets=[self.targets[i] for i in chosen],
      lists=None if self.lists is None else self.lists.take(rows),
      target_counts=self.target_counts[rows],
      history_lengths=self.history_lengths[rows],
      users=None if self.users is None else [self.users[i] for i in chosen],
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
    sizes = {
      "targets": len(self.targets),
      "target_counts": len(self.target_counts),
      "history_lengths": len(self.history_lengths),
    }
    if self.users is not None:
      sizes["users"] = len(self.users)
    if self.lists is not None:
      sizes["lists"] = len(self.lists.lengths)
    for name, size in sizes.items():
      if size != len(num_candidates):
        raise ValueError(
          f"{group}: {name} are of {size} requests, expected "
          f"{len(num_candidates)}"
        )
    if self.lists is None:
      return
    (other,) = np.nonzero(self.lists.lengths != num_candidates)
    if len(other):
      raise ValueError(
        f"{group}: request {other[0]} has {self.lists.lengths[other[0]]} "
        f"candidates, expected {num_candidates[other[0]]}"
      )

  @property
  def positions(self) -> Int[np.ndarray, " requests"] | None:
    """Index of the target in the presented list; None without lists."""
    return None if self.lists is None else self.lists.positions

  def columns(self) -> dict[str, pl.Series]:
    """The facts as columns of a table with a row for each request.

    Returns:
      `user_id`, `target`, `candidates` (16 hex digits that stand for the set of
      ids), `target_position`, `target_count` and `history_length`; nulls where
      there are no users or no lists, and for positions where a list lacks the
      target.
    """
    digests: Sequence[str | None] = [None] * len(self.targets)
    positions: Sequence[int | None] = [None] * len(self.targets)
    if self.lists is not None:
      digests = self.lists.digests
      positions = [
        None if place < 0 else place for place in self.lists.positions.tolist()
      ]
    users: Sequence[str | None] = self.users or [None] * len(self.targets)
    return {
      "user_id": pl.Series(list(users), dtype=pl.String),
      "target": pl.Series(list(self.targets), dtype=pl.String),
      "candidates": pl.Series(digests, dtype=pl.String),
      "target_position": pl.Series(positions, dtype=pl.Int64),
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
  lists = [part.lists for part in parts if part.lists is not None]
  users = [part.users for part in parts if part.users is not None]
  if len(lists) not in (0, len(parts)):
    raise ValueError(
      f"{len(lists)} of {len(parts)} parts have candidate lists, expected all "
      "or none"
    )
  return Facts(
    targets=[target for part in parts for target in part.targets],
    lists=Lists(
      lengths=np.concatenate([each.lengths for each in lists]),
      positions=np.concatenate([each.positions for each in lists]),
      digests=[digest for each in lists for digest in each.digests],
    )
    if lists
    else None,
    target_counts=np.concatenate([part.target_counts for part in parts]),
    history_lengths=np.concatenate([part.history_lengths for part in parts]),
    users=[user for each in users for user in each]
    if len(users) == len(parts)
    else None,
  )


def _digest(item_ids: Sequence[str]) -> str:
  """Stands for a set of ids, whatever their order."""
  text = "\x1f".join(sorted(item_ids))
  return hashlib.sha256(text.encode()).hexdigest()[:16]
