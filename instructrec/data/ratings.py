"""What users gave to items, read for a few users at a time."""

import functools
from collections.abc import Sequence

import polars as pl

LOW = 2.0
"""At most this many of 5 stars: disliked, whatever else the user gave."""


class Ratings:
  """The ratings of a log.

  Args:
    frame: rows of `interaction.SCHEMA`; from a file or from memory.
  """

  def __init__(self, frame: pl.LazyFrame) -> None:
    self._frame = frame.select("user_id", "item_id", "rating")

  @functools.cached_property
  def are_known(self) -> bool:
    """Whether there are any."""
    return bool(
      self._frame.select(pl.col("rating").is_not_null().any()).collect().item()
    )

  def of(self, user_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Ratings by user and item; of a repeated item the last one.

    Args:
      user_ids: whose.

    Returns:
      The ratings; empty where the log has none.
    """
    if not self.are_known:
      return {}
    wanted = pl.Series(list(dict.fromkeys(user_ids)), dtype=pl.String)
    frame = self._frame.filter(
      pl.col("user_id").is_in(wanted.implode()),
      pl.col("rating").is_not_null(),
    ).collect()
    found: dict[str, dict[str, float]] = {}
    for user_id, item_id, rating in frame.iter_rows():
      found.setdefault(user_id, {})[item_id] = rating
    return found


def liked(
  item_ids: Sequence[str], ratings: dict[str, float] | None
) -> list[str]:
  """The items that say something of a user's taste.

  Args:
    item_ids: what the user took, oldest first.
    ratings: what the user gave; None where that is not known.

  Returns:
    Those that were not rated below the mean of these items, nor with two
    stars or less; all where nothing else is left.
  """
  given = [ratings[i] for i in item_ids if i in ratings] if ratings else []
  if not ratings or not given:
    return list(item_ids)
  mean = sum(given) / len(given)
  kept = [
    item
    for item in item_ids
    if item not in ratings or (ratings[item] >= mean and ratings[item] > LOW)
  ]
  return kept or list(item_ids)
