"""TPU chips and slices: published figures, names, and devices to compile for.

A slice is named as libtpu does, by chip and shape (`v5e:4x8`), or as Google
Cloud's accelerator types do (`v5e-32`). Those count chips from v5e on, but
TensorCores, of which a chip has two, for v3, v4 and v5p: `v4-8` is four chips,
`v4:2x2x1`.
"""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import jax

LOCAL = "local"


class TopologyError(ValueError):
  """A slice that does not exist, or that cannot be compiled for here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """What one device can do, from Google's documentation.

  A device is what JAX shows: a chip, but a TensorCore, half a chip, on v3.

  Attributes:
    name: as in the names of slices.
    devices_per_chip: JAX devices on a chip.
    cores_per_chip: TensorCores on a chip.
    hbm_bytes: memory a program can use on a device, in bytes. It is what
      libtpu's compiler calls "available HBM": less than is built in.
    peak_flops: bfloat16 FLOP/s of a device.
    hbm_bandwidth: bytes/s between a device and its memory.
    ici_bandwidth: bytes/s that a device can send over all of its links
      together, half of what is published as "bidirectional".
    shapes: slice shapes by the number in the accelerator type.
    options: what libtpu must be told besides the shape.
  """

  name: str
  devices_per_chip: int = 1
  cores_per_chip: int = 1
  hbm_bytes: float
  peak_flops: float
  hbm_bandwidth: float
  ici_bandwidth: float
  shapes: Mapping[int, str]
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_SHAPES_2D = {
  1: "1x1",
  4: "2x2",
  8: "2x4",
  16: "4x4",
  32: "4x8",
  64: "8x8",
  128: "8x16",
  256: "16x16",
}
_SHAPES_3D = {
  8: "2x2x1",
  16: "2x2x2",
  32: "2x2x4",
  64: "2x4x4",
  128: "4x4x4",
  256: "4x4x8",
  512: "4x8x8",
}

# Peak, memory bandwidth and shapes: https://cloud.google.com/tpu/docs/v3, /v4,
# /v5e, /v5p, /v6e. Links: the same pages for v5e, v5p and v6e; for v3 and v4
# Table 4 of Jouppi et al., "TPU v4" (ISCA 2023). Usable memory: what libtpu
# 0.0.42.1 says when a program is too large.
CHIPS = {
  chip.name: chip
  for chip in (
    Chip(
      name="v3",
      devices_per_chip=2,
      cores_per_chip=2,
      hbm_bytes=15.48 * 2**30,
      peak_flops=123e12 / 2,
      hbm_bandwidth=900e9 / 2,
      ici_bandwidth=4 * 70e9 / 2,
      shapes={8: "2x2", 32: "4x4", 64: "4x8", 128: "8x8", 256: "8x16"},
    ),
    Chip(
      name="v4",
      cores_per_chip=2,
      hbm_bytes=30.75 * 2**30,
      peak_flops=275e12,
      hbm_bandwidth=1200e9,
      ici_bandwidth=6 * 50e9,
      shapes=_SHAPES_3D,
      # Both cores as one device, as JAX runs on v4.
      options={"chip_config_name": "megacore"},
    ),
    Chip(
      name="v5e",
      hbm_bytes=15.75 * 2**30,
      peak_flops=197e12,
      hbm_bandwidth=819e9,
      ici_bandwidth=400e9 / 2,
      shapes=_SHAPES_2D,
    ),
    Chip(
      name="v5p",
      cores_per_chip=2,
      hbm_bytes=95.74 * 2**30,
      peak_flops=459e12,
      hbm_bandwidth=2765e9,
      ici_bandwidth=1200e9 / 2,
      shapes=_SHAPES_3D,
    ),
    Chip(
      name="v6e",
      hbm_bytes=31.25 * 2**30,
      peak_flops=918e12,
      hbm_bandwidth=1600e9,
      ici_bandwidth=800e9 / 2,
      shapes=_SHAPES_2D,
    ),
  )
}

# The compiler needs no machine; libtpu would ask the cloud for one, complain
# that there is none, and let one process at a time have it.
_NO_MACHINE = {
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "TPU_STDERR_LOG_LEVEL": "3",
  "TPU_MIN_LOG_LEVEL": "3",
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """A slice to compile for, or the devices of this machine.

  Attributes:
    name: as the user wrote it.
    chip: its chips; None for the local backend, of which nothing is known.
    bounds: chips along each dimension of the slice.
  """

  name: str
  chip: Chip | None
  bounds: tuple[int, ...] = ()

  @property
  def shape(self) -> str:
    """Its name in libtpu, or "local"."""
    if self.chip is None:
      return LOCAL
    return f"{self.chip.name}:{'x'.join(map(str, self.bounds))}"

  @property
  def num_devices(self) -> int:
    """JAX devices of the slice (of this machine where it is local)."""
    if self.chip is None:
      return jax.device_count()
    return math.prod(self.bounds) * self.chip.devices_per_chip

  def devices(self) -> list[Any]:
    """Devices to compile for.

    Raises:
      TopologyError: where there is no libtpu, or libtpu knows no such slice.
    """
    if self.chip is None:
      return jax.devices()
    check_libtpu()
    for name, value in _NO_MACHINE.items():
      os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options = dict(self.chip.options)
    if math.prod(self.bounds) == 1:
      options["chips_per_host_bounds"] = (1, 1, 1)
    try:
      return topologies.get_topology_desc(
        topology_name=self.shape, platform="tpu", **options
      ).devices
    except RuntimeError as error:
      if "INVALID_ARGUMENT" not in str(error):
        raise
      raise TopologyError(
        f"libtpu does not know the slice {self.shape}: {error}. Expected one "
        f"of {_known(self.chip)}"
      ) from error

  def submesh(self, model: int) -> tuple[int, int, int, int]:
    """Devices that share a copy of the weights, as T5X's 4-tuple.

    Args:
      model: how many.

    Returns:
      (x, y, z, core), neighbours as far as the slice has them.

    Raises:
      ValueError: where no such block tiles the slice.
    """
    if self.chip is None:
      return (1, model, 1, 1)  # (processes, local devices, 1, 1)
    sizes = (self.chip.devices_per_chip, *self.bounds)
    tile, left = [], model
    for size in sizes:
      tile.append(math.gcd(left, size))
      left //= tile[-1]
    if left != 1:
      raise ValueError(
        f"no block of {model} devices tiles {self.shape}; expected a divisor "
        f"of the product of {sizes}"
      )
    core, x, y, z = (*tile, 1, 1)[:4]
    return x, y, z, core


def _known(chip: Chip) -> str:
  return ", ".join(
    f"{chip.name}-{number} ({chip.name}:{shape})"
    for number, shape in chip.shapes.items()
  )


def parse(name: str) -> Topology:
  """The slice of a name such as `v5e:4x8`, `v5e-32`, `v4-8` or `local`.

  Args:
    name: chip and shape, or an accelerator type (`v5litepod-8` is `v5e-8`).

  Returns:
    The slice; nothing is loaded yet.

  Raises:
    TopologyError: for anything else, with the names there are.
  """
  if name == LOCAL:
    return Topology(name, None)
  match = re.fullmatch(r"(v\w+)(?:-(\d+)|:(\d+(?:x\d+){1,2}))", name)
  chip = match and CHIPS.get({"v5litepod": "v5e"}.get(match[1], match[1]))
  if not match or not chip:
    raise TopologyError(
      f"unknown topology {name!r}; expected a chip among {', '.join(CHIPS)} "
      "with a shape (v5e:4x8) or an accelerator type (v5e-32), or 'local'"
    )
  shape = match[3] or chip.shapes.get(int(match[2]))
  if shape is None:
    raise TopologyError(
      f"there is no slice {name!r}; expected one of {_known(chip)}"
    )
  return Topology(name, chip, tuple(map(int, shape.split("x"))))


def check_libtpu() -> None:
  """Fails where libtpu, which holds the TPU compiler, is not installed.

  Raises:
    TopologyError: saying how to install it.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise TopologyError(
      "compiling for TPUs needs libtpu, which is not installed (no TPU is "
      "needed): pip install 'instructrec[tpu]'"
    )


def compiler_version() -> str:
  """Names of the versions that decide what is compiled."""
  import importlib.metadata

  import jaxlib

  try:
    libtpu = importlib.metadata.version("libtpu")
  except importlib.metadata.PackageNotFoundError:
    libtpu = "none"
  return f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, libtpu {libtpu}"
