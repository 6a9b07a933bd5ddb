"""A trained run, as whoever evaluates, ranks or serves needs it.

How it was trained, and with which runner, is not their concern:
`run_dir.load` opens what the embedded runner leaves.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import jax

from instructrec import checkpoint_steps
from instructrec.models import protocol, tokenizer
from instructrec.training import (
  checkpoints,
  data_config,
  initial_checkpoint,
  item_arrays,
  item_table,
)
from instructrec.training import mesh as mesh_lib


class Parameters(Protocol):
  """Where parameters are that training came to."""

  @property
  def folder(self) -> pathlib.Path:
    """The folder that holds them, one `checkpoint_<step>` a step."""

  def restore(
    self, abstract: Any, step: checkpoint_steps.Step
  ) -> tuple[Any, checkpoint_steps.Chosen]:
    """The parameters of a step, and which that is.

    Args:
      abstract: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
      step: "best", "latest" or a number.
    """


@dataclasses.dataclass(frozen=True)
class Start:
  """What the parameters of a run began as.

  Attributes:
    seed: of those that were drawn, of dropout and of the data.
    checkpoint: where the others were read, of any form that `instructrec
      checkpoint` reads; None where all were drawn.
    embeddings: see `TrainConfig.initial_embeddings`.
  """

  seed: int = 0
  checkpoint: str | None = None
  embeddings: str = "random"


@dataclasses.dataclass(frozen=True)
class Run:
  """A trained run, as evaluation, ranking and services ask for it.

  They ask for nothing else: how it was trained, and with which runner, is not
  their concern.

  Attributes:
    directory: its folder; score weights and reports are kept there.
    model: the network with its objective.
    data: settings of the data: lengths, mixtures, items.
    vocabulary: its SentencePiece model.
    items: folder of the table of the items that it was trained on, where it
      reads items.
    parameters: what training came to.
    start: what its parameters began as; None where that is not known.
    layout: how they lay over the devices in training.
    record: where its instructions are: `tfds_data_dir`, see `recorded_folder`,
      and `instructions_fingerprint`; empty where that is not known.
    config: all settings, as text.
    train_seconds: how long training took; None where that is not known.
    log: the rows of its training; None where it keeps none of ours.
    mesh: how parameters that are opened lie over the devices of all
      processes; None for whole on one.
  """

  directory: pathlib.Path
  model: protocol.RankingModel
  data: data_config.DataConfig
  vocabulary: pathlib.Path
  items: pathlib.Path
  parameters: Parameters
  start: Start | None = Start()
  layout: mesh_lib.MeshConfig = dataclasses.field(
    default_factory=mesh_lib.MeshConfig
  )
  record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  config: str = ""
  train_seconds: float | None = None
  log: pathlib.Path | None = None
  mesh: mesh_lib.MeshConfig | None = None

  def on_all_devices(self, model_parallel: int | None = None) -> "Run":
    """The run, its parameters to be laid out over all devices for scoring.

    They are split as in training, but for the length of the residual stream,
    which saves memory in the backward pass alone.

    Args:
      model_parallel: devices along the model axis; None for as many as in
        training, or the only one there is.

    Returns:
      The run with another `mesh`.

    Raises:
      ValueError: where the devices do not divide.
    """
    count = jax.device_count()
    model = model_parallel or (self.layout.model if count > 1 else 1)
    if count % model:
      raise ValueError(
        f"{count} {jax.devices()[0].platform} devices do not divide into "
        f"groups of {model} that share the parameters; pass --model_parallel "
        f"with a divisor of {count} (the run was trained with "
        f"{self.layout.model})"
      )
    layout = dataclasses.replace(
      self.layout, data=-1, model=model, shard_sequence=False
    )
    return dataclasses.replace(self, mesh=layout)

  @functools.cached_property
  def tokenizer(self) -> tokenizer.Tokenizer:
    """Of the run's vocabulary."""
    return tokenizer.Tokenizer(self.vocabulary)

  def item_arrays(
    self, folder: str | os.PathLike[str] | None = None
  ) -> item_arrays.ItemArrays | None:
    """The items as batches show them.

    Args:
      folder: of instructions, whose items are ranked; None for those that the
        run was trained on.

    Returns:
      The arrays; None where the run reads no items.

    Raises:
      FileNotFoundError: where the table is gone.
      ValueError: where they are other items than those that the model has
        vectors of.
    """
    if not self.data.reads_items:
      return None
    table = item_table.ItemTable.load(folder or self.items)
    if folder is not None and self.model.num_items:
      own = item_table.fingerprint(self.items / item_table.FILE)
      if own != table.fingerprint:
        raise ValueError(
          f"the model has vectors of the {self.model.num_items:,} items that "
          f"it was trained on, and {folder} has others; evaluate on "
          "instructions of the same items, or train with --gin.NUM_ITEMS=0"
        )
    return item_arrays.ItemArrays.create(table, self.tokenizer, self.data)

  def _shapes(self) -> dict[str, tuple[int, ...]]:
    return self.data.shapes(1)

  def _drawn(self, seed: int) -> Any:
    """The parameters as they are drawn, of the whole network."""
    rng = jax.random.key(seed)
    return self.model.get_initial_variables(rng, self._shapes())["params"]

  def _abstract_params(self) -> Any:
    """Shapes and dtypes of the parameters, and where they lie."""
    variables = jax.eval_shape(
      lambda rng: self.model.get_initial_variables(rng, self._shapes()),
      jax.random.key(0),
    )
    shardings = mesh_lib.parameter_shardings(
      variables["params_axes"],
      mesh_lib.scoring_mesh(self.mesh),
      self.mesh or mesh_lib.MeshConfig(),
    )
    mesh_lib.check_divisible(variables["params"], shardings)
    return checkpoints.abstract(variables["params"], shardings)

  def initial_params(self) -> Any:
    """The parameters that training began with.

    Returns:
      Those of the initial checkpoint, and drawn ones where it had none;
      without one, those of the run's seed. None where the start is not known.

    Raises:
      FileNotFoundError: where the initial checkpoint is gone.
    """
    start = self.start
    if start is None:
      return None
    abstract, new = self._abstract_params(), initial_checkpoint.new_part
    shardings = jax.tree.map(lambda x: x.sharding, abstract)
    if start.checkpoint is None:
      return jax.jit(lambda: self._drawn(start.seed), out_shardings=shardings)()
    try:
      return initial_checkpoint.load_params(
        start.checkpoint,
        abstract,
        draw_new=jax.jit(
          lambda: new(self._drawn(start.seed)),
          out_shardings=new(shardings),
        ),
      )
    except FileNotFoundError as error:
      raise FileNotFoundError(
        f"the checkpoint that the run in {self.directory} began with is gone, "
        "which the untrained model needs; if it has moved, pass "
        f"--initial_checkpoint: {error}"
      ) from error

  def params_from(
    self, path: str, step: checkpoint_steps.Step = checkpoint_steps.BEST
  ) -> Any:
    """Parameters of a checkpoint outside the run.

    Args:
      path: of any form that `instructrec checkpoint` reads.
      step: which of a folder of checkpoints; see `opening.open_checkpoint`.

    Returns:
      The parameters.

    Raises:
      FileNotFoundError: where there is no checkpoint.
      CheckpointError: where it is of another network than the run's.
    """
    return initial_checkpoint.load_params(
      path, self._abstract_params(), step=step
    )

  def params(
    self, step: checkpoint_steps.Step = checkpoint_steps.BEST
  ) -> tuple[Any, checkpoint_steps.Chosen]:
    """Parameters that training came to.

    Args:
      step: which; "best" is "latest" where validation chose none.

    Returns:
      The parameters, and which they are.

    Raises:
      FileNotFoundError: where there are none.
      ValueError: where the processes see different ones.
    """
    return self.parameters.restore(self._abstract_params(), step)
