"""A checkpoint of a network, with adapters merged into it as it is read."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  Tensor,
)
from instructrec.models.networks import adapters


def pairs(params: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
  """The adapters among parameters.

  Args:
    params: by unstacked name.

  Returns:
    A and B by the path of their module.

  Raises:
    CheckpointError: where one of a pair is missing.
  """
  found = {}
  for name, tensor in params.items():
    module, _, last = name.rpartition("/")
    if last == adapters.A:
      if f"{module}/{adapters.B}" not in params:
        raise CheckpointError(f"{name} has no {adapters.B} beside it")
      found[module] = (tensor, params[f"{module}/{adapters.B}"])
    elif last == adapters.B and f"{module}/{adapters.A}" not in params:
      raise CheckpointError(f"{name} has no {adapters.A} beside it")
  return found


def check_plain(checkpoint: Checkpoint) -> None:
  """Refuses what holds adapters where a network is wanted.

  Raises:
    CheckpointError: where there are some.
  """
  if any(map(adapters.is_adapter, checkpoint.params)):
    beside = "beside" if network_of(checkpoint).params else "without"
    raise CheckpointError(
      f"{checkpoint.path} holds adapters {beside} their network; `instructrec "
      "checkpoint merge` makes one network of both"
    )


def network_of(checkpoint: Checkpoint) -> Checkpoint:
  """What a checkpoint holds beside what is trained in adapters' place."""
  params = {
    name: tensor
    for name, tensor in checkpoint.params.items()
    if not adapters.is_trained(name)
  }
  return dataclasses.replace(checkpoint, params=params)


def merge(
  base: Checkpoint, adapter: Checkpoint, lora: adapters.LoRA
) -> Checkpoint:
  """A network with adapters in it.

  Args:
    base: the network that they were trained on.
    adapter: holds A and B of each; parameters of a network beside them, as
      T5X saves them, are not read.
    lora: their settings.

  Returns:
    A checkpoint with the names of `base`; a matrix that is adapted is float32.

  Raises:
    CheckpointError: where they do not belong together, or there are none.
  """
  changes = pairs(adapter.params)
  if not changes:
    raise CheckpointError(f"{adapter.path} holds no adapters")
  params = dict(base.params)
  wrong = []
  for module, (a, b) in changes.items():
    name = next(
      (n for n in (f"{module}/kernel", f"{module}/embedding") if n in params),
      None,
    )
    if name is None:
      wrong.append(f"{module}: the network has no such matrix")
      continue
    shape = params[name].shape
    expected = ((shape[0], lora.rank), (lora.rank, *shape[1:]))
    if (a.shape, b.shape) != expected:
      wrong.append(
        f"{module}: found {list(a.shape)} and {list(b.shape)}, expected "
        f"{list(expected[0])} and {list(expected[1])}"
      )
      continue
    params[name] = _merged(params[name], a, b, lora.scale)
  if wrong:
    raise CheckpointError(
      f"{adapter.path} holds adapters of rank {lora.rank} for another network "
      f"than {base.path}\n"
      + "\n".join(f"    {line}" for line in wrong[:20])
      + (f"\n    and {len(wrong) - 20} more" if len(wrong) > 20 else "")
    )
  return dataclasses.replace(
    base, path=adapter.path, step=adapter.step, params=params
  )


def _merged(matrix: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
  def read() -> np.ndarray:
    factors = (x.read().astype(np.float32) for x in (a, b))
    change = np.float32(scale) * functools.reduce(np.matmul, factors)
    return matrix.read().astype(np.float32) + change

  return dataclasses.replace(matrix, dtype=np.dtype(np.float32), read=read)
