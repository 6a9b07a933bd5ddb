"""The embedded runner: trains a `RankingModel` with nothing but PyPI.

One loop: take the batch of the step, update, and every so often log, evaluate
the loss on validation data, and save. Left out on purpose: any knowledge of
tasks and tokens (`instructrec.training.batches` has it) and of metrics of
ranking (`instructrec.evaluation`).
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from instructrec import progress
from instructrec.models import protocol
from instructrec.models.objectives import training_metrics
from instructrec.training import (
  batches,
  checkpoint_room,
  checkpoints,
  distributed,
  embedding_start,
  log_window,
  trackers,
  train_step,
)
from instructrec.training import (
  mesh as mesh_lib,
)
from instructrec.training import (
  trainer as trainer_lib,
)

INITIAL_EMBEDDINGS = ("random", "cooccurrence")


class DivergedError(ValueError):
  """Loss or parameters stopped being finite numbers: other settings mend it."""


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
    eval_period: steps between evaluations of the validation loss.
    eval_steps: validation batches of each evaluation.
    checkpoint_period: steps between checkpoints.
    keep_checkpoints: how many newest stay; None keeps all.
    initial_checkpoint: where to start from, of any form that `instructrec
      checkpoint` reads; its parameters alone are taken, and training begins
      at step 0 with a fresh optimizer. What it lacks of `title_matching` is
      drawn. None starts from random parameters. A network with adapters is
      trained on it: every start of the run reads it, and must find the same.
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


def train(
  config: TrainConfig,
  stream: batches.BatchStream,
  validation: batches.BatchStream | None,
  output_dir: str | os.PathLike[str],
  *,
  embeddings: Callable[[], embedding_start.EmbeddingStart] | None = None,
  begin: Callable[[int], None] = lambda step: None,
  check: Callable[[], None] = lambda: None,
) -> train_step.TrainState:
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
    embeddings: makes what embeddings begin with, asked for at step 0; None for
      random ones.
    begin: called with the step that training goes on from, once it is known
      that the folder holds this run or none.
    check: called before each save; raises where the folder is no longer this
      run's.

  Returns:
    The final state.

  Raises:
    DivergedError: where loss or parameters are not finite; the last checkpoint
      stays, and holds finite ones.
    CheckpointMismatchError: where the folder holds another run.
    OSError: where the disk has no room for a checkpoint.
    ValueError: where the processes mean different runs.
  """
  output = pathlib.Path(output_dir)
  output.mkdir(parents=True, exist_ok=True)
  shapes = {
    name: (stream.batch_size, *array.shape[1:])
    for name, array in stream.batch(0, np.arange(1)).items()
  }
  trainer = trainer_lib.Trainer.create(config, shapes)
  store = checkpoints.Checkpoints(
    output / "checkpoints", keep=config.keep_checkpoints
  )
  base = trainer.read_base()
  position = stream.identity | {"run_seed": config.seed} | dict(base.identity)
  distributed.check_agreement(
    {
      "the order of the training data": position,
      f"the list of checkpoints in {output}": store.steps,
    }
  )
  distributed.by_lead("room", lambda: _check_room(trainer, store))
  window = log_window.LogWindow({})
  if store.steps:
    state = base.complete(store.restore(trainer.abstract_state, position))
    window = log_window.LogWindow(store.log_window())
  else:
    state = trainer.init(None if embeddings is None else embeddings(), base)
  begin(int(state.step))
  events = _loop(trainer, state, stream, validation, window)
  with (
    # Around the store: what is being saved when a signal comes is saved.
    distributed.StopOnSignal() as stop,
    contextlib.closing(store),
    _logs(output, int(state.step)) as logs,
    mesh_lib.use(trainer.mesh, config.mesh),
    progress.Progress(
      config.train_steps,
      "train",
      unit="step",
      initial=int(state.step),
      enabled=distributed.is_lead(),
    ) as line,
  ):
    for step, state, split, values in events:
      if split == "checkpoint":
        check()
        _save(store, state, position, window)
      elif split == "step":
        line.advance()
        if stop.reached(step):
          check()
          _save(store, state, position, window)
          store.wait()
          raise SystemExit(stop.status)
      else:
        for log in logs:
          log.write(step, split, values)
        if split == "train":
          line.note(
            f"loss {values['loss']:.3f}, {values['tokens_per_s']:,.0f} tok/s"
          )
  return state


