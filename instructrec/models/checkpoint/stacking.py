"""Layers as separate parameters, or stacked along a leading axis.

A network whose layers are scanned holds "encoder/layers/..." with the layer's
number as axis 0, where the public tree has "encoder/layers_0/...", one each.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping

import numpy as np

from instructrec import limits
from instructrec.models.checkpoint import names
from instructrec.models.checkpoint.tensors import CheckpointError, Tensor

_STACKED = re.compile(r"^(encoder|decoder)/layers/(.+)$")
AXIS = "layers"


def is_stacked(parameter_names: Mapping[str, object]) -> bool:
  """Whether any of the names is that of stacked layers."""
  return any(_STACKED.match(name) for name in parameter_names)


def stack(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
  """The same parameters with layers stacked.

  Args:
    params: by unstacked name.

  Returns:
    By stacked name. A stacked tensor in memory is all its layers.

  Raises:
    CheckpointError: where layers of a kind are missing, or differ in shape
      or type.
  """
  layers: dict[str, dict[int, Tensor]] = {}
  stacked: dict[str, Tensor] = {}
  for name, tensor in params.items():
    if found := names.split_layer(name):
      layers.setdefault(f"{found[0]}/layers/{found[2]}", {})[found[1]] = tensor
    else:
      stacked[name] = tensor
  return stacked | {name: _stack(name, found) for name, found in layers.items()}


def _stack(name: str, layers: dict[int, Tensor]) -> Tensor:
  count = max(layers) + 1
  kinds = {(t.shape, t.dtype) for t in layers.values()}
  if len(layers) != count or len(kinds) != 1:
    raise CheckpointError(
      f"{name} cannot be stacked: found layers {sorted(layers)} of "
      f"{sorted(f'{d} {list(s)}' for s, d in kinds)}; expected 0 to "
      f"{count - 1}, all alike"
    )
  ordered = [layers[index] for index in range(count)]
  shape, dtype = (count, *ordered[0].shape), ordered[0].dtype

  def read() -> np.ndarray:
    whole = np.empty(shape, dtype)
    for index, tensor in enumerate(ordered):
      whole[index] = tensor.read()
    return whole

  return Tensor(shape, dtype, read, _number(ordered[0].source, count))


def _number(source: str, count: int) -> str:
  """The first layer's name with the range of layers for its number."""
  numbered = r"(layers_|layers\.|block\.)0(?=[/.])"
  # What was unstacked to be stacked again is its file's whole array.
  return re.sub(
    numbered, rf"\g<1>{{0..{count - 1}}}", source.removesuffix("[0]"), count=1
  )


def unstack(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
  """The same parameters with one a layer.

  Layers of a stacked tensor follow each other in the result; read in that
  order, each stacked tensor is read once and one is in memory at a time.

  Args:
    params: by stacked name.

  Returns:
    By unstacked name.

  Raises:
    CheckpointError: where a stacked tensor has no axis.
    LimitError: where it has too many layers.
  """

  @functools.lru_cache(maxsize=1)
  def whole(name: str) -> np.ndarray:
    return params[name].read()

  unstacked: dict[str, Tensor] = {}
  for name, tensor in params.items():
    match = _STACKED.match(name)
    if match is None:
      unstacked[name] = tensor
      continue
    if not tensor.shape:
      raise CheckpointError(f"{tensor.source} has no axis of layers")
    limits.LAYERS.check(tensor.shape[0], f"{tensor.source}, along its layers")
    for index in range(tensor.shape[0]):
      unstacked[f"{match[1]}/layers_{index}/{match[2]}"] = dataclasses.replace(
        tensor,
        shape=tensor.shape[1:],
        read=functools.partial(_row, whole, name, index),
        source=f"{tensor.source}[{index}]",
      )
  return unstacked


def _row(
  whole: Callable[[str], np.ndarray], name: str, index: int
) -> np.ndarray:
  return whole(name)[index]
