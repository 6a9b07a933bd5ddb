"""Filters over interaction logs: duplicates, k-core, newest interactions."""

import polars as pl

from instructrec.data import interaction


def deduplicate(
  log: interaction.InteractionLog, *, same_moment: bool = False
) -> interaction.InteractionLog:
  """Keeps the first interaction of each user with each item.

  Args:
    log: the interactions.
    same_moment: whether only rows of the same order go: an item that a user
      takes again later stays.

  Returns:
    The shorter log.
  """
  key = ["user_id", "item_id", *(["order"] if same_moment else [])]
  return interaction.InteractionLog(
    log.frame.unique(key, keep="first", maintain_order=True)
  )


def rated_at_least(
  log: interaction.InteractionLog, rating: float
) -> interaction.InteractionLog:
  """Keeps interactions with a rating that is high enough.

  Args:
    log: the interactions.
    rating: the lowest that stays; interactions without one go.

  Returns:
    The shorter log.

  Raises:
    ValueError: where there are no ratings, or none is left.
  """
  ratings = log.frame["rating"]
  if ratings.null_count() == len(ratings):
    raise ValueError(
      f"min_rating={rating:g} needs ratings, but none of the {len(log):,} "
      "interactions has one"
    )
  kept = log.frame.filter(pl.col("rating") >= rating)
  if not kept.height:
    raise ValueError(
      f"no interactions are left with a rating of {rating:g} or more "
      f"({len(log):,} before, rated {ratings.min()!r} to {ratings.max()!r})"
    )
  return interaction.InteractionLog(kept)


def k_core(
  log: interaction.InteractionLog, *, min_user: int, min_item: int
) -> interaction.InteractionLog:
  """The largest part in which everyone has enough interactions.

  Drops users and items with too few until none is left to drop, since each
  drop may take others below the bound.

  Args:
    log: the interactions.
    min_user: interactions that a user needs.
    min_item: interactions that an item needs.

  Returns:
    The core.

  Raises:
    ValueError: where nothing is left.
  """
  frame = log.frame
  while True:
    kept = frame.filter(
      (pl.len().over("user_id") >= min_user)
      & (pl.len().over("item_id") >= min_item)
    )
    if kept.height == frame.height:
      break
    frame = kept
  if not frame.height:
    raise ValueError(
      f"no interactions are left with at least {min_user} a user and "
      f"{min_item} an item ({len(log)} before); lower the bounds"
    )
  return interaction.InteractionLog(frame)
