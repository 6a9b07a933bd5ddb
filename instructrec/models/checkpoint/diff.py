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
  first: Checkpoint,
  second: Checkpoint,
  *,
  atol: float = 0.0,
  rtol: float = 0.0,
) -> list[Difference]:
  """Compares parameters by our names, one at a time.

  Args:
    first: a checkpoint.
    second: another, of any form.
    atol: numbers this near count as equal.
    rtol: likewise, as a share of the larger of the two; what is allowed is the
      sum. With either more than 0, types may differ.

  Returns:
    The differences; empty where both hold the same network, to the last bit
    if `atol` and `rtol` are 0.

  Raises:
    ValueError: for a negative `atol` or `rtol`.
  """
  for name, value in (("atol", atol), ("rtol", rtol)):
    if not value >= 0:
      raise ValueError(f"{name} is {value}; expected 0 or more")
  found = []
  both = []
  # Layers out of a stacked array have to be read one after the other.
  if second.stacked:
    ordered = {**second.params, **first.params}
  else:
    ordered = {**first.params, **second.params}
  for name in ordered:
    if name not in second.params:
      shape = list(first.params[name].shape)
      found.append(Difference(name, "only in first", str(shape)))
    elif name not in first.params:
      shape = list(second.params[name].shape)
      found.append(Difference(name, "only in second", str(shape)))
    else:
      both.append(name)
  for name in progress.track(both, "compare", total=len(both), unit="tensors"):
    difference = _compare(
      name, first.params[name], second.params[name], atol, rtol
    )
    if difference is not None:
      found.append(difference)
  return found


def _compare(
  name: str, first: Tensor, second: Tensor, atol: float, rtol: float
) -> Difference | None:
  if first.shape != second.shape:
    detail = f"{list(first.shape)} against {list(second.shape)}"
    return Difference(name, "shape", detail)
  exactly = not (atol or rtol)
  if first.dtype != second.dtype and exactly:
    return Difference(name, "dtype", f"{first.dtype} against {second.dtype}")
  a, b = first.read(), second.read()
  # Bits, not numbers: 0 is not -0, and NaN is NaN.
  if exactly:
    differing = (_bits(a) != _bits(b)).reshape(a.shape)
  else:
    a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.maximum(np.abs(a), np.abs(b))
    near = np.isclose(a, b, rtol=0, atol=atol, equal_nan=True)
    # An infinity is near none but itself.
    with np.errstate(invalid="ignore"):
      near |= np.isfinite(size) & (np.abs(a - b) <= atol + rtol * size)
    differing = ~near
  if not differing.any():
    return None
  # Infinities are at no distance from each other, or at an infinite one.
  with np.errstate(invalid="ignore"):
    distance = np.abs(
      a[differing].astype(np.float64) - b[differing].astype(np.float64)
    )
  return Difference(
    name,
    "values",
    f"{len(distance):,} of {a.size:,} numbers, by at most "
    f"{float(distance.max()):.3g}",
  )


def _bits(array: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
