"""The device mesh and the rules that lay logical axes over it.

Every parameter and activation of the models names its axes ("embed", "mlp",
"heads" ...). A mesh has two axes, "data" and "model"; the rules below say
which logical axis goes to which mesh axis, as in T5X's
`standard_logical_axis_rules` (1-D activations; 1-D or 2-D parameters).
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.core
import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util
from flax.linen import partitioning
from jax.experimental import mesh_utils
from jaxtyping import Int

AxisRules = tuple[tuple[str, str | None], ...]

# The first rule that fits wins, and a mesh axis serves one axis of an array: an
# activation [batch, length, embed] is split by "batch" whatever "embed" says.
_RULES: AxisRules = (
  ("batch", "data"),
  ("vocab", "model"),
  ("mlp", "model"),
  ("heads", "model"),
  ("joined_kv", "model"),
  ("kv", None),
  ("length", None),
  ("relpos_buckets", None),
  ("layers", None),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
  """Shape of the device mesh.

  Attributes:
    data: devices along the data axis; -1 takes all that `model` leaves.
    model: devices along the model axis (tensor parallelism).
    shard_parameters: whether parameters and optimizer state are also split
      over the data axis ("2-D parameter partitioning" in T5X, ZeRO-3
      elsewhere). Costs a gather per layer, saves memory.
    shard_sequence: whether the residual stream is split over the model axis
      along its length ("sequence parallelism", Korthikanti et al., 2022).
      Saves memory and sends more; the lengths of inputs and targets must be
      multiples of `model`.
  """

  data: int = -1
  model: int = 1
  shard_parameters: bool = False
  shard_sequence: bool = False

  def __post_init__(self) -> None:
    """Checks the sizes.

    Raises:
      ValueError: where a size is not positive (or -1 for `data`).
    """
    if self.data < 1 and self.data != -1:
      raise ValueError(
        f"MeshConfig.data is {self.data}; expected a positive number of "
        "devices, or -1 for all that are left"
      )
    if self.model < 1:
      raise ValueError(
        f"MeshConfig.model is {self.model}; expected a positive number"
      )

  @property
  def rules(self) -> AxisRules:
    """Rules for activations and parameters."""
    return (
      *_RULES,
      ("embed", "data" if self.shard_parameters else None),
      ("residual_length", "model" if self.shard_sequence else None),
    )


def make_mesh(
  config: MeshConfig, devices: Sequence[Any] | None = None
) -> jax.sharding.Mesh:
  """Arranges devices as a (data, model) mesh.

  On TPUs, neighbours in the mesh are neighbours in the torus as far as can be.

  Args:
    config: the wanted shape.
    devices: what to arrange; None takes the devices of all processes.

  Returns:
    A mesh with the axes "data" and "model".

  Raises:
    ValueError: where the devices do not divide as asked.
  """
  devices = jax.devices() if devices is None else devices
  data = config.data
  if data == -1:
    data = len(devices) // config.model
  if data * config.model != len(devices) or data == 0:
    raise ValueError(
      f"a mesh of {data} (data) x {config.model} (model) needs "
      f"{max(data, 1) * config.model} devices, but this run has "
      f"{len(devices)} {devices[0].platform} devices; change "
      "MeshConfig.data or MeshConfig.model"
    )
  return jax.sharding.Mesh(
    mesh_utils.create_device_mesh(
      (data, config.model), devices, allow_split_physical_axes=True
    ),
    ("data", "model"),
  )


def scoring_mesh(config: MeshConfig | None) -> jax.sharding.Mesh:
  """The mesh that candidate lists are scored on.

  Args:
    config: its shape, over the devices of all processes; None takes the first
      device of this process alone.

  Returns:
    A mesh with the axes "data" and "model".

  Raises:
    ValueError: where the devices do not divide as asked.
  """
  if config is None:
    return make_mesh(MeshConfig(), jax.local_devices()[:1])
  return make_mesh(config)


@contextlib.contextmanager
def use(mesh: jax.sharding.Mesh, config: MeshConfig) -> Iterator[None]:
  """Makes `mesh` and the rules current for the models inside."""
  with jax.set_mesh(mesh), partitioning.axis_rules(config.rules):
    yield


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Splits the leading axis of each array of a batch over "data"."""
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))


def process_rows(
  mesh: jax.sharding.Mesh, batch_size: int, process_index: int
) -> Int[np.ndarray, " rows"]:
  """Rows of the global batch that lie on the devices of a process.

  Processes that share a model axis hold the same rows.

  Args:
    mesh: the device mesh.
    batch_size: rows of the global batch.
    process_index: which process.

  Returns:
    Row numbers, ascending; not always neighbours: it depends on where the
    mesh puts the devices.
  """
  slices = batch_sharding(mesh).devices_indices_map((batch_size,))
  where = np.zeros(batch_size, bool)
  for device, (rows,) in slices.items():
    if device.process_index == process_index:  # type: ignore[attr-defined]
      where[rows] = True
  return np.flatnonzero(where)


