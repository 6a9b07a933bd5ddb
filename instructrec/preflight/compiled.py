"""Compiles a step for a slice and keeps what the compiler says of it.

Nothing is allocated: the step is lowered from shapes. The figures are kept on
disk under a hash of the lowered program, the slice and the compiler, so that a
table can be made in several sittings.
"""

import dataclasses
import hashlib
import json
import logging
import math
import pathlib
import re
import time
from typing import Any

import jax

from instructrec import checksums, output_folder, records
from instructrec.preflight import chips, cost, hlo
from instructrec.preflight import launch as launch_lib
from instructrec.training import mesh as mesh_lib
from instructrec.training import trainer as trainer_lib

_LOG = logging.getLogger(__name__)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Main memory of a device that a step takes, in bytes.

  Attributes:
    arguments: state and batch.
    outputs: new state and metrics.
    aliased: outputs that take the place of arguments.
    temporaries: activations, gradients and all else in between.
    code: the program.
  """

  arguments: int
  outputs: int
  aliased: int
  temporaries: int
  code: int

  @property
  def total(self) -> int:
    """What must fit."""
    return (
      self.arguments
      + self.outputs
      - self.aliased
      + self.temporaries
      + self.code
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
  """What the compiler says of a step, per device.

  Attributes:
    memory: by kind; None where the compiler ran out of memory.
    needed_bytes: all memory that must fit, also where it does not.
    cost: work of a step; None where the compiler ran out of memory.
    optimal_seconds: the compiler's own estimate, where it gives one; it takes
      the body of a loop once, so that there is none for programs with loops.
    compile_seconds: how long it took, when it was first compiled.
    compiler: versions.
  """

  memory: Memory | None
  needed_bytes: int
  cost: cost.Cost | None
  optimal_seconds: float | None
  compile_seconds: float
  compiler: str

  def fits(self, limit_bytes: float | None) -> bool:
    """Whether a device with so much memory can run it; None is no limit."""
    if self.memory is None:
      return False
    return limit_bytes is None or self.needed_bytes <= limit_bytes

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> "Figures":
    """The inverse of `dataclasses.asdict`."""
    data = dict(data)
    if data["memory"] is not None:
      data["memory"] = Memory(**data["memory"])
    if data["cost"] is not None:
      found = dict(data["cost"])
      found["collectives"] = {
        kind: cost.Collective(**values)
        for kind, values in found["collectives"].items()
      }
      data["cost"] = cost.Cost(**found)
    return cls(**data)


def _plan(
  launch: launch_lib.Launch, topology: chips.Topology
) -> trainer_lib.Trainer:
  """State and mesh on the devices of a slice."""
  shapes = {name: x.shape for name, x in launch.batch("train").items()}
  trainer = trainer_lib.Trainer.create(
    launch.config, shapes, topology.devices()
  )
  params = trainer.abstract_state.params
  for path, x in jax.tree_util.tree_leaves_with_path(params):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    try:
      x.sharding.shard_shape(x.shape)
    except ValueError as error:
      raise ValueError(
        f"the parameter {name} {list(x.shape)} does not divide as "
        f"{x.sharding.spec} over the mesh "
        f"{dict(trainer.mesh.shape)}; choose a model parallel size that "
        "divides heads, mlp_dim and vocab_size (and, with 2-D parameters, data "
        "devices that divide emb_dim)"
      ) from error
  return trainer


def state_bytes(launch: launch_lib.Launch, topology: chips.Topology) -> int:
  """Bytes of parameters and optimizer state on each device.

  Args:
    launch: what is trained.
    topology: the slice.

  Returns:
    A lower bound of what training takes, known without compiling.

  Raises:
    ValueError: where mesh, batch and microbatches do not divide.
  """
  return sum(
    x.dtype.itemsize * math.prod(x.sharding.shard_shape(x.shape))
    for x in jax.tree.leaves(_plan(launch, topology).abstract_state)
  )


def lower(
  launch: launch_lib.Launch, step: str, topology: chips.Topology
) -> jax.stages.Lowered:
  """Traces a step for the devices of a slice.

  Args:
    launch: what is run.
    step: "train", the update of the embedded runner, or "score", the scores
      of candidate lists, split over the data axis.
    topology: the slice.

  Returns:
    The step, not compiled yet.

  Raises:
    ValueError: where mesh, batch and microbatches do not divide.
    TopologyError: where the slice cannot be compiled for.
  """
  trainer = _plan(launch, topology)
  data = trainer.mesh.shape["data"]
  if step == "score" and launch.score_batch_size % data:
    raise ValueError(
      f"{launch.score_batch_size} candidate lists do not divide over {data} "
      f"data devices; make --score_batch_size a multiple of {data}"
    )
  sharding = mesh_lib.batch_sharding(trainer.mesh)
  batch = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    for name, x in launch.batch(step).items()
  }
  with mesh_lib.use(trainer.mesh, launch.config.mesh):
    if step == "score":
      score = jax.jit(
        lambda params, lists: launch.config.model.score_batch(params, lists)
      )
      return score.lower(trainer.abstract_state.params, batch)
    key = jax.eval_shape(lambda: jax.random.key(0, impl=launch.rng_impl))
    rng = jax.ShapeDtypeStruct(
      key.shape, key.dtype, sharding=mesh_lib.replicated(trainer.mesh)
    )
    step_fn: Any = trainer.step_fn
    return step_fn.lower(trainer.abstract_state, batch, rng)


def _needed(message: str) -> int | None:
  """Bytes in the compiler's complaint that memory ran out; None in others."""
  if "RESOURCE_EXHAUSTED" not in message:
    return None
  match = re.search(
    r"Used ([\d.]+)([KMGT]?) of|\(([\d.]+)([KMGT]?)\) exceeds", message
  )
  if match is None:
    return None
  number, unit = match[1] or match[3], match[2] or match[4] or ""
  return int(float(number) * _UNITS[unit])


