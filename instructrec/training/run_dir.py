"""What a run leaves in its folder, and how it is opened again.

`<model_dir>/run.json` says where its data are, under which versions it ran and
with which settings from which step on; `config.gin` holds every binding of its
newest part; `vocabulary/` a copy of the SentencePiece model; `items.parquet` a
copy of the item table, where the run reads items or writes their titles;
`SHA256SUMS` the hashes of these, which are checked when they are read
(`run.json` holds its own); `checkpoints/`, `metrics.jsonl`, `tensorboard/` come
from the runner; `run.lock` is there while a process trains.
"""

import contextlib
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from instructrec import checksums, folder_lock, records
from instructrec.evaluation import loss_log
from instructrec.models import tokenizer
from instructrec.models.checkpoint import evaluations as evaluations_lib
from instructrec.models.checkpoint import storage
from instructrec.training import (
  data_config,
  distributed,
  gin_config,
  item_table,
  item_titles,
  own_checkpoints,
  run_history,
  run_record,
  runner,
  strict_gin,
  trained_run,
)

CONFIG = "config.gin"
LOCK = "run.lock"
PROMOTION = "promotion"
"""Entry of the record of a run that was aligned: whether it is to be used."""
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"
_LOG = logging.getLogger(__name__)
_REMEDY = (
  "copy the run again; of one that is not finished, `instructrec train` writes "
  "anew what lies beside its checkpoints"
)
_WHERE = ("tfds_data_dir", "tfds_data_dir_relative", "instructions_fingerprint")


