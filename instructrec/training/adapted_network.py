"""Adapters and the network that they were trained on, about to become one."""

import contextlib
import dataclasses
import os
from typing import Any

from instructrec import checkpoint_steps
from instructrec.models.checkpoint import (
  adapted,
  fingerprint,
  opening,
  tensors,
)
from instructrec.models.networks import adapters
from instructrec.training import checkpoints, initial_checkpoint


@dataclasses.dataclass(frozen=True)
class AdaptedNetwork:
  """Adapters and their network, neither of them read yet.

  Attributes:
    factors: a checkpoint with the adapters.
    lora: their settings.
    base: the network.
    wanted: fingerprint that it must have; None where nobody said.
  """

  factors: tensors.Checkpoint
  lora: adapters.LoRA
  base: tensors.Checkpoint
  wanted: str | None = None

  @classmethod
  def of_run(
    cls,
    folder: str | os.PathLike[str],
    step: checkpoint_steps.Step,
    lora: adapters.LoRA,
    base: str,
  ) -> "AdaptedNetwork":
    """Opens a checkpoint of the embedded runner.

    Args:
      folder: of the run's checkpoints.
      step: which; whole ones alone.
      lora: settings of the run.
      base: the checkpoint that it was trained on.

    Returns:
      Both, opened.

    Raises:
      FileNotFoundError: where one of them is gone.
    """
    factors = opening.open_checkpoint(folder, step)
    store = checkpoints.Checkpoints(folder, keep=None)
    with contextlib.closing(store):
      wanted = store.data(factors.step).get("base")
    return cls(factors, lora, opening.open_checkpoint(base), wanted)

  def merged(self) -> tensors.Checkpoint:
    """One network of both, to be read; the base is read once for its check.

    Raises:
      CheckpointError: where they do not belong together.
    """
    network = adapted.merge(self.base, self.factors, self.lora)
    self._check(fingerprint.Fingerprint(self.base.params))
    return network

  def place(self, abstract: Any) -> Any:
    """The parameters of both as one, on their devices.

    Args:
      abstract: shapes, dtypes and shardings of the network's.

    Returns:
      A tree like `abstract`.

    Raises:
      CheckpointError: where they do not belong together.
    """
    watched = fingerprint.Fingerprint(self.base.params)
    base = dataclasses.replace(self.base, params=watched.params)
    network = adapted.merge(base, self.factors, self.lora)
    params = initial_checkpoint.place(network, abstract)
    self._check(watched)
    return params

  def _check(self, found: fingerprint.Fingerprint) -> None:
    if self.wanted is not None and found.value() != self.wanted:
      raise tensors.CheckpointError(
        f"{self.base.path} holds other numbers ({found.value()}) than the "
        f"network that the adapters in {self.factors.path} were trained on "
        f"({self.wanted}); name that one"
      )
