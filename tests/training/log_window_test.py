"""The row of a resumed run is that of an unbroken one, to the last bit."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from clu import metrics as clu_metrics

from instructrec.models.objectives import training_metrics
from instructrec.training import log_window


def metrics(step, names=("loss", "accuracy")):
  # Sums that floats cannot hold exactly, so that another order would show.
  found = {
    name: clu_metrics.Average(
      total=jnp.float32(0.1 * step + number / 3), count=jnp.float32(step)
    )
    for number, name in enumerate(names)
  }
  found["target_tokens"] = training_metrics.Sum(jnp.float32(7.0))
  return found


def row(steps, window=None):
  window = window or log_window.LogWindow({})
  for step in steps:
    window.add(metrics(step))
  return window.take()


@pytest.mark.parametrize("stops", [(3,), (1, 2), (3, 3, 9)])
def test_a_window_goes_on_where_a_checkpoint_was_made(stops):
  unbroken = row(range(1, 11))
  window, first = log_window.LogWindow({}), 1
  for stop in stops:
    for step in range(first, stop + 1):
      window.add(metrics(step))
    saved = json.loads(json.dumps(window.saved()))
    window, first = log_window.LogWindow(saved), stop + 1
  resumed = row(range(first, 11), window)
  # Tokens are told a second, and these seconds are those of the last start.
  assert resumed.pop("target_tokens") == 7.0 * (10 - stops[-1])
  unbroken.pop("target_tokens")
  assert resumed == unbroken


def test_a_row_ends_its_window():
  window = log_window.LogWindow({})
  row([1, 2], window)
  assert window.saved() == {}
  assert row([3], window) == row([3])


def test_metrics_of_another_objective_are_not_mixed():
  window = log_window.LogWindow({"loss": [5.0, 1.0], "z_loss": [1.0, 1.0]})
  assert row([3], window) == row([3])


def test_types_stay_those_of_the_model():
  window = log_window.LogWindow({"loss": [5.0, 1.0], "accuracy": [1.0, 1.0]})
  window.add(metrics(1))
  window.add(metrics(2))
  assert window.saved()["loss"] == [
    float(np.float32(np.float32(5.0 + np.float32(0.1)) + np.float32(0.2))),
    4.0,
  ]
