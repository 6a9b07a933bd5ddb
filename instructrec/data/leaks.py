"""Checks that a split keeps the future out of its inputs."""

import numpy as np
import polars as pl

from instructrec.data import interaction, splits


class LeakError(ValueError):
  """A split shows training, or an input, what comes later."""


def check_split(
  split: splits.Split, log: interaction.InteractionLog
) -> list[str]:
  """Fails on leaks; returns what is no leak but should be known.

  Args:
    split: the split.
    log: all interactions that it was made from.

  Returns:
    Warnings in words.

  Raises:
    LeakError: where a request id repeats, a history is newer than its
      target (for global time: not strictly older), a held-out interaction is
      in the training log, or (for global time) training reaches past the
      first cut.
  """
  requests = split.requests
  repeated = requests.filter(pl.col("request_id").is_duplicated())
  if repeated.height:
    raise LeakError(
      f"request id {repeated['request_id'][0]!r} occurs "
      f"{repeated.height} times; expected unique ids"
    )
  strict = split.name == "global_time"
  gap = pl.col("target_order") - pl.col("last_history_order")
  late = requests.filter(gap <= 0 if strict else gap < 0)
  if late.height:
    raise LeakError(
      f"request {late['request_id'][0]!r} has a history that reaches to its "
      f"target's time ({late.height} such requests); the history must be "
      "earlier"
    )
  held_out = requests.filter(pl.col("split") != "train")
  leaked = held_out.join(
    split.training_log.frame,
    left_on=["user_id", "target", "target_order"],
    right_on=["user_id", "item_id", "order"],
    how="inner",
  )
  if leaked.height:
    raise LeakError(
      f"the target of request {leaked['request_id'][0]!r} is in the training "
      f"log ({leaked.height} such requests); held-out interactions must not be"
    )
  if split.name == "global_time":
    cut = split.parameters["validation_from"]
    newest = int(split.training_log.frame["timestamp"].to_numpy().max())
    if newest >= cut:
      raise LeakError(
        f"training reaches to timestamp {newest}, past the cut at {cut}"
      )
    return []
  ties = requests.filter(gap == 0).height
  warnings = _overlap_in_time(split, log)
  if ties:
    warnings.append(
      f"{ties} of {requests.height} requests have a target with the same "
      "timestamp as the end of their history; their order is that of the file"
    )
  return warnings


def _overlap_in_time(
  split: splits.Split, log: interaction.InteractionLog
) -> list[str]:
  if log.frame["timestamp"].null_count():
    return [
      "the log has no timestamps, so it cannot be told whether training data "
      "is newer than test targets (leave-one-out usually overlaps in time)"
    ]
  tests = split.requests.filter(pl.col("split") == "test")
  if not tests.height:
    return []
  first = tests["target_order"].to_numpy().min()
  times = split.training_log.frame["timestamp"].to_numpy()
  share = float(np.mean(times > first)) if len(times) else 0.0
  if not share:
    return []
  return [
    f"leave-one-out overlaps in time: {share:.1%} of the training "
    "interactions are newer than the earliest test target; use --split "
    "global_time for figures that a deployment could reach"
  ]
