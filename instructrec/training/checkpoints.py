"""Orbax checkpoints of a run: state, and the position in the data.

A checkpoint is a folder `checkpoint_<step>` with the items `state` (step,
parameters, optimizer state) and `data` (what fixes the order of the training
data, and sums that the training log has not told yet). Orbax writes to a
temporary folder and renames it, so that a kill leaves the last complete
checkpoint in place.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from instructrec.training import train_step

_LOG = "log_window"


class CheckpointMismatchError(ValueError):
  """A checkpoint belongs to another run than the one that wants it."""


class Checkpoints:
  """The checkpoints in one folder.

  Args:
    directory: the folder; made on the first save.
    keep: how many newest checkpoints stay; None keeps all.
  """

  def __init__(
    self, directory: str | os.PathLike[str], *, keep: int | None = 3
  ) -> None:
    self.directory = pathlib.Path(directory).absolute()
    self._manager = ocp.CheckpointManager(
      self.directory,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, step_prefix="checkpoint", create=True
      ),
      item_names=("state", "data"),
    )

  @property
  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    return sorted(self._manager.all_steps())

  def save(
    self,
    state: train_step.TrainState,
    position: Mapping[str, Any],
    window: Mapping[str, Any],
  ) -> None:
    """Saves in the background; `close` or the next save waits for it.

    Args:
      state: what to save; its step names the checkpoint.
      position: what fixes the order of the data, JSON values.
      window: see `LogWindow.saved`.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(state),
        data=ocp.args.JsonSave({**position, _LOG: dict(window)}),
      ),
    )

  def restore(
    self,
    abstract_state: train_step.TrainState,
    position: Mapping[str, Any],
    step: int | None = None,
  ) -> train_step.TrainState:
    """Restores a checkpoint of the same run.

    Args:
      abstract_state: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
      position: the data order that this run uses.
      step: which checkpoint; None for the newest.

    Returns:
      The state, on the devices that `abstract_state` names.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      CheckpointMismatchError: where the checkpoint was trained on another
        order of data, or was imported.
    """
    step = self._existing(step)
    if not (self.directory / f"checkpoint_{step}" / "data").exists():
      raise CheckpointMismatchError(
        f"{self.directory}/checkpoint_{step} holds parameters alone, no run "
        "to go on with; give it to a run in another folder with "
        "--gin.INITIAL_CHECKPOINT_PATH"
      )
    saved = self._data(step)
    for name, value in position.items():
      if saved.get(name) != value:
        raise CheckpointMismatchError(
          f"{self.directory}/checkpoint_{step} was trained with {name} = "
          f"{saved.get(name)!r}, this run has {value!r}; train into another "
          "folder, or set it back to go on"
        )
    return self._manager.restore(
      step,
      args=ocp.args.Composite(state=_restore_args(abstract_state)),
    )["state"]

  def log_window(self) -> dict[str, list[float]]:
    """What the newest checkpoint has for the next row of the training log."""
    step = self._existing(None)
    return self._data(step)[_LOG]

  def _data(self, step: int) -> dict[str, Any]:
    return self._manager.restore(
      step, args=ocp.args.Composite(data=ocp.args.JsonRestore())
    )["data"]

  def restore_params(
    self, abstract_params: Any, step: int | None = None
  ) -> Any:
    """Restores the parameters alone.

    Args:
      abstract_params: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
      step: which checkpoint; None for the newest.

    Returns:
      The parameters.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
    """
    step = self._existing(step)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=_restore_args({"params": abstract_params}, partial=True)
      ),
    )
    return restored["state"]["params"]

  def wait(self) -> None:
    """Returns when the last save is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for the last save and frees the manager's threads."""
    self._manager.close()

  def _existing(self, step: int | None) -> int:
    steps = self.steps
    if step is None and steps:
      return steps[-1]
    if step is None or step not in steps:
      wanted = "a checkpoint" if step is None else f"checkpoint_{step}"
      raise FileNotFoundError(
        f"{self.directory} has no {wanted}; complete ones: {steps or 'none'}"
      )
    return step


def _restore_args(tree: Any, *, partial: bool = False) -> Any:
  return ocp.args.PyTreeRestore(
    item=tree,
    restore_args=ocp.checkpoint_utils.construct_restore_args(tree),
    partial_restore=partial,
  )


def abstract(tree: Any, shardings: Any) -> Any:
  """Shapes, dtypes and shardings of `tree`, for `Checkpoints.restore`."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree,
    shardings,
  )
