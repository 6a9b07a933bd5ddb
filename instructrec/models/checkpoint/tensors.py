"""Parameters that are named now and read later.

A checkpoint of any form is a mapping from a parameter's name to a `Tensor`,
which knows its shape and reads its numbers when asked. Whoever writes one
reads a tensor, writes it and lets it go: memory does not grow with the model.

Names are those of T5X's public unstacked tree, joined by "/", such as
"encoder/layers_0/attention/query/kernel".
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from instructrec import limits

_MOST_LISTED = 20
DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}


class CheckpointError(ValueError):
  """A checkpoint is not what it was taken for."""


@dataclasses.dataclass(frozen=True)
class Tensor:
  """An array in a file.

  Attributes:
    shape: its shape.
    dtype: its type.
    read: returns the array; each call reads the file.
    source: its name in the file it comes from.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]
  source: str

  def __post_init__(self) -> None:
    """Checks the size, which a file may say anything of.

    Raises:
      CheckpointError: where the shape is none.
      LimitError: where the array would be too large.
    """
    for size in self.shape:
      if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise CheckpointError(
          f"{self.source} has the shape {list(self.shape)}, expected whole "
          "numbers from 0 on"
        )
    limits.ARRAY_BYTES.check(
      self.nbytes, f"{self.source} of the shape {list(self.shape)}"
    )

  @property
  def nbytes(self) -> int:
    """Bytes of the array."""
    return math.prod(self.shape) * self.dtype.itemsize

  def number(self) -> int:
    """The whole number that the array is, such as a step.

    Raises:
      CheckpointError: where it is something else.
    """
    if math.prod(self.shape) != 1 or self.dtype.kind not in "iuf":
      raise CheckpointError(
        f"{self.source} is {self.dtype.name} {list(self.shape)}, expected one "
        "number"
      )
    return int(self.read().reshape(()))

  def transposed(self) -> "Tensor":
    """The tensor with its two axes swapped."""
    return dataclasses.replace(
      self,
      shape=self.shape[::-1],
      read=lambda: np.ascontiguousarray(self.read().T),
    )

  def with_rows_exchanged(self, row: int) -> "Tensor":
    """The tensor whose row 0 and another one have changed places."""
    if row == 0:
      return self

    def read() -> np.ndarray:
      array = np.array(self.read())
      array[[0, row]] = array[[row, 0]]
      return array

    return dataclasses.replace(self, read=read)

  def astype(self, dtype: np.dtype) -> "Tensor":
    """The tensor in another type; reading fails where a number overflows."""
    if dtype == self.dtype:
      return self
    return dataclasses.replace(
      self, dtype=dtype, read=lambda: _cast(self.read(), dtype, self.source)
    )


def _cast(array: np.ndarray, dtype: np.dtype, source: str) -> np.ndarray:
  with np.errstate(over="ignore"):
    cast = array.astype(dtype)
  # Numbers of bfloat16 and float32 may be beyond float16's 65504.
  if (overflown := np.isinf(cast) & ~np.isinf(array)).any():
    raise CheckpointError(
      f"{source}: {int(overflown.sum())} of {array.size} numbers are too large "
      f"for {dtype.name}; choose bfloat16 or float32"
    )
  return cast


def from_array(array: np.ndarray, source: str) -> Tensor:
  """A tensor whose numbers are in memory already."""
  return Tensor(array.shape, array.dtype, lambda: array, source)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What opening a checkpoint found; nothing of it is read yet.

  Attributes:
    path: where it lies.
    form: "huggingface", "t5x", "t5x_legacy" or "instructrec".
    step: updates the parameters have seen, where the checkpoint says so.
    params: parameters by their name in the unstacked tree; a name that the
      form's reader does not know stands as it is in the file.
    left: names in the file that are no parameters, with the reason.
    stacked: whether the file holds each kind of layer as one stacked array.
    config: sizes, where the form writes them down (a `NetworkConfig`).
    reason: why this one of a folder of checkpoints; "" for a single one.
  """

  path: str
  form: str
  step: int
  params: dict[str, Tensor]
  left: dict[str, str]
  stacked: bool = False
  config: Any = None
  reason: str = ""


def compare_names(
  found: Mapping[str, tuple[int, ...]],
  expected: Mapping[str, tuple[int, ...]],
  *,
  found_in: str,
  expected_by: str,
) -> None:
  """Holds names and shapes against what is expected of them.

  Args:
    found: shapes by name.
    expected: shapes by name.
    found_in: where `found` comes from, for the message.
    expected_by: where `expected` comes from, for the message.

  Raises:
    CheckpointError: lists every unknown name with the nearest expected one,
      every missing name, and both shapes where they differ.
  """
  unknown = [
    f"{name} {list(found[name])}{nearest(name, expected)}"
    for name in found
    if name not in expected
  ]
  missing = [
    f"{name} {list(expected[name])}" for name in expected if name not in found
  ]
  differing = [
    f"{name}: found {list(found[name])}, expected {list(expected[name])}"
    for name in expected
    if name in found and tuple(found[name]) != tuple(expected[name])
  ]
  lines = [
    *_section("unknown", unknown),
    *_section("missing", missing),
    *_section("of another shape", differing),
  ]
  if lines:
    raise CheckpointError(
      f"{found_in} does not hold the parameters of {expected_by}\n"
      + "\n".join(lines)
    )


def nearest(name: str, known: Mapping[str, Any]) -> str:
  """The nearest of some names, in words; empty where none is near."""
  close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
  return f" (nearest known: {close[0]})" if close else ""


def _section(title: str, lines: list[str]) -> list[str]:
  if not lines:
    return []
  shown = [f"    {line}" for line in lines[:_MOST_LISTED]]
  if len(lines) > _MOST_LISTED:
    shown.append(f"    and {len(lines) - _MOST_LISTED} more")
  return [f"  {title} ({len(lines)}):", *shown]
