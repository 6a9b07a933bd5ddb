"""A log in, a fitted retriever out: what `instructrec retrieve fit` does."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from instructrec import output_folder, recorded_folder
from instructrec.data import dataset, request
from instructrec.retrieval import methods, retriever, tuning
from instructrec.settings import retrieval


def fit(
  settings: retrieval.FitSettings, tell: Callable[[str], None] = print
) -> retriever.Retriever:
  """Fits a retriever on the training log, tunes it, and saves it.

  Args:
    settings: which method, on which data.
    tell: shows a line.

  Returns:
    The best of the trials.

  Raises:
    FileExistsError: where the output exists and is not to be replaced.
    FileNotFoundError: where there are no prepared data.
    InUseError: where another process makes the output.
    ValueError: for unknown methods and settings, and data without validation
      requests.
  """
  with output_folder.locked(settings.output, "retrieve fit", tell):
    output_folder.check(
      settings.output, overwrite=settings.overwrite, marker=retriever.MARKER
    )
    return _fit(settings, tell)


def _fit(
  settings: retrieval.FitSettings, tell: Callable[[str], None]
) -> retriever.Retriever:
  defaults, given = methods.settings(settings.method), _given(settings)
  prepared = dataset.load(settings.data)
  validation = request.from_frame(
    prepared.requests.sample(
      "validation", settings.num_validation, settings.seed
    )
  )
  best, trials = tuning.tune(
    settings.method,
    prepared.split.training_log,
    prepared.catalog,
    validation,
    num_trials=settings.num_trials,
    seed=settings.seed,
    given=given,
  )
  best.save(
    settings.output,
    overwrite=settings.overwrite,
    record={
      **recorded_folder.record("prepared_dir", settings.data, settings.output),
      "prepared_fingerprint": prepared.fingerprint,
      "num_validation": len(validation),
      "seed": settings.seed,
      "trials": [dataclasses.asdict(trial) for trial in trials],
      "epochs": getattr(best, "epochs", None),
    },
  )
  chosen = dataclasses.asdict(best)  # type: ignore[call-overload]
  _tell(trials, chosen, defaults, tell)
  tell(
    f"{settings.method}: {len(trials)} trials, {len(validation):,} validation "
    f"requests over {len(prepared.catalog):,} items; written to "
    f"{settings.output}"
  )
  return best


def _given(settings: retrieval.FitSettings) -> dict[str, Any]:
  """What every trial has.

  A method without epochs or randomness is tuned in as many trials.
  """
  defaults = methods.settings(settings.method)
  given = dict(settings.settings)
  if settings.max_epochs is not None and "max_epochs" in defaults:
    given["max_epochs"] = settings.max_epochs
  if "seed" in defaults:
    given.setdefault("seed", settings.seed)
  return given


def _tell(
  trials: Sequence[tuning.Trial],
  chosen: dict[str, Any],
  defaults: dict[str, Any],
  tell: Callable[[str], None],
) -> None:
  """Says what was tried and what came of it."""
  for trial in trials:
    mark = "*" if trial.settings == chosen else " "
    changed = {k: v for k, v in trial.settings.items() if v != defaults[k]}
    epochs = "" if trial.epochs is None else f", {trial.epochs} epochs"
    tell(
      f"{mark} validation NDCG@10 {trial.ndcg_at_10:.4f}, "
      f"{trial.seconds:,.0f} s{epochs}; {changed or 'defaults'}"
    )
