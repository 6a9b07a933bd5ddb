"""From a log and a catalogue to requests: filter, split, draw candidates."""

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any, Literal

from instructrec.data import (
  candidates,
  catalog,
  filtering,
  interaction,
  item_text,
  leaks,
  splits,
  values,
)

Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a log becomes requests.

  Attributes:
    min_rating: the lowest rating of an interaction that counts; None for all.
    repeats: whether an item that a user takes again is dropped or kept.
    min_interactions: k of the k-core of users and items; 1 for none.
    keep_rare_items: whether items outside the core stay in the catalogue.
    articles_first: whether "Boot, Das" is called "Das Boot".
    split: "leave_one_out" or "global_time".
    max_history: longest history.
    max_train_targets: newest training targets of a user; None for all.
    max_validation_targets: global_time: first ones of a user in the window;
      None for the last alone.
    max_test_targets: the same of the test window.
    num_negatives: candidates beside the target.
    negatives: how they are drawn.
    seed: of the candidates.
  """

  min_rating: float | None = None
  repeats: Literal["drop", "keep"] = "drop"
  min_interactions: int = 5
  keep_rare_items: bool = False
  articles_first: bool = False
  split: Literal["leave_one_out", "global_time"] = "leave_one_out"
  max_history: int = 20
  max_train_targets: int | None = None
  max_validation_targets: int | None = None
  max_test_targets: int | None = None
  num_negatives: int = 9
  negatives: candidates.Strategy = "uniform"
  seed: int = 0


def describe(log: interaction.InteractionLog, items: catalog.Catalog) -> str:
  """What a log holds, in words."""
  text = (
    f"{len(log):,} interactions of {log.num_users:,} users with "
    f"{len(items):,} items"
  )
  first, last = log.frame["timestamp"].min(), log.frame["timestamp"].max()
  if first is None or last is None:
    return text
  return f"{text}, from {_moment(first)} to {_moment(last)}"


def _moment(microseconds: Any) -> str:
  start = datetime.datetime(1970, 1, 1)
  try:
    moment = start + datetime.timedelta(microseconds=microseconds)
  except OverflowError:
    return f"{microseconds / values.MICROSECONDS:.0f} s"
  return moment.isoformat(" ", "seconds")


def filtered(
  log: interaction.InteractionLog, settings: Settings, tell: Tell
) -> interaction.InteractionLog:
  """The interactions that count.

  Args:
    log: all of them.
    settings: which count.
    tell: takes a line for each filter that took some out.

  Returns:
    The shorter log.

  Raises:
    ValueError: where none is left.
  """
  if settings.min_rating is not None:
    before, log = log, filtering.rated_at_least(log, settings.min_rating)
    tell(
      f"rated below {settings.min_rating:g}, or not at all: "
      f"{len(before) - len(log):,} interactions left out"
    )
  log = _without_repeats(log, settings, tell)
  if settings.min_interactions > 1:
    k = settings.min_interactions
    before, log = log, filtering.k_core(log, min_user=k, min_item=k)
    if len(before) == len(log):
      tell(f"{k}-core: nothing left out")
      return log
    tell(
      f"{k}-core: {len(before) - len(log):,} interactions, "
      f"{before.num_users - log.num_users:,} users and "
      f"{before.num_items - log.num_items:,} items left out"
    )
  return log


def _without_repeats(
  log: interaction.InteractionLog, settings: Settings, tell: Tell
) -> interaction.InteractionLog:
  once = filtering.deduplicate(log)
  repeats = len(log) - len(once)
  if not repeats:
    return log
  if settings.repeats == "drop":
    tell(
      f"repeats: {repeats:,} interactions with an item that the user had taken "
      "before left out (--repeats=keep keeps them)"
    )
    return once
  # Twice in one moment, the item would stand before itself.
  moments = filtering.deduplicate(log, same_moment=True)
  tell(
    f"repeats: {len(moments) - len(once):,} interactions with an item that the "
    f"user had taken before kept, {len(log) - len(moments):,} of the same "
    "moment left out"
  )
  return moments


def catalogue(
  items: catalog.Catalog,
  log: interaction.InteractionLog,
  settings: Settings,
  looks: catalog.Looks | None = None,
) -> catalog.Catalog:
  """The catalogue that is prepared, of what was read.

  Args:
    items: what was read.
    log: the interactions that count.
    settings: which items stay, and what they are called.
    looks: see `Catalog`.

  Returns:
    The catalogue.
  """
  keeps_all = settings.keep_rare_items or settings.min_interactions == 1
  return items.remade(
    kept=None if keeps_all else log.item_counts,
    retitled=item_text.article_first if settings.articles_first else None,
    looks=looks,
  )


def split(log: interaction.InteractionLog, settings: Settings) -> splits.Split:
  """Splits a log by the settings.

  Args:
    log: the interactions.
    settings: which split, and how many targets.

  Returns:
    The split, its requests without candidates.

  Raises:
    ValueError: where a setting belongs to the other split, or a split is left
      without requests.
  """
  most: dict[str, Any] = {
    "max_validation_targets": settings.max_validation_targets,
    "max_test_targets": settings.max_test_targets,
  }
  options: dict[str, Any] = {
    "max_history": settings.max_history,
    "max_train_targets": settings.max_train_targets,
  }
  if settings.split == "global_time":
    made = splits.global_time(log, **options, **most)
  elif given := [name for name, count in most.items() if count is not None]:
    raise ValueError(
      f"--{given[0]} needs --split=global_time: leave_one_out has one request "
      "of each user"
    )
  else:
    made = splits.leave_one_out(log, **options)
  _require_requests(made, log)
  return made


def _require_requests(
  made: splits.Split, log: interaction.InteractionLog
) -> None:
  """Fails where a split has nothing to train on, or nothing to evaluate."""
  counts = dict(made.requests.group_by("split").len().iter_rows())
  empty = [s for s in ("train", "validation", "test") if not counts.get(s)]
  if not empty:
    return
  if made.name == "global_time":
    times = log.frame["timestamp"]
    reason = (
      f"all {len(log):,} interactions have the same time, "
      f"{_moment(times.min())}; --split=leave_one_out needs no times"
      if times.n_unique() == 1
      else f"of the {log.num_users:,} users nobody has an earlier interaction "
      "and one in that window; give more data, or take --split=leave_one_out"
    )
  else:
    longest = int(log.frame.group_by("user_id").len()["len"].to_numpy().max())
    needed = 4 if empty == ["train"] else 3
    reason = (
      f"of the {log.num_users:,} users nobody has {needed} interactions, the "
      f"most are {longest}; give more data"
    )
  raise ValueError(
    f"{made.name} leaves no {' and no '.join(empty)} requests: {reason}"
  )


def requests(
  log: interaction.InteractionLog,
  items: catalog.Catalog,
  settings: Settings,
  tell: Tell,
) -> splits.Split:
  """Splits a log, checks it for leaks and draws candidates.

  Args:
    log: the interactions that count.
    items: the catalogue.
    settings: how.
    tell: takes a line for each step, as it begins.

  Returns:
    The split, with candidates and with warnings.

  Raises:
    ValueError: where a split is left without requests, or items are too few.
    LeakError: where the split shows what comes later.
  """
  tell(f"splitting {len(log):,} interactions")
  made = split(log, settings)
  warnings = [
    *leaks.check_split(made, log),
    *candidates.unseen_warnings(items, log, settings.negatives),
  ]
  tell(f"drawing candidates for {made.requests.height:,} requests")
  drawn = candidates.sample_candidates(
    made.requests,
    items,
    log,
    num_negatives=settings.num_negatives,
    strategy=settings.negatives,
    seed=settings.seed,
  )
  return dataclasses.replace(
    made, requests=drawn, warnings=(*made.warnings, *warnings)
  )
