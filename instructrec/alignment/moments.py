"""Users at a time: what they have, and what they took next.

A training moment is drawn anew for each epoch from a user's newest training
request: where the history begins and where it ends. Validation and test
moments are their requests.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import polars as pl

from instructrec.data import candidates, catalog, request
from instructrec.instructions.draws import Draws, mix


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
  """A user at a time; items are places in the catalogue.

  Attributes:
    request_id: the request it is drawn from.
    user_id: whose.
    split: of the request.
    epoch: of the draw; 0 where nothing is drawn.
    key: of all further draws.
    history: oldest first, never empty.
    later: what the user took next, as far as the split may know: in training
      all of the training sequence, else the target alone.
  """

  request_id: str
  user_id: str
  split: str
  epoch: int
  key: int
  history: tuple[int, ...]
  later: tuple[int, ...]

  @property
  def target(self) -> int:
    """What the user took next."""
    return self.later[0]


def trained(
  requests: pl.DataFrame,
  items: catalog.Catalog,
  *,
  seed: int,
  epoch: int,
  max_history: int,
) -> Iterator[Moment]:
  """One moment for each user whose newest training request is among some.

  A function of (seed, epoch, user) and the user's sequence alone. Where the
  target stands, and before it where the history begins, are equally likely
  everywhere; the sequence is what the request has, its history and target.

  Args:
    requests: training requests, as `Requests.read` gives them.
    items: the catalogue.
    seed: of all draws.
    epoch: of the draws.
    max_history: longest history.

  Yields:
    Moments, in the order of the requests.
  """
  newest = requests.filter(pl.col("newest"))
  keys = _keys(newest["user_id"].to_list(), seed)
  for row, key in zip(newest.iter_rows(named=True), keys, strict=True):
    key = mix(key, epoch)
    sequence = [items.index(i) for i in (*row["history"], row["target"])]
    draws = Draws(key)
    target = draws.pick(range(1, len(sequence)))
    start = draws.pick(range(max(0, target - max_history), target))
    yield Moment(
      request_id=row["request_id"],
      user_id=row["user_id"],
      split=row["split"],
      epoch=epoch,
      key=key,
      history=tuple(sequence[start:target]),
      later=tuple(sequence[target:]),
    )


def evaluated(
  requests: pl.DataFrame,
  items: catalog.Catalog,
  *,
  seed: int,
  max_history: int,
) -> Iterator[Moment]:
  """The moments of validation or test requests; arguments as `trained`."""
  keys = _keys(requests["request_id"].to_list(), seed)
  for row, key in zip(requests.iter_rows(named=True), keys, strict=True):
    yield Moment(
      request_id=row["request_id"],
      user_id=row["user_id"],
      split=row["split"],
      epoch=0,
      key=key,
      history=tuple(items.index(i) for i in row["history"][-max_history:]),
      later=(items.index(row["target"]),),
    )


def to_request(
  moment: Moment, item_ids: Sequence[str]
) -> request.RankingRequest:
  """What a retriever is asked at a moment.

  Args:
    moment: the moment.
    item_ids: of the catalogue.

  Returns:
    A request without candidates and target.
  """
  history = tuple(item_ids[item] for item in moment.history)
  return request.RankingRequest(moment.request_id, moment.user_id, history, ())


def _keys(ids: list[str], seed: int) -> list[int]:
  return candidates.request_keys(ids, seed).tolist()
