"""Time-ordered splits: leave-one-out and global time.

Both turn a log into *requests*, one row each: the history a model may see and
the target it is to rank first. Within a request everything in the history is
older than the target; `instructrec.data.leaks` checks it.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from instructrec.data import interaction

REQUEST_SCHEMA: dict[str, pl.DataType] = {
  "split": pl.String(),
  "request_id": pl.String(),
  "user_id": pl.String(),
  "history": pl.List(pl.String()),
  "target": pl.String(),
  "target_order": pl.Int64(),
  "last_history_order": pl.Int64(),
  "target_review": pl.String(),
  "history_review": pl.String(),
  "later": pl.List(pl.String()),
}


@dataclasses.dataclass(frozen=True)
class Split:
  """Requests of all splits, and the log that training may see.

  Attributes:
    name: "leave_one_out" or "global_time".
    requests: one row a request; see `REQUEST_SCHEMA`. `history` has item ids,
      oldest first, never empty; `history_review` is the newest review in it;
      `later` is what the user takes after the target: nothing may say it.
    training_log: the interactions that baselines are fit on.
    parameters: what the split was made with.
    warnings: what a reader of its figures should know.
  """

  name: str
  requests: pl.DataFrame
  training_log: interaction.InteractionLog
  parameters: dict[str, Any]
  warnings: tuple[str, ...] = ()


def _with_positions(log: interaction.InteractionLog) -> pl.DataFrame:
  return log.frame.with_columns(
    pl.int_range(pl.len()).over("user_id").alias("position"),
    pl.len().over("user_id").alias("length"),
  )


def _requests(
  frame: pl.DataFrame, wanted: pl.DataFrame, max_history: int
) -> pl.DataFrame:
  """Requests whose history is the user's rows before the target's position.

  Args:
    frame: all interactions, each user's together, with `position` (0 is a
      user's oldest) and `length`.
    wanted: `split`, `user_id` and `position` of each target; never 0.
    max_history: longest history.

  Returns:
    A table of `REQUEST_SCHEMA`.

  Raises:
    ValueError: where histories would be empty.
  """
  if max_history < 1:
    raise ValueError(
      f"max_history is {max_history}, expected 1 or more: a request needs a "
      "history"
    )
  row = pl.int_range(pl.len())
  reviewed = pl.when(pl.col("review").is_not_null()).then(row)
  known = frame.select(
    "user_id",
    "position",
    row.alias("row"),
    (pl.col("length") - pl.col("position") - 1).alias("num_later"),
    # The newest review before a row, of whichever user it is.
    reviewed.forward_fill().shift(1).alias("reviewed"),
  )
  joined = wanted.join(
    known, on=["user_id", "position"], how="left", maintain_order="left"
  )
  at, size = joined["row"], joined["position"].clip(upper_bound=max_history)
  items, order, review = frame["item_id"], frame["order"], frame["review"]
  in_history = joined["reviewed"] >= at - size
  return joined.with_columns(
    pl.format("{}-{}-{}", "split", "user_id", "position").alias("request_id"),
    _slices(items, at - size, size).alias("history"),
    items.gather(at).alias("target"),
    order.gather(at).alias("target_order"),
    order.gather(at - 1).alias("last_history_order"),
    review.gather(at).alias("target_review"),
    review.gather(joined["reviewed"].set(~in_history, None)).alias(
      "history_review"
    ),
    _slices(items, at + 1, joined["num_later"]).alias("later"),
  ).select(pl.col(name).cast(dtype) for name, dtype in REQUEST_SCHEMA.items())


def _slices(
  values: pl.Series, starts: pl.Series, sizes: pl.Series
) -> pl.Series:
  """Runs of a column as lists; takes no more room than the lists do."""
  counts = sizes.to_numpy().astype(np.int64)
  ends = np.cumsum(counts)
  places = np.arange(counts.sum()) + np.repeat(
    starts.to_numpy() - (ends - counts), counts
  )
  lists = pa.LargeListArray.from_arrays(
    np.concatenate([[0], ends]), values.gather(places).to_arrow()
  )
  return pl.Series(lists)


def _train_targets(
  frame: pl.DataFrame, end: pl.Expr, max_targets: int | None
) -> pl.DataFrame:
  """Targets of training: positions 1 to `end` of each user, newest kept."""
  found = frame.filter((pl.col("position") >= 1) & (pl.col("position") < end))
  if max_targets is not None:
    found = found.filter(pl.col("position") >= end - max_targets)
  return found.select(pl.lit("train").alias("split"), "user_id", "position")


def leave_one_out(
  log: interaction.InteractionLog,
  *,
  max_history: int = 20,
  max_train_targets: int | None = None,
) -> Split:
  """The last item of each user is test, the one before it validation.

  The protocol of the InstructRec paper (section 4.1). Users with fewer than
  three interactions go to training alone. Training and test overlap in time,
  so figures are comparable with papers rather than with a deployment; use
  `global_time` for that.

  Args:
    log: the interactions.
    max_history: longest history; the newest items are kept.
    max_train_targets: newest training targets of each user; None for all.

  Returns:
    The split.

  Raises:
    ValueError: where `max_history` is not positive.
  """
  frame = _with_positions(log)
  held_out = pl.when(pl.col("length") >= 3).then(2).otherwise(0)
  end = pl.col("length") - held_out
  train = _train_targets(frame, end, max_train_targets)

  def last_but(count: int, split: str) -> pl.DataFrame:
    return frame.filter(
      (pl.col("length") >= 3) & (pl.col("position") == pl.col("length") - count)
    ).select(pl.lit(split).alias("split"), "user_id", "position")

  wanted = pl.concat([train, last_but(2, "validation"), last_but(1, "test")])
  training = frame.filter(pl.col("position") < end)
  return Split(
    name="leave_one_out",
    requests=_requests(frame, wanted, max_history),
    training_log=interaction.InteractionLog(training),
    parameters={
      "max_history": max_history,
      "max_train_targets": max_train_targets,
    },
  )


def _held_out_targets(
  frame: pl.DataFrame, split: str, max_targets: int | None
) -> pl.DataFrame:
  """Targets of a window: of each user the last moment's, or the first few's.

  Several interactions may share a timestamp: a target's history ends before
  the first of them, so the target is the first of its moment.
  """
  if max_targets is not None and max_targets < 1:
    raise ValueError(
      f"max_{split}_targets is {max_targets}, expected 1 or more, or None for "
      "the last interaction of each user"
    )
  first = pl.col("position") == pl.col("position").min().over(
    "user_id", "timestamp"
  )
  # Without a history there is no request, and nothing to count.
  has_history = pl.col("position") > 0
  moments = frame.filter(pl.col("split") == split).filter(first & has_history)
  place = pl.int_range(pl.len()).over("user_id")
  wanted = (
    place == pl.len().over("user_id") - 1
    if max_targets is None
    else place < max_targets
  )
  return moments.filter(wanted).select("split", "user_id", "position")


def _cuts(
  log: interaction.InteractionLog,
  validation_fraction: float,
  test_fraction: float,
) -> list[int]:
  """The times from which validation and test go; see `global_time`."""
  missing = log.frame["timestamp"].null_count()
  if missing:
    raise ValueError(
      f"global_time needs timestamps, but {missing} of {len(log)} "
      "interactions have none; use leave_one_out for such logs"
    )
  if not (
    validation_fraction > 0
    and test_fraction > 0
    and validation_fraction + test_fraction < 1
  ):
    raise ValueError(
      f"validation_fraction {validation_fraction} and test_fraction "
      f"{test_fraction} must be positive and leave something to train on"
    )
  ordered = log.frame["timestamp"].sort().to_numpy()
  return [
    int(ordered[math.ceil((1 - share) * (len(ordered) - 1))])
    for share in (validation_fraction + test_fraction, test_fraction)
  ]


def global_time(
  log: interaction.InteractionLog,
  *,
  validation_fraction: float = 0.1,
  test_fraction: float = 0.1,
  max_history: int = 20,
  max_train_targets: int | None = None,
  max_validation_targets: int | None = None,
  max_test_targets: int | None = None,
) -> Split:
  """Training ends before validation begins, validation before test.

  The cuts are quantiles of all timestamps. In each of the two windows a user's
  last interaction is the target ("global temporal split, last target"), or
  each of the first few: a log with few users has few last ones. The history is
  everything of that user strictly earlier, also inside the window.

  Args:
    log: the interactions, with timestamps.
    validation_fraction: share of the interactions in the validation window.
    test_fraction: share in the test window.
    max_history: longest history; the newest items are kept.
    max_train_targets: newest training targets of each user; None for all.
    max_validation_targets: how many of a user's first interactions in the
      validation window are targets, one a moment; None for the last alone.
      Requests of one user are not independent: see `intervals.bootstrap`.
    max_test_targets: the same of the test window.

  Returns:
    The split.

  Raises:
    ValueError: where timestamps are missing, a fraction leaves nothing, or a
      number is not positive.
  """
  cuts = _cuts(log, validation_fraction, test_fraction)
  frame = _with_positions(log)
  window = (
    pl.when(pl.col("timestamp") < cuts[0])
    .then(pl.lit("train"))
    .when(pl.col("timestamp") < cuts[1])
    .then(pl.lit("validation"))
    .otherwise(pl.lit("test"))
  )
  frame = frame.with_columns(window.alias("split"))
  in_train = (pl.col("split") == "train").sum().over("user_id")
  train = _train_targets(
    frame.filter(pl.col("split") == "train"), in_train, max_train_targets
  )
  held_out = [
    _held_out_targets(frame, "validation", max_validation_targets),
    _held_out_targets(frame, "test", max_test_targets),
  ]
  requests = _requests(frame, pl.concat([train, *held_out]), max_history)
  # Training, too, must not rank an item by others of the same moment.
  requests = requests.filter(
    pl.col("last_history_order") < pl.col("target_order")
  )
  return Split(
    name="global_time",
    requests=requests,
    training_log=interaction.InteractionLog(
      frame.filter(pl.col("split") == "train")
    ),
    parameters={
      "validation_fraction": validation_fraction,
      "test_fraction": test_fraction,
      "validation_from": cuts[0],
      "test_from": cuts[1],
      "max_history": max_history,
      "max_train_targets": max_train_targets,
      "max_validation_targets": max_validation_targets,
      "max_test_targets": max_test_targets,
    },
  )
