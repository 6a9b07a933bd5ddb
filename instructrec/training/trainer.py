"""A model and its state laid out on a mesh, with compiled steps."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from instructrec.models.networks import adapters
from instructrec.training import (
  adapter_base,
  batches,
  checkpoints,
  embedding_start,
  initial_checkpoint,
  train_step,
)
from instructrec.training import (
  mesh as mesh_lib,
)

if TYPE_CHECKING:
  from instructrec.training import runner

# Rows, and batches, that say at least what a batch has on average.
_COUNTED_ROWS, _COUNTED_BATCHES = 1024, 16


@dataclasses.dataclass(frozen=True)
class Trainer:
  """A model and its state laid out on a mesh, with compiled steps.

  Attributes:
    config: the run's settings.
    mesh: the device mesh.
    shardings: where each part of the state lies.
    abstract_state: shapes, dtypes and shardings of the state.
    input_shapes: shapes of the global batch.
    divisor: see `train_step.train_step`.
  """

  config: "runner.TrainConfig"
  mesh: jax.sharding.Mesh
  shardings: train_step.TrainState
  abstract_state: train_step.TrainState
  input_shapes: dict[str, tuple[int, ...]]
  divisor: float | None = None

  @classmethod
  def create(
    cls,
    config: "runner.TrainConfig",
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
    start = functools.partial(train_step.start_from, optimizer=config.optimizer)
    shapes = jax.eval_shape(start, params)
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

  def read_base(self) -> adapter_base.Base:
    """What the run does not train, read from its initial checkpoint."""
    model = self.config.model
    return adapter_base.read(
      self.config.initial_checkpoint,
      self.abstract_state.params,
      model.network_config,
    )

  def init(
    self,
    embeddings: embedding_start.EmbeddingStart | None = None,
    base: adapter_base.Base | None = None,
  ) -> train_step.TrainState:
    """The state at step 0, made on the devices where it belongs.

    Args:
      embeddings: what embeddings begin with; None for random ones.
      base: from `read_base`, which is asked where it is None.

    Returns:
      The state.

    Raises:
      CheckpointError: where the initial checkpoint is of another network.
    """
    if self.config.initial_checkpoint is not None:
      base = self.read_base() if base is None else base
      if base.params:
        params = adapters.joined(self._draw_adapters(), base.params)
      else:
        params = initial_checkpoint.load_params(
          self.config.initial_checkpoint,
          self.abstract_state.params,
          draw_new=self._draw_new,
          config=self.config.model.network_config,
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
    return self._draw(initial_checkpoint.new_part)

  def _draw_adapters(self) -> Any:
    return self._draw(lambda params: adapters.split(params)[0])

  def _draw(self, part: Callable[[Any], Any]) -> Any:
    """A part of the parameters as they are drawn."""
    model, shapes = self.config.model, self.input_shapes
    with mesh_lib.use(self.mesh, self.config.mesh):
      # Of the whole network, the compiler keeps this part.
      return jax.jit(
        lambda rng: part(model.get_initial_variables(rng, shapes)["params"]),
        out_shardings=part(self.shardings.params),
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

  def for_groups(self, stream: batches.BatchStream) -> "Trainer":
    """The same for batches whose rows are alike in length.

    A position of a long row and one of a short row are to count alike, though
    their batches hold more and fewer of them: gradients are divided by what a
    batch of rows by chance has.

    Args:
      stream: training batches.

    Returns:
      Itself, where these are not grouped or gradients not divided.

    Raises:
      ValueError: where a width of the text does not divide over the mesh.
    """
    if not stream.grouped:
      return self
    for width in stream.text_widths:
      shapes = {"encoder_input_tokens": (stream.batch_size, width)}
      mesh_lib.check_lengths(shapes, self.mesh, self.config.mesh)
    if not self.config.mean_loss:
      return self
    counted = jax.jit(self.config.model.loss_divisor)
    by_chance = stream.ungrouped
    needed = max(-(-_COUNTED_ROWS // stream.batch_size), _COUNTED_BATCHES)
    total = sum(
      float(counted(self.batch(by_chance, step))) for step in range(needed)
    )
    return dataclasses.replace(self, divisor=max(total / needed, 1.0))

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
        divisor=self.divisor,
      ),
      donate_argnums=0,
      out_shardings=(self.shardings, None),
    )

  @functools.cached_property
  def eval_fn(self) -> Callable[..., Any]:
    """The compiled evaluation `(params, batch) -> metrics`."""
    return jax.jit(lambda p, b: self.config.model.eval_fn(p, b)[1])