def _check_room(
  trainer: trainer_lib.Trainer, store: checkpoints.Checkpoints
) -> None:
  """Fails where the disk has no room for the checkpoints to come."""
  config = trainer.config
  newest = store.steps[-1] if store.steps else 0
  left = max(config.train_steps - newest, 0)
  checkpoint_room.check(
    store.directory,
    trainer.abstract_state.trained(),
    saves=-(-left // config.checkpoint_period),
    keep=config.keep_checkpoints,
    present=len(store.steps),
  )


@contextlib.contextmanager
def _logs(output: pathlib.Path, start: int) -> Iterator[list[trackers.Tracker]]:
  """Where rows are written: by the lead, from a step on."""
  logs: list[trackers.Tracker] = []
  if distributed.is_lead():
    logs = [
      trackers.JsonlTracker(output, resume_step=start),
      trackers.TensorBoardTracker(output, resume_step=start),
    ]
  try:
    yield logs
  finally:
    for log in logs:
      log.close()


def _save(
  store: checkpoints.Checkpoints,
  state: train_step.TrainState,
  position: dict[str, Any],
  window: log_window.LogWindow,
) -> None:
  """Saves, unless a run that goes on from there would be lost already."""
  if not _all_finite(state.params):
    raise DivergedError(
      f"parameters are no finite numbers at step {int(state.step)}, which is "
      "not saved; the last checkpoint is kept. Lower the learning rate or "
      "train in float32"
    )
  store.save(state, position, window.saved())


@jax.jit
def _all_finite(params: Any) -> jax.Array:
  leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
  return jnp.stack(leaves).all()


def _loop(
  trainer: trainer_lib.Trainer,
  state: train_step.TrainState,
  stream: batches.BatchStream,
  validation: batches.BatchStream | None,
  window: log_window.LogWindow,
) -> Iterator[tuple[int, train_step.TrainState, str, dict[str, float]]]:
  """Yields (step, state, event, values) as training goes; see `train`.

  The step is counted here: reading it from the state would wait for the
  device after every update. Its rows come before "step": who stops a run there
  leaves none out.
  """
  config = trainer.config
  rng = jax.random.key(config.seed)
  since, time_0 = 0, time.perf_counter()
  steps = range(int(state.step), config.train_steps)
  made = batches.ahead(functools.partial(trainer.batch, stream), steps)
  for step, batch in zip(steps, made, strict=True):
    state, metrics = trainer.step_fn(state, batch, rng)
    window.add(metrics)
    since += 1
    done = step + 1
    last = done == config.train_steps
    if done % config.log_period == 0 or last:
      values = window.take()
      seconds = time.perf_counter() - time_0
      values["steps_per_s"] = since / seconds
      values["tokens_per_s"] = values.pop("target_tokens") / seconds
      since, time_0 = 0, time.perf_counter()
      if not np.isfinite(values["loss"]):
        raise DivergedError(
          f"the training loss is {values['loss']} between steps "
          f"{done - config.log_period} and {done}; the last checkpoint is "
          "kept. Lower the learning rate or train in float32"
        )
      yield done, state, "train", values
    if validation is not None and (done % config.eval_period == 0 or last):
      # The steps on the way are timed as such, and the validation is not.
      jax.block_until_ready(state.step)
      paused = time.perf_counter()
      yield done, state, "validation", _validate(trainer, state, validation)
      time_0 += time.perf_counter() - paused
    if done % config.checkpoint_period == 0 or last:
      yield done, state, "checkpoint", {}
    yield done, state, "step", {}


def _validate(
  trainer: trainer_lib.Trainer,
  state: train_step.TrainState,
  validation: batches.BatchStream,
) -> dict[str, float]:
  """Metrics over the same first `eval_steps` validation batches each time."""
  merged: protocol.Metrics = {}
  for step in range(trainer.config.eval_steps):
    batch = trainer.batch(validation, step)
    metrics = trainer.eval_fn(state.params, batch)
    merged = training_metrics.merge(merged, metrics)
  values = training_metrics.compute(merged)
  del values["target_tokens"]
  return values
