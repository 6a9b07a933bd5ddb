"""Whether the disk has room for a run's checkpoints, before it is trained."""

import math
import os
import pathlib
import shutil
import sys
from typing import Any

import jax

_OVERHEAD_BYTES = 1 << 20  # Names, shapes and the position in the data.


def checkpoint_bytes(state: Any) -> int:
  """What a checkpoint takes at most; Orbax compresses it.

  Args:
    state: arrays, or their shapes and dtypes.

  Returns:
    Bytes.
  """
  leaves = jax.tree.leaves(state)
  return _OVERHEAD_BYTES + sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves
  )


def check(
  folder: str | os.PathLike[str],
  state: Any,
  *,
  saves: int,
  keep: int | None,
  present: int,
) -> None:
  """Fails where not even one more checkpoint fits; warns where not all do.

  Args:
    folder: of the checkpoints; it need not be there.
    state: what is saved, or its shapes and dtypes.
    saves: how many checkpoints the run still writes.
    keep: how many newest stay; None for all.
    present: how many are there.

  Raises:
    OSError: naming what is free and what is needed.
  """
  if not saves:
    return
  path = pathlib.Path(folder).absolute()
  path = next(parent for parent in (path, *path.parents) if parent.is_dir())
  size, free = checkpoint_bytes(state), shutil.disk_usage(path).free
  # The oldest is removed once the next is complete.
  most = saves if keep is None else min(saves, max(keep + 1 - present, 1))
  if free < size:
    raise OSError(
      f"the disk of {folder} has {_gibibytes(free)} free, and a checkpoint of "
      f"this run takes up to {_gibibytes(size)}; make room, or name another "
      "--model_dir"
    )
  if free < most * size:
    print(
      f"warning: the disk of {folder} has {_gibibytes(free)} free, and {most} "
      f"checkpoints more take up to {_gibibytes(most * size)}; training ends "
      "where one cannot be written",
      file=sys.stderr,
    )


def _gibibytes(count: int) -> str:
  return f"{count / 2**30:,.2f} GiB"
