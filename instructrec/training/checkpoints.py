"""Orbax checkpoints of a run: state, and the position in the data.

A checkpoint is a folder `checkpoint_<step>` with the items `state` (step,
parameters, optimizer state) and `data` (what fixes the order of the training
data, sums that the training log has not told yet, and what validation said so
far), and the `SHA256SUMS` of both. Orbax writes to a temporary folder, which is
hashed and renamed, so that a kill leaves the last complete checkpoint in place.
What is restored is checked first: a damaged checkpoint is passed over for the
one before it.

The newest stay, and each one's best: the step that was the best by then. So
whichever of them a run goes on from, its best one is there.
"""

import logging
import os
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from instructrec import checkpoint_steps, checksums
from instructrec.models.checkpoint import evaluations as evaluations_lib
from instructrec.models.checkpoint import orbax_form
from instructrec.training import train_step

_LOG = logging.getLogger(__name__)
_WINDOW = "log_window"


class CheckpointMismatchError(ValueError):
  """A checkpoint belongs to another run than the one that wants it."""


class _NewestAndBest:
  """Orbax's policy of what stays; see the module.

  Args:
    keep: how many newest checkpoints; None for all.
  """

  def __init__(self, keep: int | None) -> None:
    self._keep = keep
    self.evaluations: evaluations_lib.Evaluations | None = None

  def should_preserve(
    self,
    checkpoints: Sequence[checkpoint_managers.PolicyCheckpointInfo],
    *,
    context: checkpoint_managers.PreservationContext,
  ) -> Sequence[bool]:
    """Whether each checkpoint stays."""
    del context
    steps = sorted(one.step for one in checkpoints)
    kept = steps if self._keep is None else steps[-self._keep :]
    bests = set()
    if self.evaluations is not None:
      bests = self.evaluations.best_by(kept)
    return [one.step in bests or one.step in kept for one in checkpoints]


