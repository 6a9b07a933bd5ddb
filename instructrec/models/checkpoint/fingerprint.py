"""The fingerprint of parameters: of their numbers, in whatever form."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from instructrec.models.checkpoint.tensors import Checkpoint, Tensor


class Fingerprint:
  """Taken of parameters while they are read, in any order.

  The same network has the same one in every form, with layers stacked or not,
  and in every type that holds its numbers: they are hashed as float32.

  Args:
    params: by unstacked name.
  """

  def __init__(self, params: Mapping[str, Tensor]) -> None:
    self._names = sorted(params)
    self._hashes: dict[str, str] = {}
    self.params = {
      name: dataclasses.replace(tensor, read=self._watched(name, tensor))
      for name, tensor in params.items()
    }

  def _watched(self, name: str, tensor: Tensor):
    def read() -> np.ndarray:
      array = tensor.read()
      numbers = np.ascontiguousarray(array, dtype="<f4")
      digest = hashlib.sha256(f"{name} {list(array.shape)}\n".encode())
      digest.update(numbers.view(np.uint8).data)
      self._hashes[name] = digest.hexdigest()
      return array

    return read

  def value(self) -> str:
    """The fingerprint; what was not read yet is read.

    Returns:
      "sha256:" and its digits.
    """
    for name in self._names:
      if name not in self._hashes:
        self.params[name].read()
    whole = "\n".join(self._hashes[name] for name in self._names)
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def of(checkpoint: Checkpoint) -> str:
  """The fingerprint of a checkpoint, which is read for it."""
  return Fingerprint(checkpoint.params).value()
