"""A ranking request: what is known of a user, and what to put in order."""

import dataclasses

import numpy as np
import polars as pl


@dataclasses.dataclass(frozen=True, slots=True)
class RankingRequest:
  """One list of candidates to rank for one user.

  Attributes:
    request_id: unique id.
    user_id: who asks.
    history: item ids, oldest first.
    candidates: item ids to rank.
    target: the item id that was chosen, where it is known.
    preference: explicit statement of taste, or None.
    intention: what the user wants now, or None.
  """

  request_id: str
  user_id: str
  history: tuple[str, ...]
  candidates: tuple[str, ...]
  target: str | None = None
  preference: str | None = None
  intention: str | None = None


def from_frame(frame: pl.DataFrame) -> list[RankingRequest]:
  """Requests of a prepared table, in its order.

  Args:
    frame: rows of `splits.REQUEST_SCHEMA` with `candidates`.

  Returns:
    The requests, with their targets.
  """
  columns = ("request_id", "user_id", "history", "candidates", "target")
  return [
    RankingRequest(row[0], row[1], tuple(row[2]), tuple(row[3]), row[4])
    for row in frame.select(columns).iter_rows()
  ]


def sample(frame: pl.DataFrame, count: int | None, seed: int) -> pl.DataFrame:
  """Some rows, drawn by seed.

  Args:
    frame: any table.
    count: how many; None for all.
    seed: of the draw.

  Returns:
    The rows, in the table's order; all where there are no more than `count`.
  """
  if count is None or count >= frame.height:
    return frame
  rng = np.random.default_rng(seed)
  return frame[np.sort(rng.choice(frame.height, count, replace=False))]
