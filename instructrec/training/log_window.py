"""What the next row of the training log will tell."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from instructrec.models import protocol
from instructrec.models.objectives import training_metrics

# A rate is that of the steps since the start, which alone are timed.
_TIMED = frozenset(("target_tokens",))


class LogWindow:
  """Metrics of the steps since the last row of the training log.

  A checkpoint between two rows keeps them, so that the next row of a run that
  goes on from there is that of an unbroken one.

  Args:
    saved: what `saved` gave; empty for a window that begins.
  """

  def __init__(self, saved: Mapping[str, list[float]]) -> None:
    self._saved = saved
    self._merged: protocol.Metrics = {}

  def add(self, metrics: protocol.Metrics) -> None:
    """Takes the metrics of a step; waits for nothing."""
    # Where another objective is trained from here on, the row is of it alone.
    if self._saved.keys() == metrics.keys() - _TIMED:
      before = {
        name: _with_leaves(metrics[name], sums)
        for name, sums in self._saved.items()
      }
      metrics = metrics | {
        name: metric.merge(metrics[name]) for name, metric in before.items()
      }
    self._saved = {}
    self._merged = training_metrics.merge(self._merged, metrics)

  def take(self) -> dict[str, float]:
    """The values of the row; a new window begins."""
    values = training_metrics.compute(self._merged)
    self._merged = {}
    return values

  def saved(self) -> dict[str, list[float]]:
    """The sums so far, to the last bit, as JSON; waits for the device."""
    if self._saved:
      return dict(self._saved)
    return {
      name: [float(leaf) for leaf in jax.tree.leaves(metric)]
      for name, metric in self._merged.items()
      if name not in _TIMED
    }


def _with_leaves(metric: Any, values: list[float]) -> Any:
  """A metric of the same kind; NumPy's arrays suit any number of processes."""
  leaves, structure = jax.tree.flatten(metric)
  return jax.tree.unflatten(
    structure,
    [
      np.asarray(value, leaf.dtype)
      for value, leaf in zip(values, leaves, strict=True)
    ],
  )
