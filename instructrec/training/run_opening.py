"""Opens a run for evaluation and ranking, whichever runner trained it."""

import logging

from instructrec.settings import run as run_settings
from instructrec.training import run_dir, t5x_run, trained_run

_LOG = logging.getLogger(__name__)


def open_run(settings: run_settings.RunSettings) -> trained_run.Run:
  """Opens a run that is named by its folder, or made of gin files.

  Args:
    settings: which run, and where its parts lie.

  Returns:
    The run; its parameters are not read yet.

  Raises:
    FileNotFoundError: where there is no run, or parts of it are not said.
    NotAllowedError: where its settings name what they may not.
    ValueError: where its settings cannot be read or do not fit, or the folder
      is a bucket.
  """
  folder = settings.model_dir
  if folder is None:
    assert settings.checkpoint is not None
    return t5x_run.of_files(
      settings.gin_files,
      settings.bindings,
      checkpoint=settings.checkpoint,
      tfds_data_dir=settings.tfds_data_dir,
      vocabulary=settings.vocabulary,
      modules=settings.modules,
    )
  # A pathlib.Path has made one slash of the two in gs://.
  if folder.parts and folder.parts[0].endswith(":"):
    raise ValueError(
      f"--model_dir={folder} is a bucket, expected a folder; pass its "
      "checkpoint_<step> as --checkpoint, which may be in a bucket, with "
      "--gin_file for its model"
    )
  if run_dir.is_t5xs(folder):
    return t5x_run.load(
      folder,
      tfds_data_dir=settings.tfds_data_dir,
      vocabulary=settings.vocabulary,
      modules=settings.modules,
    )
  if settings.vocabulary is not None:
    raise ValueError(
      f"--vocabulary={settings.vocabulary}: the run in {folder} has a copy of "
      "its vocabulary"
    )
  run = run_dir.load(folder, modules=settings.modules)
  _warn_of_refusal(run)
  return run


def _warn_of_refusal(run: trained_run.Run) -> None:
  """Says that a run was aligned and is not to be used."""
  decision = run.record.get(run_dir.PROMOTION)
  if decision is None or decision["promoted"]:
    return
  _LOG.warning(
    "%s was aligned and not promoted (%s); use the run that it began with, %s",
    run.directory,
    "; ".join(decision["reasons"]),
    decision["model_dir"],
  )
