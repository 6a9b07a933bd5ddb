"""Looks for the nearest settings with which a step fits.

Settings that keep the result (mesh, sharding, microbatches, recomputation) are
tried in the order of what they are expected to cost in time. The costs are
rules of thumb and decide the order, nothing else; what fits was compiled.
Compiling takes minutes, so that settings are passed over which could not fit
even if all memory but the state shrank in proportion; see `least_bytes`.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from instructrec.models.networks import network_config
from instructrec.preflight import chips, compiled
from instructrec.preflight import launch as launch_lib
from instructrec.training import mesh

# Expected time on top, as a part of the step: gathering parameters a layer;
# smaller matrices for each halving of the batch; activations over the network
# for each halving of the weights; another forward pass ("full"), or attention
# and elementwise operations again ("minimal").
_SHARD_PARAMETERS = 0.10
_HALF_BATCH = 0.05
_HALF_WEIGHTS = 0.20
_REMAT = {"none": 0.0, "minimal": 0.06, "full": 0.33}


def expected_cost(
  settings: launch_lib.Settings, base: launch_lib.Settings
) -> float:
  """Time on top that settings are expected to cost, as a part of a step."""
  return (
    _SHARD_PARAMETERS * (settings.shard_parameters - base.shard_parameters)
    + _HALF_BATCH * math.log2(settings.num_microbatches / base.num_microbatches)
    + _HALF_WEIGHTS * math.log2(settings.model / base.model)
    + _REMAT[settings.remat_policy]
    - _REMAT[base.remat_policy]
  )


def alternatives(
  launch: launch_lib.Launch, topology: chips.Topology, step: str
) -> list[launch_lib.Settings]:
  """Settings that need less memory, those expected to cost least first.

  Args:
    launch: what does not fit.
    topology: the slice.
    step: "train" or "score"; scoring knows no microbatches and recomputes
      nothing.

  Returns:
    Settings under which devices, rows and parameters divide.
  """
  base = launch.settings
  devices = topology.num_devices
  every = network_config.REMAT_POLICIES
  policies = list(every[every.index(base.remat_policy) :])
  microbatches = _doublings(base.num_microbatches, launch.batch_size)
  if step == "score":
    policies, microbatches = policies[:1], microbatches[:1]
  axes, found = launch.axes, []
  for model, shard, parts, policy in itertools.product(
    _doublings(base.model, math.gcd(devices, launch.network.num_heads)),
    sorted({base.shard_parameters, True}),
    microbatches,
    policies,
  ):
    data = devices // model
    rows = launch.batch_size if step == "train" else launch.score_batch_size
    rules = dict(mesh.MeshConfig(shard_parameters=shard).rules)
    sizes = {"data": data, "model": model, None: 1}
    divide = (
      data * model == devices
      and rows % (data * parts) == 0
      and all(size % sizes[rules.get(name)] == 0 for name, size in axes)
    )
    if divide:
      found.append(
        launch_lib.Settings(
          model=model,
          shard_parameters=shard,
          num_microbatches=parts,
          remat_policy=policy,
        )
      )
  found = [settings for settings in found if settings != base]
  return sorted(found, key=lambda settings: expected_cost(settings, base))


def _doublings(first: int, limit: int) -> list[int]:
  """`first` and its doubles that divide `limit`."""
  doubles = (first * 2**k for k in range(limit.bit_length()))
  return [first] + [n for n in doubles if n != first and limit % n == 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
  """One setting that was compiled, or passed over.

  Attributes:
    settings: which.
    fits: whether it does.
    state_bytes: parameters and optimizer state of a device.
    needed_bytes: memory of a device that it takes; the least that it could,
      where `figures` is None.
    figures: None where it was passed over.
  """

  settings: launch_lib.Settings
  fits: bool
  state_bytes: int
  needed_bytes: int
  figures: compiled.Figures | None


def least_bytes(
  settings: launch_lib.Settings,
  state_bytes: int,
  measured: Sequence[Attempt],
  devices: int,
) -> int:
  """Memory of a device that a step takes at least, by what others took.

  Half a batch or half the weights halve activations and gradients at best,
  sharded parameters divide them by the data axis at best, and less
  recomputation never saves anything.

  Args:
    settings: of the step.
    state_bytes: its parameters and optimizer state.
    measured: compiled steps with other settings.
    devices: of the slice.

  Returns:
    Bytes; the state alone where nothing comparable was compiled.
  """
  policies = network_config.REMAT_POLICIES
  bounds = [state_bytes]
  for other in measured:
    theirs = other.settings
    if policies.index(theirs.remat_policy) < policies.index(
      settings.remat_policy
    ):
      continue
    parts = settings.num_microbatches / theirs.num_microbatches
    parts *= settings.model / theirs.model
    if settings.shard_parameters and not theirs.shard_parameters:
      parts *= devices // settings.model
    rest = other.needed_bytes - other.state_bytes
    bounds.append(state_bytes + int(rest / max(parts, 1)))
  return max(bounds)


def search(
  launch: launch_lib.Launch,
  topology: chips.Topology,
  step: str,
  first: compiled.Figures,
  limit_bytes: float,
  compile_step: Callable[[launch_lib.Launch], compiled.Figures],
  tries: int,
) -> Iterator[Attempt]:
  """Tries settings, until one fits or `tries` of them were compiled.

  Args:
    launch: what does not fit.
    topology: the slice.
    step: "train" or "score".
    first: figures of the launch as it is.
    limit_bytes: memory of a device.
    compile_step: gives the figures of a launch.
    tries: how many to compile.

  Yields:
    Each attempt; the last one fits, if any does.
  """

  def attempt(
    settings: launch_lib.Settings,
    state: int,
    figures: compiled.Figures | None,
    least: int = 0,
  ) -> Attempt:
    return Attempt(
      settings=settings,
      fits=figures is not None and figures.fits(limit_bytes),
      state_bytes=state,
      needed_bytes=figures.needed_bytes if figures else least,
      figures=figures,
    )

  def state_of(which: launch_lib.Launch) -> int:
    # Scoring holds parameters alone; that they bound it is left unused.
    return compiled.state_bytes(which, topology) if step == "train" else 0

  measured = [attempt(launch.settings, state_of(launch), first)]
  for settings in alternatives(launch, topology, step):
    if len(measured) > tries:
      return
    changed = launch.with_settings(settings)
    state = state_of(changed)
    least = least_bytes(settings, state, measured, topology.num_devices)
    if least > limit_bytes:
      yield attempt(settings, state, None, least)
      continue
    measured.append(attempt(settings, state, compile_step(changed)))
    yield measured[-1]
    if measured[-1].fits:
      return


def gin_bindings(
  launch: launch_lib.Launch,
  settings: launch_lib.Settings,
  topology: chips.Topology,
) -> list[str]:
  """The options that change a launch to other settings.

  Args:
    launch: what to change.
    settings: what it should have.
    topology: the slice; T5X's mesh is given in its dimensions.

  Returns:
    Options such as `--gin.NUM_MICROBATCHES=2`, ready for a shell.
  """
  base = launch.settings
  options = []
  if settings.model != base.model:
    if launch.t5x:
      tile = ",".join(map(str, topology.submesh(settings.model)))
      options.append(f'--gin.MODEL_PARALLEL_SUBMESH="({tile})"')
    else:
      options.append(f"--gin.MODEL_PARALLEL={settings.model}")
  if settings.shard_parameters != base.shard_parameters:
    options.append(
      "--gin.PARAMETER_PARTITIONING_DIMS=2"
      if launch.t5x
      else "--gin.SHARD_PARAMETERS=True"
    )
  if settings.num_microbatches != base.num_microbatches:
    options.append(f"--gin.NUM_MICROBATCHES={settings.num_microbatches}")
  if settings.remat_policy != base.remat_policy:
    options.append(f'--gin.REMAT_POLICY=\\"{settings.remat_policy}\\"')
  return options
