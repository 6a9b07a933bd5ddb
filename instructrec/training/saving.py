"""What a run saves, and whether there is room for it."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from instructrec.models.checkpoint import evaluations as evaluations_lib
from instructrec.training import (
  checkpoint_room,
  checkpoints,
  log_window,
  loop,
  train_step,
)
from instructrec.training import (
  trainer as trainer_lib,
)

if TYPE_CHECKING:
  from instructrec.training import runner


@dataclasses.dataclass(frozen=True)
class Saves:
  """Saves a run in its folder, while that is still its own.

  Attributes:
    store: where to.
    position: whose checkpoints these are.
    window: the open row of the training log.
    check: raises where the folder is no longer this run's.
  """

  store: checkpoints.Checkpoints
  position: dict[str, Any]
  window: log_window.LogWindow
  check: Callable[[], None]

  def __call__(
    self,
    state: train_step.TrainState,
    evaluated: evaluations_lib.Evaluations | None,
  ) -> None:
    """Saves, unless a run that goes on from there would be lost already."""
    self.check()
    if not _all_finite(state.params):
      raise loop.DivergedError(
        f"parameters are no finite numbers at step {int(state.step)}, which is "
        "not saved; the last checkpoint is kept. Lower the learning rate or "
        "train in float32"
      )
    self.store.save(state, self.position, self.window.saved(), evaluated)


@jax.jit
def _all_finite(params: Any) -> jax.Array:
  leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
  return jnp.stack(leaves).all()


def check_room(
  trainer: trainer_lib.Trainer, store: checkpoints.Checkpoints
) -> None:
  """Fails where the disk has no room for the checkpoints to come.

  Args:
    trainer: the run's settings, and what its state takes.
    store: where checkpoints go.

  Raises:
    OSError: see `checkpoint_room.check`.
  """
  config = trainer.config
  newest = store.steps[-1] if store.steps else 0
  left = max(config.train_steps - newest, 0)
  checkpoint_room.check(
    store.directory,
    trainer.abstract_state.trained(),
    saves=-(-left // config.checkpoint_period),
    keep=_with_best(config),
    present=len(store.steps),
  )


def _with_best(config: "runner.TrainConfig") -> int | None:
  """How many checkpoints stay, the best one among them."""
  if config.keep_checkpoints is None or config.best_metric is None:
    return config.keep_checkpoints
  return config.keep_checkpoints + 1