def measure(lowered: jax.stages.Lowered, num_devices: int) -> Figures:
  """Compiles, and reads the figures off the result.

  Args:
    lowered: the step.
    num_devices: devices of its mesh.

  Returns:
    The figures.

  Raises:
    RuntimeError: from the compiler, for anything but a lack of memory.
  """
  started = time.perf_counter()
  try:
    compiled = lowered.compile()
  except RuntimeError as error:
    needed = _needed(str(error))
    if needed is None:
      raise
    return Figures(
      memory=None,
      needed_bytes=needed,
      cost=None,
      optimal_seconds=None,
      compile_seconds=time.perf_counter() - started,
      compiler=chips.compiler_version(),
    )
  seconds = time.perf_counter() - started
  found: Any = compiled.memory_analysis()
  memory = Memory(
    arguments=found.argument_size_in_bytes,
    outputs=found.output_size_in_bytes,
    aliased=found.alias_size_in_bytes,
    temporaries=found.temp_size_in_bytes,
    code=found.generated_code_size_in_bytes,
  )
  analysis: Any = compiled.cost_analysis() or {}
  optimal = analysis.get("optimal_seconds", 0.0)
  program = hlo.Program.parse(compiled.as_text() or "")
  work = cost.analyze(program, num_devices)
  return Figures(
    memory=memory,
    needed_bytes=memory.total,
    cost=work,
    # Instructions without an estimate count as minus one second.
    optimal_seconds=optimal if optimal > 0 and not work.loops else None,
    compile_seconds=seconds,
    compiler=chips.compiler_version(),
  )


def compile_step(
  launch: launch_lib.Launch,
  step: str,
  topology: chips.Topology,
  cache: pathlib.Path,
) -> Figures:
  """Figures of a step, from disk where it was compiled before.

  Args:
    launch: what is run.
    step: "train" or "score".
    topology: the slice.
    cache: folder of figures; made where it does not exist.

  Returns:
    The figures.

  Raises:
    ValueError: see `lower`.
  """
  return compile_lowered(lower(launch, step, topology), topology, cache)


def compile_lowered(
  lowered: jax.stages.Lowered, topology: chips.Topology, cache: pathlib.Path
) -> Figures:
  """Figures of any step; see `compile_step`."""
  program = "\n".join(
    (topology.shape, chips.compiler_version(), lowered.as_text())
  )
  key = hashlib.sha256(program.encode()).hexdigest()
  path = cache / f"{key}.json"
  figures = _kept(path)
  if figures is None:
    figures = measure(lowered, topology.num_devices)
    record = {
      "figures": dataclasses.asdict(figures),
      "sha256": checksums.UNSEALED,
    }
    with output_folder.making_file(path) as file:
      file.write_text(json.dumps(record, indent=1) + "\n")
      checksums.seal(file)
  return figures


def _kept(path: pathlib.Path) -> Figures | None:
  """The figures of a file in the cache, if it is there and whole."""
  if not path.is_file():
    return None
  remedy = "the step is compiled anew"
  try:
    checksums.verify_seal(path, remedy)
    record = records.read(path, keys=["figures"], remedy=remedy)
    with records.reading(path, remedy):
      return Figures.from_json(record["figures"])
  except checksums.DamagedError as error:
    _LOG.warning("%s", error)
    return None
