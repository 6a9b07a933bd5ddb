"""Will a launch fit a slice, and if not, what will?"""

import dataclasses
import pathlib
from collections.abc import Callable

from instructrec.preflight import chips, compiled, search
from instructrec.preflight import launch as launch_lib

_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How to run a preflight.

  Attributes:
    hbm_gib: memory of a device in GiB; None takes the chip's.
    search: whether to look for settings that fit where the launch does not.
    tries: how many of them to compile.
    cache: folder of figures.
  """

  hbm_gib: float | None
  search: bool
  tries: int
  cache: pathlib.Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """A step on a slice.

  Attributes:
    launch: what was compiled.
    step: "train" or "score".
    topology: the slice.
    limit_bytes: memory of a device; None where it is not known.
    figures: what the compiler says.
    attempts: other settings that were tried, in order.
  """

  launch: launch_lib.Launch
  step: str
  topology: chips.Topology
  limit_bytes: float | None
  figures: compiled.Figures
  attempts: tuple[search.Attempt, ...] = ()

  @property
  def fits(self) -> bool:
    """Whether the launch fits as it is."""
    return self.figures.fits(self.limit_bytes)

  @property
  def remedy(self) -> search.Attempt | None:
    """The first other setting that fits, if one was looked for and found."""
    return next((a for a in self.attempts if a.fits), None)

  @property
  def remedied(self) -> "Result | None":
    """The result with the settings of the remedy."""
    found = self.remedy
    if found is None or found.figures is None:
      return None
    return dataclasses.replace(
      self,
      launch=self.launch.with_settings(found.settings),
      figures=found.figures,
      attempts=(),
    )


def run(
  launch: launch_lib.Launch,
  step: str,
  topology: chips.Topology,
  options: Options,
  say: Callable[[str], None],
) -> Result:
  """Compiles a step for a slice, and looks for settings where it does not fit.

  Args:
    launch: what to compile.
    step: "train" or "score".
    topology: the slice.
    options: how.
    say: told what is going on; compiling takes minutes.

  Returns:
    The result.
  """
  limit = _limit(topology, options)

  def compile_step(which: launch_lib.Launch) -> compiled.Figures:
    return compiled.compile_step(which, step, topology, options.cache)

  say(
    f"{topology.name}: compiling the {step} step for {topology.num_devices:,} "
    "devices, which takes minutes for large models; figures that are kept from "
    "before are taken"
  )
  figures = compile_step(launch)
  result = Result(
    launch=launch,
    step=step,
    topology=topology,
    limit_bytes=limit,
    figures=figures,
  )
  if result.fits or not options.search or limit is None:
    return result
  attempts = []
  say(f"{topology.name}: does not fit; trying other settings")
  for attempt in search.search(
    launch, topology, step, figures, limit, compile_step, options.tries
  ):
    attempts.append(attempt)
    if attempt.figures is not None:
      bindings = search.gin_bindings(launch, attempt.settings, topology)
      say(
        f"  {' '.join(bindings)}: {attempt.needed_bytes / _GIB:.2f} GiB, "
        f"{'fits' if attempt.fits else 'does not fit'}"
      )
  return dataclasses.replace(result, attempts=tuple(attempts))


def _limit(topology: chips.Topology, options: Options) -> float | None:
  if options.hbm_gib is not None:
    return options.hbm_gib * _GIB
  if topology.chip is not None:
    return topology.chip.hbm_bytes
  # GPUs say what they have; CPUs do not.
  stats = topology.devices()[0].memory_stats() or {}
  return stats.get("bytes_limit")
