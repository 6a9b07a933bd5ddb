"""The embedded runner: trains a `RankingModel` with nothing but PyPI.

Begins or goes on, and while `loop` takes the batch of each step and updates,
logs, evaluates on validation data, and saves every so often. Left out on
purpose: any knowledge of tasks and tokens (`instructrec.training.batches` has
it) and of what validation measures (`instructrec.training.validation`).
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import optax

from instructrec import progress
from instructrec.models import protocol
from instructrec.models.checkpoint import evaluations as evaluations_lib
from instructrec.settings import training
from instructrec.training import (
  batches,
  checkpoints,
  distributed,
  embedding_start,
  log_window,
  loop,
  profiling,
  saving,
  trackers,
  train_step,
  validation_lists,
  watchdog,
)
from instructrec.training import (
  mesh as mesh_lib,
)
from instructrec.training import (
  trainer as trainer_lib,
)
from instructrec.training import (
  validation as validation_lib,
)

_UNWATCHED = training.WatchSettings(hang_seconds=0)
INITIAL_EMBEDDINGS = ("random", "cooccurrence")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """What a training run needs besides data.

  Attributes:
    model: what to train.
    optimizer: how to update it.
    train_steps: updates in all.
    seed: of the initial parameters and of dropout.
    mesh: the device mesh.
    num_microbatches: parts of a batch computed one after the other.
    mean_loss: whether the gradient is the mean over what the objective counts
      in a batch (target tokens, lists, positions); False leaves the sum, as
      T5X does.
    log_period: steps between rows of the training log.
    eval_period: steps between evaluations on validation data.
    eval_steps: validation batches of each evaluation, for the loss.
    eval_lists: validation lists of each evaluation that are ranked, of each
      task of `DataConfig.eval_mixture`, drawn by seed; 0 for none.
    eval_cutoffs: each K of their HR@K and NDCG@K.
    best_metric: of validation, by which the best checkpoint is known, which
      stays beside the newest: the lowest of losses, the highest of others such
      as "NDCG@10"; None for no best one.
    patience: evaluations without a gain after which the run ends early; None
      for none.
    min_delta: by how much `best_metric` must be better than at the last gain to
      be one.
    floors: values of the training log, by name, below which the run has
      collapsed and ends; a value that is no number is below any.
    checkpoint_period: steps between checkpoints.
    keep_checkpoints: how many newest stay beside the best; None keeps all.
    initial_checkpoint: where to start from, of any form that `instructrec
      checkpoint` reads; its parameters alone are taken, and training begins
      at step 0 with a fresh optimizer. What it lacks of `title_matching` and
      of the value head is drawn. None starts from random parameters. A network
      with adapters is trained on it: every start of the run reads it, and must
      find the same.
    initial_embeddings: of a run from scratch: "random", or "cooccurrence" for
      those of `embedding_start`, which `train` is given.
  """

  model: protocol.RankingModel
  optimizer: optax.GradientTransformation
  train_steps: int
  seed: int = 0
  mesh: mesh_lib.MeshConfig = dataclasses.field(
    default_factory=mesh_lib.MeshConfig
  )
  num_microbatches: int = 1
  mean_loss: bool = True
  log_period: int = 50
  eval_period: int = 500
  eval_steps: int = 20
  eval_lists: int = 0
  eval_cutoffs: tuple[int, ...] = (1, 5, 10)
  best_metric: str | None = None
  patience: int | None = None
  min_delta: float = 0.0
  floors: Mapping[str, float] = dataclasses.field(default_factory=dict)
  checkpoint_period: int = 500
  keep_checkpoints: int | None = 3
  initial_checkpoint: str | None = None
  initial_embeddings: str = "random"

  def __post_init__(self) -> None:
    """Checks the counts and the start.

    Raises:
      ValueError: where a count is not positive, or the start is unknown or
        said twice.
    """
    if self.initial_embeddings not in INITIAL_EMBEDDINGS:
      raise ValueError(
        f"TrainConfig.initial_embeddings is {self.initial_embeddings!r}; "
        f"expected one of {', '.join(INITIAL_EMBEDDINGS)}"
      )
    if self.initial_embeddings != "random" and self.initial_checkpoint:
      raise ValueError(
        f"TrainConfig.initial_embeddings is {self.initial_embeddings!r} and "
        f"initial_checkpoint {self.initial_checkpoint!r}; a checkpoint brings "
        "its own embeddings, set INITIAL_EMBEDDINGS = 'random'"
      )
    for field in (
      "train_steps",
      "num_microbatches",
      "log_period",
      "eval_period",
      "eval_steps",
      "checkpoint_period",
    ):
      if getattr(self, field) < 1:
        raise ValueError(
          f"TrainConfig.{field} is {getattr(self, field)}, expected at least 1"
        )
    self._check_validation()

  def _check_validation(self) -> None:
    """Checks what validation is to measure and choose."""
    if self.eval_lists < 0 or self.min_delta < 0:
      raise ValueError(
        f"TrainConfig.eval_lists is {self.eval_lists} and min_delta "
        f"{self.min_delta}, expected at least 0"
      )
    if min(self.eval_cutoffs, default=0) < 1:
      raise ValueError(
        f"TrainConfig.eval_cutoffs is {self.eval_cutoffs}, expected some K of "
        "1 or more"
      )
    if self.patience is not None and (
      self.patience < 1 or self.best_metric is None
    ):
      raise ValueError(
        f"TrainConfig.patience (PATIENCE) is {self.patience} and best_metric "
        f"(BEST_METRIC) {self.best_metric!r}, expected at least 1, and a "
        "metric whose gains are awaited"
      )
    ranks = [f"{n}@{k}" for n in ("HR", "NDCG") for k in self.eval_cutoffs]
    wanted = self.best_metric or ""
    if "@" in wanted and not (self.eval_lists and wanted in ranks):
      raise ValueError(
        f"TrainConfig.best_metric (BEST_METRIC) is {wanted!r}, which is not "
        f"measured: eval_lists (EVAL_LISTS) is {self.eval_lists}, and "
        f"eval_cutoffs (EVAL_CUTOFFS) give {', '.join(ranks)}; 'loss' needs "
        "none"
      )


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a run came to.

  Attributes:
    state: the final state.
    evaluations: what chose the best checkpoint; None where nothing did.
    stopped_early: whether it ended before its last step, without a gain.
  """

  state: train_step.TrainState
  evaluations: evaluations_lib.Evaluations | None = None
  stopped_early: bool = False