def global_batch(
  mesh: jax.sharding.Mesh, own: Mapping[str, np.ndarray], batch_size: int
) -> dict[str, jax.Array]:
  """The batch of all processes, split over "data".

  Args:
    mesh: the device mesh.
    own: the rows that this process holds, those of `process_rows`; an array
      may have several entries a row, next to each other.
    batch_size: rows of the global batch.

  Returns:
    Arrays of all rows, each row on the devices it belongs to.
  """
  sharding = batch_sharding(mesh)
  num_own = len(process_rows(mesh, batch_size, jax.process_index()))
  return {
    name: jax.make_array_from_process_local_data(
      sharding,
      array,
      (batch_size * (len(array) // num_own), *array.shape[1:]),
    )
    for name, array in own.items()
  }


def replicated(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """A copy on every device."""
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def parameter_shardings(
  params_axes: Any, mesh: jax.sharding.Mesh, config: MeshConfig
) -> Any:
  """Shardings of the parameters from their logical axis names.

  Args:
    params_axes: the "params_axes" collection of the model's variables.
    mesh: the device mesh.
    config: gives the rules.

  Returns:
    A tree like the parameters, of `NamedSharding`s.
  """
  names = flax.core.unfreeze(partitioning.get_axis_names(params_axes))

  def sharding(axes: Any) -> jax.sharding.NamedSharding:
    spec = nn.logical_to_mesh_axes(tuple(axes), config.rules)
    assert spec is not None
    return jax.sharding.NamedSharding(mesh, spec)

  return jax.tree.map(
    sharding,
    names,
    is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec),
  )


def check_divisible(params: Any, shardings: Any) -> None:
  """Fails where an axis of a parameter does not divide over the mesh.

  Args:
    params: parameters, arrays or `ShapeDtypeStruct`s.
    shardings: a tree like `params`, from `parameter_shardings`.

  Raises:
    ValueError: naming the first such parameter.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  for (path, leaf), sharding in zip(
    leaves, jax.tree.leaves(shardings), strict=True
  ):
    for size, axis in zip(leaf.shape, sharding.spec, strict=False):
      parts = 1 if axis is None else sharding.mesh.shape[axis]
      if size % parts:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        raise ValueError(
          f"{name} has the shape {leaf.shape}, and {size} does not divide "
          f"over the {parts} devices of the mesh's axis {axis!r}; choose a "
          "MeshConfig that divides it, or another size of the model"
        )


def check_lengths(
  shapes: Mapping[str, tuple[int, ...]],
  mesh: jax.sharding.Mesh,
  config: MeshConfig,
) -> None:
  """Fails where a length that is split over the model axis does not divide.

  Args:
    shapes: of the arrays of a batch, lengths last.
    mesh: the device mesh.
    config: says whether lengths are split.

  Raises:
    ValueError: naming the first such array.
  """
  parts = mesh.shape["model"] if config.shard_sequence else 1
  for name, shape in shapes.items():
    if name.startswith(("encoder_", "decoder_")) and shape[-1] % parts:
      raise ValueError(
        f"{name} has the length {shape[-1]}, which does not divide over the "
        f"{parts} devices of the mesh's axis 'model'; with "
        "MeshConfig.shard_sequence (SHARD_SEQUENCE) the lengths of inputs and "
        f"targets are multiples of {parts}"
      )


def optimizer_shardings(
  opt_state: Any, params: Any, param_shardings: Any, mesh: jax.sharding.Mesh
) -> Any:
  """Shardings of an optax state: like the parameter that a leaf belongs to.

  A leaf belongs to the parameter whose path ends its own. It has the
  parameter's shape (Adam's moments), or that shape less one axis (Adafactor's
  factored moments; the axis is found by size, and where two fit, the leaf is
  copied to every device, as is everything that mirrors no parameter).

  Args:
    opt_state: optimizer state, arrays or `ShapeDtypeStruct`s.
    params: parameters, arrays or `ShapeDtypeStruct`s.
    param_shardings: a tree like `params`.
    mesh: the device mesh.

  Returns:
    A tree like `opt_state`, of `NamedSharding`s.
  """
  shapes = traverse_util.flatten_dict(params)
  shardings = traverse_util.flatten_dict(param_shardings)

  def sharding(path: Any, leaf: Any) -> jax.sharding.NamedSharding:
    keys = tuple(p.key for p in path if isinstance(p, jax.tree_util.DictKey))
    if keys not in shapes:
      return replicated(mesh)
    shape, spec = shapes[keys].shape, shardings[keys].spec
    spec = (*spec, *[None] * (len(shape) - len(spec)))
    if leaf.shape == shape:
      return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    dropped = [
      axis
      for axis in range(len(shape))
      if leaf.shape == shape[:axis] + shape[axis + 1 :]
    ]
    if len(dropped) != 1:
      return replicated(mesh)
    axis = dropped[0]
    return jax.sharding.NamedSharding(
      mesh, jax.sharding.PartitionSpec(*spec[:axis], *spec[axis + 1 :])
    )

  return jax.tree_util.tree_map_with_path(sharding, opt_state)
