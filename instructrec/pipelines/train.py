"""Gin and instructions in, a trained model folder out."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from instructrec import recorded_folder
from instructrec.alignment import list_objective
from instructrec.evaluation import bias, environment
from instructrec.instructions import title_list
from instructrec.models import ranking_model, tokenizer
from instructrec.models.networks import adapters
from instructrec.pipelines import training_data
from instructrec.settings import training
from instructrec.training import (
  batches,
  data_config,
  distributed,
  gin_config,
  item_table,
  item_titles,
  own_checkpoints,
  run_dir,
  runner,
)

_Tell = Callable[[str], None]
_NOTHING: Mapping[str, Any] = {}


def train(
  settings: training.TrainingSettings,
  tell: _Tell = print,
  *,
  known: Mapping[str, Any] = _NOTHING,
) -> None:
  """Trains a run, or goes on with it.

  Args:
    settings: gin files, data and the run's folder.
    tell: shows a line.
    known: further entries of the run's record.

  Raises:
    FileNotFoundError: where gin files or data are missing.
    InUseError: where another process trains in the run's folder.
    OSError: where that cannot be written to, or has no room.
    ValueError: for what does not fit: bindings, folders, vocabulary, items.
  """
  for option in ("tfds_data_dir", "model_dir"):
    _check_folder(option, getattr(settings, option))
  gin_config.parse(settings.gin_files, settings.bindings)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  gin_config.check_all_used()
  distributed.check_agreement({"the gin config": gin_config.config_text()})
  with run_dir.locked(settings.model_dir, tell) as check:
    opened = training_data.TrainingData.open(
      settings.tfds_data_dir, config, data
    )
    if data.list_length:
      config = _rewarded(config, settings.tfds_data_dir, opened.vocabulary)
    gin_config.record(
      data_config.DataConfig,
      {f.field: f.width for f in opened.features if not f.given},
    )
    if distributed.is_lead():
      opened.describe(tell)
      if config.model.network_config.adapter is not None:
        tell(adapters.in_words(_parameter_shapes(config, opened.stream)))
    record = _Record(settings, config, opened, known, tell)
    outcome = runner.train(
      config,
      opened.stream,
      opened.validation,
      settings.model_dir,
      lists=opened.lists,
      watched=settings.watched,
      described=gin_config.bindings(),
      embeddings=opened.embeddings(config, tell),
      begin=record.begin,
      check=check,
      tell=tell,
    )
    record.end(outcome)


class _Record:
  """Writes what the run is when it begins, and how long it took at its end."""

  def __init__(
    self,
    settings: training.TrainingSettings,
    config: runner.TrainConfig,
    data: training_data.TrainingData,
    known: Mapping[str, Any],
    tell: _Tell,
  ) -> None:
    self._settings, self._config = settings, config
    self._data, self._tell = data, tell
    self._record: dict[str, Any] = {
      "command": {
        "gin_files": list(settings.gin_files),
        "bindings": list(settings.bindings),
      },
      **recorded_folder.record(
        "tfds_data_dir", settings.tfds_data_dir, settings.model_dir
      ),
      "instructions_fingerprint": data.fingerprint,
      **_base(config, settings),
      **known,
      "environment": environment.describe(),
    }
    self._started, self._first = time.perf_counter(), 0

  def begin(self, step: int, left: int) -> None:
    """The folder is known to hold this run, at this step, or none."""
    self._first = step
    if not distributed.is_lead():
      return
    folder, total = self._settings.model_dir, self._config.train_steps
    if step:
      self._tell(
        f"goes on from checkpoint_{step} in {folder}: "
        f"{left:,} of {total:,} steps are left"
      )
      if left < total - step:
        self._tell(
          f"it ended early, after {self._config.patience} evaluations without "
          f"a gain of {self._config.best_metric}; a larger PATIENCE goes on"
        )
    if left:
      run_dir.save(
        folder,
        vocabulary=self._data.vocabulary,
        record=self._record,
        items=self._data.table,
        step=step,
      )
    elif changed := run_dir.untrained_changes(folder):
      self._tell(
        "nothing is trained with what was changed, so the record of the run "
        f"stays: {changed}"
      )

  def end(self, outcome: runner.Outcome) -> None:
    """The run has come to its end."""
    step, found = int(outcome.state.step), outcome.evaluations
    seconds = time.perf_counter() - self._started
    folder = self._settings.model_dir
    # Of settings that trained nothing, nothing is written down.
    if not distributed.is_lead() or run_dir.untrained_changes(folder):
      return
    # Of a run that was stopped, the time of its earlier starts is not known; of
    # one that was stopped after its last step, the end is not written yet.
    run_dir.finish(
      folder,
      seconds if self._first == 0 else None,
      found,
      stopped_early=step if outcome.stopped_early else None,
    )
    if self._first == step:
      return
    if outcome.stopped_early:
      self._tell(
        f"ends early: {self._config.patience} evaluations without a gain of "
        f"{self._config.best_metric}"
      )
    self._tell(
      f"trained to step {step} in {seconds:,.0f} s; checkpoints and logs in "
      f"{folder}"
    )
    if found is not None and found.best is not None:
      self._tell(
        f"the best is checkpoint_{found.best[0]}: {found.metric} of validation "
        f"{found.best[1]:.4g}"
      )


def _rewarded(
  config: runner.TrainConfig, folder: pathlib.Path, vocabulary: pathlib.Path
) -> runner.TrainConfig:
  """The run's settings with the items of a folder in its objective."""
  model = config.model
  if not isinstance(model, ranking_model.NetworkRankingModel):
    raise ValueError(
      "LIST_LENGTH has batches say what is asked of lists, which a "
      f"{type(model).__name__} does not read; set --gin.LIST_LENGTH=0"
    )
  trie = item_titles.ItemTitles(folder, vocabulary)(
    vocab_size=model.vocab_size, eos_id=model.network_config.eos_id
  )
  words = tokenizer.Tokenizer(vocabulary)
  counts = item_table.ItemTable.load(folder).counts
  learnt = list_objective.bound(
    model.objective,
    trie,
    words.separator_ids(title_list.SENTINELS),
    bias.popularity_ranks(counts),
  )
  return dataclasses.replace(config, model=model.learning(learnt))


def _parameter_shapes(
  config: runner.TrainConfig, stream: batches.BatchStream
) -> dict[str, Any]:
  variables = jax.eval_shape(
    lambda rng: config.model.get_initial_variables(rng, stream.shapes),
    jax.random.key(0),
  )
  return variables["params"]


def _base(
  config: runner.TrainConfig, settings: training.TrainingSettings
) -> dict[str, str]:
  """Where the network of adapters lies, which is not in the run."""
  path = config.initial_checkpoint
  if config.model.network_config.adapter is None or path is None:
    return {}
  return own_checkpoints.base_record(path, settings.model_dir)


def _check_folder(option: str, path: pathlib.Path) -> None:
  # A pathlib.Path has made one slash of the two in gs://.
  if path.parts and path.parts[0] in ("gs:", "s3:"):
    raise ValueError(
      f"--{option}={path} is a bucket, expected a folder: the embedded "
      "runner maps its data into memory. Mount the bucket (docs/pods.md), "
      "or train with T5X, which reads and writes buckets itself"
    )