@contextlib.contextmanager
def locked(
  directory: str | os.PathLike[str], tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
  """Keeps other runs out of a model folder; of several processes, the lead.

  Args:
    directory: the model folder; made where it is missing.
    tell: shows a line.

  Yields:
    What fails where the folder is this run's no more; to be asked before
    something is written there.

  Raises:
    InUseError: where another run is trained there.
    OSError: where it cannot be written to.
  """
  folder = pathlib.Path(directory)
  lock = folder_lock.FolderLock(
    folder / LOCK, folder=directory, command="train", tell=tell
  )
  with contextlib.ExitStack() as stack:

    def enter() -> None:
      if is_t5xs(folder):
        raise FileExistsError(
          f"{folder} holds a run of T5X ({CONFIG} without "
          f"{run_record.FILE}), whose record would be overwritten; name "
          "another --model_dir"
        )
      stack.enter_context(lock)
      _check_checkpoints(folder / own_checkpoints.FOLDER)

    distributed.by_lead("lock", enter)
    yield lock.check if distributed.is_lead() else lambda: None


def is_t5xs(directory: str | os.PathLike[str]) -> bool:
  """Whether a folder looks like a MODEL_DIR of T5X: settings, no record."""
  folder = pathlib.Path(directory)
  return (
    (folder / CONFIG).is_file()
    and not (folder / run_record.FILE).is_file()
    # Else it is a run of ours that lost its record.
    and checksums.listed(folder, CONFIG, _REMEDY) is None
  )


def _check_checkpoints(folder: pathlib.Path) -> None:
  """Fails where checkpoints could not be written; before hours of training."""
  storage.check_name(folder)
  if folder.exists() and not folder.is_dir():
    raise NotADirectoryError(
      f"{folder} is a file, expected the folder of checkpoints; remove it or "
      "name another --model_dir"
    )
  if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
    raise PermissionError(
      f"{folder} cannot be written to; let this user write there, or name "
      "another --model_dir"
    )


def save(
  directory: str | os.PathLike[str],
  *,
  vocabulary: str | os.PathLike[str],
  record: dict[str, Any],
  items: str | os.PathLike[str] | None = None,
  step: int = 0,
) -> None:
  """Writes `config.gin`, `run.json`, the vocabulary and the item table.

  To be called when it is known that what the folder holds is of the same run,
  and that it is trained further: the record is of what was trained.

  Args:
    directory: the model folder; made where it is missing.
    vocabulary: the SentencePiece model of the data.
    record: what `run.json` holds; JSON values. The settings of gin and the
      starts of the run are added.
    items: the item table of the data; None where the run needs none.
    step: that training goes on from.

  Raises:
    ValueError: where the folder holds a run with another vocabulary or other
      items.
  """
  folder = pathlib.Path(directory)
  _copy(vocabulary, folder, VOCABULARY.as_posix(), "another vocabulary")
  if items is not None:
    _copy(items, folder, item_table.FILE, "other items")
  history = run_history.go_on(
    run_record.read(folder), step, gin_config.bindings()
  )
  # First what knows the past: a kill leaves it whole, and the config as it was.
  run_record.write(folder, {**record, **history})
  records.replace(folder / CONFIG, gin_config.config_text())
  names = [CONFIG, VOCABULARY.as_posix()]
  checksums.write(folder, [*names, *([item_table.FILE] if items else [])])


def finish(
  directory: str | os.PathLike[str],
  seconds: float | None,
  evaluations: evaluations_lib.Evaluations | None = None,
  stopped_early: int | None = None,
) -> None:
  """Writes down how a run ended, where there is a record of it.

  What chooses its best checkpoint are the checkpoints; this is for people.

  Args:
    directory: the model folder.
    seconds: from its start to its end; None for a run that was stopped.
    evaluations: what validation said; None where nothing chose.
    stopped_early: the step at which it ended without a gain; None where it came
      to its last one.
  """
  folder = pathlib.Path(directory)
  record = run_record.read(folder)
  if not record:  # Nothing was trained, or it was removed.
    return
  if seconds is not None:
    record["train_seconds"] = round(seconds, 1)
  if evaluations is not None and evaluations.best is not None:
    step, value = evaluations.best
    best = {"step": step, "metric": evaluations.metric, "value": value}
    record["best_checkpoint"] = best
  if stopped_early is not None:
    record["stopped_early"] = stopped_early
  run_record.write(folder, record)


def judge(
  directory: str | os.PathLike[str], decision: Mapping[str, Any]
) -> None:
  """Writes down whether a run is to be used; training on forgets it.

  Args:
    directory: the model folder.
    decision: `promoted`, `reasons`, `model_dir` (what it began with) and more;
      JSON values.
  """
  folder = pathlib.Path(directory)
  record = run_record.read(folder)
  run_record.write(folder, {**record, PROMOTION: dict(decision)})


def untrained_changes(directory: str | os.PathLike[str]) -> str:
  """Which settings of gin are others than those that a run was trained with.

  Args:
    directory: the model folder.

  Returns:
    Their names and values in words; empty where there are none, or the folder
    has no record.
  """
  known = run_record.read(pathlib.Path(directory)).get(run_history.SETTINGS)
  if known is None:
    return ""
  return run_history.in_words(
    run_history.differences(known, gin_config.bindings())
  )


def _copy(
  source: str | os.PathLike[str], folder: pathlib.Path, name: str, other: str
) -> None:
  """Copies a file that no run in the folder may have another one of."""
  copy = folder / name
  if copy.exists():
    if tokenizer.fingerprint(copy) == tokenizer.fingerprint(source):
      return
    if _listed(folder, name) != tokenizer.fingerprint(source):
      raise ValueError(
        f"{copy} is of a run with {other} than {source}; train into another "
        "folder"
      )
    _LOG.warning("%s is damaged, and copied anew from %s", copy, source)
  copy.parent.mkdir(parents=True, exist_ok=True)
  temporary = copy.with_name(f"{copy.name}.tmp")
  shutil.copyfile(source, temporary)
  temporary.replace(copy)


def _listed(folder: pathlib.Path, name: str) -> str | None:
  """The fingerprint of a file that the folder's list has, if it is whole."""
  try:
    found = checksums.listed(folder, name, "it is written anew")
  except checksums.DamagedError as error:
    _LOG.warning("%s", error)
    return None
  return None if found is None else f"sha256:{found}"


def holding(
  path: str | os.PathLike[str], *, modules: Sequence[str] = ()
) -> trained_run.Run | None:
  """The run that a path is of.

  Args:
    path: of its folder, that of its checkpoints, or one of them.
    modules: see `load`.

  Returns:
    The run; None where the path is of something else.
  """
  whole = pathlib.Path(path).resolve()
  for folder in (whole, *whole.parents[:2]):
    inside = whole.relative_to(folder).parts[:1]
    if (folder / run_record.FILE).is_file() and inside in (
      (),
      (own_checkpoints.FOLDER,),
    ):
      return load(folder, modules=modules)
  return None


def load(
  directory: str | os.PathLike[str], *, modules: Sequence[str] = ()
) -> trained_run.Run:
  """Opens a run's folder, which may be anyone's: see `strict_gin`.

  Args:
    directory: the model folder.
    modules: Python modules that its settings may name beside ours; they are
      imported where it does.

  Returns:
    The run.

  Raises:
    FileNotFoundError: where no run was started in the folder.
    DamagedError: where settings, record or vocabulary were changed.
    NotAllowedError: where its settings name anything else.
    ValueError: where its settings cannot be read.
  """
  folder = pathlib.Path(directory).absolute()
  if is_t5xs(folder):
    raise FileNotFoundError(
      f"{folder} holds a run of T5X ({CONFIG} without {run_record.FILE}), "
      "which `evaluate` and `rank` open"
    )
  for name in (CONFIG, run_record.FILE):
    if not (folder / name).is_file():
      raise FileNotFoundError(
        f"{folder} holds no run ({name} is missing); `instructrec train "
        f"--model_dir={directory}` makes one"
      )
  checksums.verify(folder, _REMEDY, [CONFIG])
  record = run_record.read(folder)
  if missing := [name for name in _WHERE if name not in record]:
    raise ValueError(
      f"{folder / run_record.FILE} lacks {', '.join(missing)}, by which its "
      "data are found: an earlier version wrote it; train the run again"
    )
  settings = strict_gin.StrictGin.open(folder / CONFIG, modules)
  data = settings.build(data_config.DataConfig)
  settings.check_task_modules(data.modules)
  if data.unknown:
    raise ValueError(
      f"{folder / CONFIG} leaves {', '.join(data.unknown)} of its data open; "
      "expected the lengths that `instructrec train` writes: " + _REMEDY
    )
  train = settings.build(runner.TrainConfig)
  if checksums.is_known(folder, VOCABULARY.as_posix(), _REMEDY):
    checksums.verify(folder, _REMEDY, [VOCABULARY])
  vocabulary = folder / VOCABULARY
  titles = item_titles.ItemTitles(folder, vocabulary, data.targets_length)
  return trained_run.Run(
    directory=folder,
    model=item_titles.bound(train.model.merged(), titles),
    data=data,
    vocabulary=vocabulary,
    items=folder,
    parameters=own_checkpoints.OwnCheckpoints(
      folder, train.model.network_config.adapter
    ),
    start=trained_run.Start(
      train.seed, train.initial_checkpoint, train.initial_embeddings
    ),
    layout=train.mesh,
    record=record,
    config=(folder / CONFIG).read_text(encoding="utf-8"),
    train_seconds=record.get("train_seconds"),
    log=folder / loss_log.FILE,
  )
