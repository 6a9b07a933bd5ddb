"""From raw data to requests: read, filter, split, draw candidates, freeze."""

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

from instructrec import output_folder
from instructrec.data import (
  candidates,
  catalog,
  dataset,
  distinct_titles,
  filtering,
  interaction,
  item_text,
  leaks,
  sources,
  splits,
  values,
)
from instructrec.settings.preparation import (
  PrepareSettings,
  Repeats,
  SplitName,
)

Tell = Callable[[str], None]
_LONG = 100_000
"""Interactions that take long enough for steps to be named."""


def prepare(
  settings: PrepareSettings,
  *,
  looks: distinct_titles.Looks | None = None,
  tell: Tell,
  step: Tell,
) -> dataset.PreparedData:
  """Reads raw data and writes prepared data.

  Args:
    settings: which, and how.
    looks: what else must tell titles apart; see `catalog.Catalog`.
    tell: takes a line for what should be known.
    step: takes a line for what takes long, as it begins.

  Returns:
    What was written.

  Raises:
    FileExistsError: where the output exists.
    FileNotFoundError: where files are missing.
    ValueError: where files cannot be read, or nothing is left of them.
  """
  output_folder.check(
    settings.output, overwrite=settings.overwrite, marker=dataset.MARKER
  )
  raw = sources.load(settings.raw, seed=settings.seed, tell=tell, step=step)
  tell(f"read {_described(raw.log, raw.catalog)}; {raw.bad.report()}")
  for note in raw.bad.notes:
    tell(f"note: {note}")
  log = filtered(raw.log, settings, tell)
  items = catalogue(raw.catalog, log, settings, looks)
  long = step if len(log) >= _LONG else lambda text: None
  made = requests(log, items, settings, long)
  long(f"writing {settings.output}")
  prepared = dataset.save(
    settings.output,
    log=log,
    items=items,
    split=made,
    overwrite=settings.overwrite,
    record=_record(settings, raw, items),
  )
  _tell_result(settings, raw, prepared, tell)
  return prepared


def _record(
  settings: PrepareSettings, raw: sources.RawData, items: catalog.Catalog
) -> dict[str, Any]:
  """What the manifest says of how the data were made."""
  source, vocabulary = settings.raw, settings.vocabulary
  return {
    "source": {
      "kind": raw.kind,
      "input": None if source.input is None else str(source.input),
      "download": source.download,
      "checksums": raw.checksums,
      "notes": raw.bad.notes,
    },
    "min_rating": settings.min_rating,
    "repeats": settings.repeats,
    "min_interactions": settings.min_interactions,
    "catalog": {
      "keep_rare_items": settings.keep_rare_items,
      "articles_first": settings.articles_first,
      "vocabulary": None if vocabulary is None else str(vocabulary),
      "rare_items_left_out": len(raw.catalog) - len(items),
      "cleaning": dataclasses.asdict(items.cleaning),
    },
    "candidates": {
      "num_negatives": settings.num_negatives,
      "strategy": settings.negatives,
    },
    "seed": settings.seed,
    "bad_rows": raw.bad.report(),
  }


def _tell_result(
  settings: PrepareSettings,
  raw: sources.RawData,
  prepared: dataset.PreparedData,
  tell: Tell,
) -> None:
  counts, items = prepared.manifest["counts"], prepared.catalog
  tell(
    f"kept {counts['interactions']:,} interactions of {counts['users']:,} "
    f"users, {counts['reviews']:,} with a review\n"
    f"requests: {counts['requests']}, each with {settings.num_negatives} "
    f"{settings.negatives} negatives"
  )
  if len(items) < len(raw.catalog):
    tell(
      f"{len(raw.catalog) - len(items):,} items outside the core left the "
      f"catalogue of {len(raw.catalog):,} (--keep_rare_items keeps them)"
    )
  if items.num_title_collisions:
    tell(
      f"{items.num_title_collisions:,} titles that look like another item's "
      "got brand, year or a number behind them"
    )
  for warning in (*items.cleaning.remarks(), *prepared.split.warnings):
    tell(f"note: {warning}")
  tell(f"written to {settings.output}; fingerprint {prepared.fingerprint[:23]}")


def _described(log: interaction.InteractionLog, items: catalog.Catalog) -> str:
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
  log: interaction.InteractionLog, settings: PrepareSettings, tell: Tell
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
  log: interaction.InteractionLog, settings: PrepareSettings, tell: Tell
) -> interaction.InteractionLog:
  once = filtering.deduplicate(log)
  repeats = len(log) - len(once)
  if not repeats:
    return log
  if settings.repeats == Repeats.drop:
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
  settings: PrepareSettings,
  looks: distinct_titles.Looks | None = None,
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


def split(
  log: interaction.InteractionLog, settings: PrepareSettings
) -> splits.Split:
  """Splits a log by the settings.

  Args:
    log: the interactions.
    settings: which split, and how many targets.

  Returns:
    The split, its requests without candidates.

  Raises:
    ValueError: where a split is left without requests.
  """
  most: dict[str, Any] = {
    "max_validation_targets": settings.max_validation_targets,
    "max_test_targets": settings.max_test_targets,
  }
  options: dict[str, Any] = {
    "max_history": settings.max_history,
    "max_train_targets": settings.max_train_targets,
  }
  if settings.split == SplitName.global_time:
    made = splits.global_time(log, **options, **most)
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
  settings: PrepareSettings,
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
    *candidates.unseen_warnings(items, log, settings.negatives.value),
  ]
  tell(f"drawing candidates for {made.requests.height:,} requests")
  drawn = candidates.sample_candidates(
    made.requests,
    items,
    log,
    num_negatives=settings.num_negatives,
    strategy=settings.negatives.value,
    seed=settings.seed,
  )
  return dataclasses.replace(
    made, requests=drawn, warnings=(*made.warnings, *warnings)
  )
