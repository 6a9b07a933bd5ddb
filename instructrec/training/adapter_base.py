"""What adapters are trained on: a checkpoint that runs name and do not copy."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from instructrec.models.checkpoint import fingerprint, opening
from instructrec.models.networks import adapters
from instructrec.training import initial_checkpoint, train_step


@dataclasses.dataclass(frozen=True)
class Base:
  """The parameters of a run that training does not change.

  Attributes:
    params: a tree; empty where training changes all.
    identity: what checkpoints of the run must be of; JSON values.
  """

  params: Any = dataclasses.field(default_factory=dict)
  identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def complete(self, state: train_step.TrainState) -> train_step.TrainState:
    """The state of a checkpoint, with what is not in it."""
    params = adapters.joined(state.params, self.params)
    return state.replace(params=params)  # type: ignore[attr-defined]


def read(path: str | None, abstract_params: Any, config: Any) -> Base:
  """Reads what a run does not train.

  Args:
    path: the initial checkpoint.
    abstract_params: shapes, dtypes and shardings of all parameters.
    config: of the network.

  Returns:
    The parameters, and their fingerprint with the adapters' settings as what
    the run is.

  Raises:
    CheckpointError: where the checkpoint is of another network.
    FileNotFoundError: where there is none.
    ValueError: where none is named, but adapters want one.
  """
  _, frozen = adapters.split(abstract_params)
  if not frozen:
    return Base()
  if path is None:
    raise ValueError(
      "adapters are small changes of a network that is trained, and this one "
      "is not; set INITIAL_CHECKPOINT_PATH, or ADAPTER = None"
    )
  found = opening.open_checkpoint(path)
  watched = fingerprint.Fingerprint(found.params)
  params = initial_checkpoint.place(
    dataclasses.replace(found, params=watched.params), frozen, config=config
  )
  identity = {
    "base": watched.value(),
    "adapter": dataclasses.asdict(config.adapter),
  }
  return Base(params, identity)
