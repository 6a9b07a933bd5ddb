"""The checkpoints in the folder of a run, and what its adapters lie on."""

import dataclasses
import os
import pathlib
from typing import Any

from instructrec import checkpoint_steps, recorded_folder
from instructrec.models.networks import adapters
from instructrec.training import (
  adapted_network,
  checkpoints,
  distributed,
  run_record,
)

FOLDER = "checkpoints"
_BASE = "base_checkpoint"


def base_record(
  checkpoint: str, directory: str | os.PathLike[str]
) -> dict[str, str]:
  """What the record says of the checkpoint that adapters are trained on.

  Args:
    checkpoint: its path, or a bucket's.
    directory: the model folder.

  Returns:
    Entries of the record.
  """
  if "://" in checkpoint:
    return {_BASE: checkpoint}
  path = pathlib.Path(checkpoint)
  # Of a single file, the folder, which is the same checkpoint.
  return recorded_folder.record(
    _BASE, path.parent if path.is_file() else path, directory
  )


@dataclasses.dataclass(frozen=True)
class OwnCheckpoints:
  """The checkpoints in the folder of a run.

  Attributes:
    directory: the model folder.
    lora: the adapters that they are of; None where they hold a network.
  """

  directory: pathlib.Path
  lora: adapters.LoRA | None = None

  @property
  def folder(self) -> pathlib.Path:
    """The folder of the checkpoints."""
    return self.directory / FOLDER

  def base(self) -> str:
    """The checkpoint that the adapters were trained on.

    Raises:
      FileNotFoundError: where it is gone.
    """
    record = run_record.read(self.directory)
    path = record.get(_BASE, "")
    if "://" in path:
      return path
    found = recorded_folder.find(
      _BASE,
      record,
      self.directory,
      option="instructrec checkpoint merge --base",
    )
    return str(found)

  def adapted(
    self, step: checkpoint_steps.Step, base: str | None = None
  ) -> adapted_network.AdaptedNetwork:
    """Adapters of a checkpoint, with their network.

    Args:
      step: which; whole ones alone.
      base: the network's checkpoint; None for where it was.

    Raises:
      FileNotFoundError: where one of them is gone.
    """
    assert self.lora is not None
    return adapted_network.AdaptedNetwork.of_run(
      self.folder, step, self.lora, base or self.base()
    )

  def restore(
    self, abstract: Any, step: checkpoint_steps.Step
  ) -> tuple[Any, checkpoint_steps.Chosen]:
    """Parameters of a checkpoint; adapters merged into their network.

    Args:
      abstract: shapes, dtypes and shardings of the parameters.
      step: which; whole ones alone.

    Returns:
      The parameters, and which they are.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      DamagedError: where it is damaged, or all of them are.
      ValueError: where the processes see different ones.
    """
    store = checkpoints.Checkpoints(self.folder, keep=None)
    try:
      distributed.check_agreement(
        {f"the list of checkpoints in {store.directory}": store.steps}
      )
      distributed.check_agreement(
        {"the checkpoint that is wanted": store.order(step).steps}
      )
      chosen = store.whole(step)
      if self.lora is None:
        return store.restore_params(abstract, chosen.step), chosen
      return self.adapted(chosen.step).place(abstract), chosen
    finally:
      store.close()