def train(
  config: TrainConfig,
  stream: batches.BatchStream,
  validation: batches.BatchStream | None,
  output_dir: str | os.PathLike[str],
  *,
  lists: validation_lists.ValidationLists | None = None,
  watched: training.WatchSettings = _UNWATCHED,
  described: Mapping[str, str] | None = None,
  embeddings: Callable[[], embedding_start.EmbeddingStart] | None = None,
  begin: Callable[[int, int], None] = lambda step, left: None,
  check: Callable[[], None] = lambda: None,
  tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
  """Trains to `config.train_steps`, going on from the newest checkpoint.

  Writes `metrics.jsonl`, `tensorboard/` and `checkpoints/` under
  `output_dir`, where nobody else may write (`run_dir.locked`). On SIGTERM it
  saves and exits with status 143, on SIGINT (Ctrl-C) with 130. With several
  processes each of them calls this, with a folder that all share; the number
  may change from one start to the next.

  Args:
    config: the run's settings.
    stream: training batches.
    validation: validation batches, or None.
    output_dir: the run's folder.
    lists: validation lists, ranked beside the loss; None for none.
    watched: where its rows go beside the folder, which steps are profiled, and
      after how long a step is taken for hung.
    described: settings by name, for trackers that show them.
    embeddings: makes what embeddings begin with, asked for at step 0; None for
      random ones.
    begin: called with the step that training goes on from and how many are
      left, once it is known that the folder holds this run or none.
    check: called before each save; raises where the folder is no longer this
      run's.
    tell: shows a line, of the lead.

  Returns:
    The final state, and what validation said.

  Raises:
    DivergedError: where loss or parameters are not finite; the last checkpoint
      stays, and holds finite ones.
    CollapsedError: where a value is below its floor; likewise.
    CheckpointMismatchError: where the folder holds another run.
    OSError: where the disk has no room for a checkpoint.
    ValueError: where the processes mean different runs, or validation does not
      measure what is to choose.
  """
  output = pathlib.Path(output_dir)
  output.mkdir(parents=True, exist_ok=True)
  trainer = trainer_lib.Trainer.create(config, stream.shapes)
  store = checkpoints.Checkpoints(
    output / "checkpoints", keep=config.keep_checkpoints
  )
  state, position, window = _begun(trainer, store, stream, embeddings)
  # All processes count together, once they are known to mean the same run.
  trainer = trainer.for_groups(stream)
  validated = validation_lib.begun(trainer, validation, lists, state, store)
  start = int(state.step)
  stopped = validated is not None and validated.stops
  left = 0 if stopped else max(config.train_steps - start, 0)
  begin(start, left)
  if not distributed.is_lead():
    tell = _silent
  with (
    # Around the store: what is being saved when a signal comes is saved.
    distributed.StopOnSignal() as stop,
    contextlib.closing(store),
    trackers.opened(output, start, watched.trackers, described) as logs,
    watchdog.Watchdog(watched.hang_seconds, start) as dog,
    profiling.Profile(output, watched.profiled, tell) as profile,
    mesh_lib.use(trainer.mesh, config.mesh),
    progress.Progress(
      config.train_steps,
      "train",
      unit="steps",
      initial=start,
      enabled=distributed.is_lead(),
    ) as line,
  ):
    saves = saving.Saves(store, position, window, check)
    steps = range(start, start + left)
    events = loop.events(
      trainer, state, stream, steps, validated, window, dog, profile
    )
    return _followed(
      events,
      state,
      validated,
      logs=logs,
      line=line,
      saves=saves,
      stop=stop,
      dog=dog,
    )


def _followed(
  events: Iterable[loop.Event],
  state: train_step.TrainState,
  validated: validation_lib.Validation | None,
  *,
  logs: Sequence[trackers.Tracker],
  line: progress.Progress,
  saves: saving.Saves,
  stop: distributed.StopOnSignal,
  dog: watchdog.Watchdog,
) -> Outcome:
  """Does what is due: writes rows, saves, and stops early or on a signal."""
  evaluated = None if validated is None else validated.evaluations
  stopped = validated is not None and validated.stops
  for step, state, event, values in events:
    dog.alive()
    is_best = False
    if event in ("train", "validation"):
      for log in logs:
        log.write(step, event, values)
    if event == "train":
      line.note(
        f"loss {values['loss']:.3f}, {values['tokens_per_s']:,.0f} tok/s"
      )
    if event == "validation" and validated is not None:
      is_best = validated.note(step, values)
      evaluated, stopped = validated.evaluations, validated.stops
      line.write(_in_words(step, values, is_best=is_best))
    if event == "checkpoint" or is_best or (event == "step" and stopped):
      saves(state, evaluated)
    if event == "step":
      line.advance()
      if stop.reached(step):
        saves(state, evaluated)
        saves.store.wait()
        raise SystemExit(stop.status)
      if stopped:
        break
  return Outcome(state, evaluated, stopped)


def _begun(
  trainer: trainer_lib.Trainer,
  store: checkpoints.Checkpoints,
  stream: batches.BatchStream,
  embeddings: Callable[[], embedding_start.EmbeddingStart] | None,
) -> tuple[train_step.TrainState, dict[str, Any], log_window.LogWindow]:
  """The state that training goes on from, whose run it is, and its open row.

  Fails where the processes mean different runs, or the disk has no room.
  """
  base = trainer.read_base()
  seed = {"run_seed": trainer.config.seed}
  position = stream.identity | seed | dict(base.identity)
  distributed.check_agreement(
    {
      "the order of the training data": position,
      f"the list of checkpoints in {store.directory.parent}": store.steps,
    }
  )
  distributed.by_lead("room", lambda: saving.check_room(trainer, store))
  if not store.steps:
    start = None if embeddings is None else embeddings()
    return trainer.init(start, base), position, log_window.LogWindow({})
  state = base.complete(store.restore(trainer.abstract_state, position))
  return state, position, log_window.LogWindow(store.log_window())


def _silent(line: str) -> None:
  """Leaves a line to the lead."""


def _in_words(step: int, values: dict[str, float], *, is_best: bool) -> str:
  """An evaluation for the screen."""
  # Those of single places are in the log.
  shown = {
    n: v for n, v in values.items() if not n.rpartition("_")[2].isdecimal()
  }
  found = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
  return f"step {step}: validation {found}{' (the best)' if is_best else ''}"
