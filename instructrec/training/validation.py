"""What is measured on validation data while a run is trained, and what follows.

One metric chooses the best checkpoint and may end the run early. Every process
has the same values, from which each decides alike.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from instructrec.models import protocol
from instructrec.models.checkpoint import evaluations as evaluations_lib
from instructrec.models.objectives import training_metrics
from instructrec.training import (
  batches,
  checkpoints,
  train_step,
  trainer,
  validation_lists,
)
from instructrec.training import (
  mesh as mesh_lib,
)


class Validation:
  """Evaluates a run, and remembers the metric that chooses.

  Args:
    trained: the model and its settings.
    stream: validation batches, of which the first ones are taken.
    lists: validation lists, ranked beside the loss; None for none.
  """

  def __init__(
    self,
    trained: trainer.Trainer,
    stream: batches.BatchStream,
    lists: validation_lists.ValidationLists | None,
  ) -> None:
    self._trainer, self._stream, self._lists = trained, stream, lists
    self._config = trained.config
    self.evaluations: evaluations_lib.Evaluations | None = None
    if self._config.best_metric is not None:
      self.evaluations = evaluations_lib.Evaluations(self._config.best_metric)
    if lists is not None:
      lists.check(self._config.model)

  def check(self, params: Any) -> None:
    """Fails where no evaluation will have the metric; before training.

    Args:
      params: parameters of the model, or their shapes.

    Raises:
      ValueError: naming the metrics that there are.
    """
    wanted, known = self._config.best_metric, list[str]()
    if self._lists is not None:
      known += validation_lists.names(self._config.eval_cutoffs)
    if wanted is None or wanted in known:
      return
    model, batch = self._config.model, self._stream.batch(0)
    _, metrics = jax.eval_shape(model.eval_fn, params, batch)
    known = [name for name in metrics if name != "target_tokens"] + known
    if wanted not in known:
      raise ValueError(
        f"TrainConfig.best_metric (BEST_METRIC) is {wanted!r}, which "
        f"validation does not measure; expected one of {', '.join(known)}"
      )

  def __call__(self, params: Any) -> dict[str, float]:
    """Metrics over the same batches and lists each time.

    Args:
      params: of the model.

    Returns:
      Values by name, the same in all processes.
    """
    merged: protocol.Metrics = {}
    for step in range(self._config.eval_steps):
      batch = self._trainer.batch(self._stream, step)
      metrics = self._trainer.eval_fn(params, batch)
      merged = training_metrics.merge(merged, metrics)
    values = training_metrics.compute(merged)
    del values["target_tokens"]
    if self._lists is not None:
      values |= self._lists.metrics(
        self._config.model,
        params,
        self._config.eval_cutoffs,
        self._config.mesh,
      )
    if jax.process_count() == 1:
      return values
    # To the last bit: devices have no 64 bits.
    words = np.array(list(values.values()), np.float64).view(np.uint32)
    told = np.asarray(multihost_utils.broadcast_one_to_all(words))
    return dict(zip(values, told.view(np.float64).tolist(), strict=True))

  def note(self, step: int, values: dict[str, float]) -> bool:
    """Remembers an evaluation.

    Args:
      step: updates made.
      values: what the evaluation gave.

    Returns:
      Whether it is the best one so far.
    """
    if self.evaluations is None:
      return False
    value = values[self.evaluations.metric]
    self.evaluations = self.evaluations.added(step, value)
    best = self.evaluations.best
    return best is not None and best[0] == step

  @property
  def stops(self) -> bool:
    """Whether the run has gone without a gain for long enough to end."""
    patience = self._config.patience
    if patience is None or self.evaluations is None:
      return False
    without = self.evaluations.num_without_gain(self._config.min_delta)
    return without >= patience


def begun(
  trained: trainer.Trainer,
  stream: batches.BatchStream | None,
  lists: validation_lists.ValidationLists | None,
  state: train_step.TrainState,
  store: checkpoints.Checkpoints,
) -> Validation | None:
  """Validation that is known to measure what is to choose.

  With what it said before, of a run that goes on.

  Args:
    trained: the model and its settings.
    stream: validation batches; None for none.
    lists: validation lists, ranked beside the loss; None for none.
    state: that training goes on from.
    store: the run's checkpoints.

  Returns:
    The validation; None where there are no batches.

  Raises:
    ValueError: where it does not measure what is to choose.
  """
  config = trained.config
  if stream is None:
    if config.patience is not None:
      raise ValueError(
        f"TrainConfig.patience (PATIENCE) is {config.patience}, but the run "
        "has no validation data; set DataConfig.validation_split, or no "
        "patience"
      )
    return None
  found = Validation(trained, stream, lists)
  with mesh_lib.use(trained.mesh, config.mesh):
    found.check(state.params)
  if found.evaluations is not None and store.steps:
    found.evaluations = store.evaluations(found.evaluations.metric)
  return found
