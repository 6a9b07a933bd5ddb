"""Says where two checkpoints differ, whatever their forms."""

import dataclasses

import numpy as np

from instructrec import progress
from instructrec.models.checkpoint.tensors import Checkpoint, Tensor


@dataclasses.dataclass(frozen=True)
class Difference:
  """What one name holds on both sides.

  Attributes:
    name: the parameter.
    kind: "only in first", "only in second", "shape", "dtype" or "values".
    detail: both sides in words.
  """

  name: str
  kind: str
  detail: str


def diff(
  first: Checkpoint, second: Checkpoint, *, atol: float = 0.0
) -> list[Difference]:
  """Compares parameters by our names, one at a time.

  Args:
    first: a checkpoint.
    second: another, of any form.
    atol: numbers this near count as equal; with more than 0 types may differ.

  Returns:
    The differences; empty where both hold the same network, to the last bit
    if `atol` is 0.

  Raises:
    ValueError: for a negative `atol`.
  """
  if atol < 0:
    raise ValueError(f"atol is {atol}; expected 0 or more")
  found = []
  both = []
  for name in {**first.params, **second.params}:
    if name not in second.params:
      shape = list(first.params[name].shape)
      found.append(Difference(name, "only in first", str(shape)))
    elif name not in first.params:
      shape = list(second.params[name].shape)
      found.append(Difference(name, "only in second", str(shape)))
    else:
      both.append(name)
  for name in progress.track(both, "compare", total=len(both), unit="tensor"):
    difference = _compare(name, first.params[name], second.params[name], atol)
    if difference is not None:
      found.append(difference)
  return found


def _compare(
  name: str, first: Tensor, second: Tensor, atol: float
) -> Difference | None:
  if first.shape != second.shape:
    detail = f"{list(first.shape)} against {list(second.shape)}"
    return Difference(name, "shape", detail)
  if first.dtype != second.dtype and not atol:
    return Difference(name, "dtype", f"{first.dtype} against {second.dtype}")
  a, b = first.read(), second.read()
  # Bits, not numbers: 0 is not -0, and NaN is NaN.
  if not atol and np.array_equal(_bits(a), _bits(b)):
    return None
  distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
  # A NaN on one side only is a difference of any size.
  same = (distance <= atol) | (np.isnan(a) & np.isnan(b))
  if atol and same.all():
    return None
  differing = int((~same).sum()) if atol else int((_bits(a) != _bits(b)).sum())
  return Difference(
    name,
    "values",
    f"{differing:,} of {a.size:,} numbers, by at most "
    f"{float(np.nanmax(distance)):.3g}",
  )


def _bits(array: np.ndarray) -> np.ndarray:
  unsigned = {2: np.uint16, 4: np.uint32, 8: np.uint64}[array.dtype.itemsize]
  return np.ascontiguousarray(array).view(unsigned)
