"""The embedded runner: trains a `RankingModel` with nothing but PyPI.

One loop: take the batch of the step, update, and every so often log, evaluate
the loss on validation data, and save. Left out on purpose: any knowledge of
tasks and tokens (`instructrec.training.batches` has it) and of metrics of
ranking (`instructrec.evaluation`).
"""

import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
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
  initial_checkpoint,
  log_window,
  trackers,
  train_step,
)
from instructrec.training import (
  mesh as mesh_lib,
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
      drawn. None starts from random parameters.
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


@dataclasses.dataclass(frozen=True)
class Trainer:
  """A model and its state laid out on a mesh, with compiled steps.

  Attributes:
    config: the run's settings.
    mesh: the device mesh.
    shardings: where each part of the state lies.
    abstract_state: shapes, dtypes and shardings of the state.
    input_shapes: shapes of the global batch.
  """

  config: TrainConfig
  mesh: jax.sharding.Mesh
  shardings: train_step.TrainState
  abstract_state: train_step.TrainState
  input_shapes: dict[str, tuple[int, ...]]

  @classmethod
  def create(
    cls,
    config: TrainConfig,
    input_shapes: dict[str, tuple[int, ...]],
    devices: Sequence[Any] | None = None,
  ) -> "Trainer":
    """Plans the layout; allocates nothing.

    Args:
      config: the run's settings.
      input_shapes: shapes of the global batch.
      devices: devices of the mesh; None takes those of all processes.

    Returns:
      The trainer.

    Raises:
      ValueError: where mesh, batch, microbatches or lengths do not divide.
    """
    device_mesh = mesh_lib.make_mesh(config.mesh, devices)
    mesh_lib.check_lengths(input_shapes, device_mesh, config.mesh)
    rows = next(iter(input_shapes.values()))[0]
    data = device_mesh.shape["data"]
    if rows % (data * config.num_microbatches):
      raise ValueError(
        f"a batch of {rows} rows does not divide over {data} data devices x "
        f"{config.num_microbatches} microbatches; make the batch size a "
        f"multiple of {data * config.num_microbatches}"
      )
    variables = jax.eval_shape(
      lambda rng: config.model.get_initial_variables(rng, input_shapes),
      jax.random.key(0),
    )
    params = variables["params"]
    param_shardings = mesh_lib.parameter_shardings(
      variables["params_axes"], device_mesh, config.mesh
    )
    mesh_lib.check_divisible(params, param_shardings)
    shapes = jax.eval_shape(
      lambda rng: train_step.init_state(
        config.model, config.optimizer, rng, input_shapes
      ),
      jax.random.key(0),
    )
    shardings = train_step.TrainState(
      step=mesh_lib.replicated(device_mesh),
      params=param_shardings,
      opt_state=mesh_lib.optimizer_shardings(
        shapes.opt_state, params, param_shardings, device_mesh
      ),
    )
    return cls(
      config=config,
      mesh=device_mesh,
      shardings=shardings,
      abstract_state=checkpoints.abstract(shapes, shardings),
      input_shapes=input_shapes,
    )

  def init(
    self, embeddings: embedding_start.EmbeddingStart | None = None
  ) -> train_step.TrainState:
    """The state at step 0, made on the devices where it belongs.

    Args:
      embeddings: what embeddings begin with; None for random ones.

    Returns:
      The state.

    Raises:
      CheckpointError: where the initial checkpoint is of another network.
    """
    if self.config.initial_checkpoint is not None:
      params = initial_checkpoint.load_params(
        self.config.initial_checkpoint,
        self.abstract_state.params,
        draw_new=self._draw_new,
      )
      start = functools.partial(
        train_step.start_from, optimizer=self.config.optimizer
      )
      return jax.jit(start, donate_argnums=0, out_shardings=self.shardings)(
        params
      )
    with mesh_lib.use(self.mesh, self.config.mesh):
      init = jax.jit(
        functools.partial(
          train_step.init_state,
          self.config.model,
          self.config.optimizer,
          input_shapes=self.input_shapes,
          prepare=(lambda x: x) if embeddings is None else embeddings.apply,
        ),
        out_shardings=self.shardings,
      )
      return init(jax.random.key(self.config.seed))

  def _draw_new(self) -> Any:
    """The parameters that an initial checkpoint may lack, as `init` draws."""
    model, shapes = self.config.model, self.input_shapes
    with mesh_lib.use(self.mesh, self.config.mesh):
      # Of the whole network, the compiler keeps this part.
      return jax.jit(
        lambda rng: model.get_initial_variables(rng, shapes)["params"][
          initial_checkpoint.NEW
        ],
        out_shardings=self.shardings.params[initial_checkpoint.NEW],
      )(jax.random.key(self.config.seed))

  def batch(
    self, stream: batches.BatchStream, step: int
  ) -> dict[str, jax.Array]:
    """The batch of a step over all processes, each with its own rows."""
    rows = mesh_lib.process_rows(
      self.mesh, stream.batch_size, jax.process_index()
    )
    own = stream.batch(step, rows)
    return mesh_lib.global_batch(self.mesh, own, stream.batch_size)

  @functools.cached_property
  def step_fn(self) -> Callable[..., tuple[train_step.TrainState, Any]]:
    """The compiled update `(state, batch, rng) -> (state, metrics)`."""
    return jax.jit(
      functools.partial(
        train_step.train_step,
        model=self.config.model,
        optimizer=self.config.optimizer,
        num_microbatches=self.config.num_microbatches,
        mean_loss=self.config.mean_loss,
      ),
      donate_argnums=0,
      out_shardings=(self.shardings, None),
    )

  @functools.cached_property
  def eval_fn(self) -> Callable[..., Any]:
    """The compiled evaluation `(params, batch) -> metrics`."""
    return jax.jit(lambda p, b: self.config.model.eval_fn(p, b)[1])


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
  trainer = Trainer.create(config, shapes)
  store = checkpoints.Checkpoints(
    output / "checkpoints", keep=config.keep_checkpoints
  )
  position = stream.identity | {"run_seed": config.seed}
  distributed.check_agreement(
    {
      "the order of the training data": position,
      f"the list of checkpoints in {output}": store.steps,
    }
  )
  newest = store.steps[-1] if store.steps else 0
  left = max(config.train_steps - newest, 0)
  distributed.by_lead(
    "room",
    lambda: checkpoint_room.check(
      store.directory,
      trainer.abstract_state,
      saves=-(-left // config.checkpoint_period),
      keep=config.keep_checkpoints,
      present=len(store.steps),
    ),
  )
  window = log_window.LogWindow({})
  if store.steps:
    state = store.restore(trainer.abstract_state, position)
    window = log_window.LogWindow(store.log_window())
  else:
    state = trainer.init(None if embeddings is None else embeddings())
  start = int(state.step)
  begin(start)
  events = _loop(trainer, state, stream, validation, window)
  logs: list[trackers.Tracker] = []
  if distributed.is_lead():
    logs = [
      trackers.JsonlTracker(output, resume_step=start),
      trackers.TensorBoardTracker(output, resume_step=start),
    ]
  try:
    with (
      distributed.StopOnSignal() as stop,
      mesh_lib.use(trainer.mesh, config.mesh),
      progress.Progress(
        config.train_steps,
        "train",
        unit="step",
        initial=start,
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
  finally:
    for log in logs:
      log.close()
    store.close()
  return state


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
  trainer: Trainer,
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
  trainer: Trainer,
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