class Checkpoints:
  """The checkpoints in one folder.

  Args:
    directory: the folder; made on the first save.
    keep: how many newest checkpoints stay beside the best; None keeps all.
  """

  def __init__(
    self, directory: str | os.PathLike[str], *, keep: int | None = 3
  ) -> None:
    self.directory = pathlib.Path(directory).absolute()
    self._policy = _NewestAndBest(keep)
    self._manager = ocp.CheckpointManager(
      self.directory,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=self._policy,
        step_prefix=orbax_form.STEP_PREFIX,
        create=True,
        temporary_path_class=orbax_form.temporary_path_class(self.directory),
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
    evaluations: evaluations_lib.Evaluations | None = None,
  ) -> None:
    """Saves in the background; `close` or the next save waits for it.

    Args:
      state: what to save; its step names the checkpoint.
      position: what fixes the order of the data, JSON values.
      window: see `LogWindow.saved`.
      evaluations: those up to this step; None where none choose the best.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    self._policy.evaluations = evaluations
    data = {**position, _WINDOW: dict(window)}
    if evaluations is not None:
      data[evaluations_lib.KEY] = evaluations.to_json()
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(state.trained()),
        data=ocp.args.JsonSave(data),
      ),
    )

  def restore(
    self,
    abstract_state: train_step.TrainState,
    position: Mapping[str, Any],
    step: checkpoint_steps.Step = checkpoint_steps.LATEST,
  ) -> train_step.TrainState:
    """Restores a checkpoint of the same run, to go on from it.

    Damaged ones that were passed over are renamed, to
    `checkpoint_<step>.damaged-<number>`: their steps will be saved again.

    Args:
      abstract_state: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
      position: the data order that this run uses.
      step: which checkpoint; see `whole`.

    Returns:
      The state, on the devices that `abstract_state` names; of parameters what
      is trained.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      DamagedError: see `whole`.
      CheckpointMismatchError: where the checkpoint was trained on another
        order of data, or was imported.
    """
    wanted, step = step, self.whole(step).step
    if not (self._folder(step) / "data").exists():
      raise CheckpointMismatchError(
        f"{self._folder(step)} holds parameters alone, no run "
        "to go on with; give it to a run in another folder with "
        "--gin.INITIAL_CHECKPOINT_PATH"
      )
    saved = self.data(step)
    # Of both: what this run does without is another order as well.
    for name in sorted({*position, *saved} - {_WINDOW, evaluations_lib.KEY}):
      if saved.get(name) != position.get(name):
        raise CheckpointMismatchError(
          f"{self._folder(step)} was trained with {name} = "
          f"{saved.get(name)!r}, this run has {position.get(name)!r}; train "
          "into another folder, or set it back to go on"
        )
    state = self._manager.restore(
      step,
      args=ocp.args.Composite(state=_restore_args(abstract_state.trained())),
    )["state"]
    if wanted == checkpoint_steps.LATEST:
      self._set_aside([newer for newer in self.steps if newer > step])
    return state

  def log_window(self) -> dict[str, list[float]]:
    """What the checkpoint that was restored has for the next row of the log.

    It is the newest by then.
    """
    return self.data(self.steps[-1])[_WINDOW]

  def evaluations(self, metric: str) -> evaluations_lib.Evaluations:
    """What validation said up to the checkpoint that was restored.

    Args:
      metric: that chooses the best one.

    Returns:
      The evaluations; none where another metric chose so far.
    """
    found = evaluations_lib.read(self._folder(self.steps[-1]))
    if found is None or found.metric != metric:
      return evaluations_lib.Evaluations(metric)
    return found

  def data(self, step: int) -> dict[str, Any]:
    """What a checkpoint has beside its state; see `save`."""
    return self._manager.restore(
      step, args=ocp.args.Composite(data=ocp.args.JsonRestore())
    )["data"]

  def restore_params(self, abstract_params: Any, step: int) -> Any:
    """Restores the parameters alone.

    Args:
      abstract_params: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
      step: which checkpoint.

    Returns:
      The parameters.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      DamagedError: see `whole`.
    """
    step = self.whole(step).step
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

  def order(self, wanted: checkpoint_steps.Step) -> evaluations_lib.Order:
    """The steps in the order in which they are tried.

    Args:
      wanted: "best", "latest" or a step.

    Returns:
      The order.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
    """
    steps = self.steps
    named = isinstance(wanted, int)
    if (not named and not steps) or (named and wanted not in steps):
      what = f"checkpoint_{wanted}" if named else "checkpoint"
      raise FileNotFoundError(
        f"{self.directory} has no {what}; complete ones: {steps or 'none'}"
      )
    return evaluations_lib.Order.of({s: self._folder(s) for s in steps}, wanted)

  def whole(
    self, wanted: checkpoint_steps.Step = checkpoint_steps.LATEST
  ) -> checkpoint_steps.Chosen:
    """A step whose files are as they were written; every process calls it.

    Each process reads some of the files, and all decide alike.

    Args:
      wanted: "best", "latest" or a step. Those that are passed over are logged,
        with what is wrong with them.

    Returns:
      The step, and why it is this one.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      DamagedError: where that step is damaged, or all of them are.
    """
    order = self.order(wanted)
    wrong: list[str] = []
    for candidate in order.steps:
      found = self._damage(candidate)
      if found is None:
        for passed_over in wrong:
          _LOG.warning(
            "%s. Restores checkpoint_%d instead", passed_over, candidate
          )
        return order.chosen(candidate)
      wrong.append(found)
    if not isinstance(wanted, int):
      wrong.append(f"no other checkpoint in {self.directory} is whole")
      wrong.append("delete the folder to begin anew")
    else:
      wrong.append(f"name another step; there are {self.steps}")
    raise checksums.DamagedError("; ".join(wrong))

  def _folder(self, step: int) -> pathlib.Path:
    return self.directory / f"{orbax_form.STEP_PREFIX}_{step}"

  def _damage(self, step: int) -> str | None:
    """What is wrong with a checkpoint; the same in no two processes."""
    found = None
    share = jax.process_index(), jax.process_count()
    try:
      checksums.verify(self._folder(step), "it is not restored", share=share)
    except checksums.DamagedError as error:
      found = str(error)
    bad = multihost_utils.process_allgather(np.array([found is not None]))
    if found is None and bad.any():
      number = int(np.flatnonzero(bad.reshape(-1))[0])
      found = f"{self._folder(step)} is damaged, process {number} found"
    return found

  def _set_aside(self, steps: list[int]) -> None:
    """Renames damaged checkpoints, in whose place new ones will be saved."""
    if not steps:
      return
    if jax.process_index() == 0:
      for step in steps:
        folder = self._folder(step)
        number = uuid.uuid4().hex[:8]
        aside = folder.with_name(f"{folder.name}.damaged-{number}")
        folder.rename(aside)
        _LOG.warning("%s is %s now; delete it", folder, aside.name)
    multihost_utils.sync_global_devices("damaged checkpoints are set aside")
    self._manager.reload()


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
