"""The loop of a run: update, and say what is due at each step.

Left out on purpose: what is done with that. `runner` logs, saves and stops.
"""

import concurrent.futures
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import jax
import numpy as np

from instructrec.training import (
  batches,
  log_window,
  optimizer,
  profiling,
  train_step,
  validation,
  watchdog,
)
from instructrec.training import (
  trainer as trainer_lib,
)

Made = TypeVar("Made")
Event = tuple[int, train_step.TrainState, str, dict[str, float]]
"""Updates made, the state, what is due, and values; see `events`."""


class DivergedError(ValueError):
  """Loss or parameters stopped being finite numbers: other settings mend it."""


class CollapsedError(DivergedError):
  """A value of the training log fell below its floor."""


def events(
  trainer: trainer_lib.Trainer,
  state: train_step.TrainState,
  stream: batches.BatchStream,
  steps: range,
  validated: validation.Validation | None,
  window: log_window.LogWindow,
  dog: watchdog.Watchdog,
  profile: profiling.Profile,
) -> Iterator[Event]:
  """Trains, and says what is due.

  The step is counted here: reading it from the state would wait for the
  device after every update. Its rows come before "step": who stops a run there
  leaves none out.

  Args:
    trainer: the compiled step, and the run's settings.
    state: that training goes on from.
    stream: training batches.
    steps: those that are left, from 0.
    validated: gives the rows of validation; None for none.
    window: of the training log; takes the metrics of each step.
    dog: is told what was done.
    profile: is told of each step.

  Yields:
    (updates made, state, event, values): "train" and "validation" with a row,
    "checkpoint" where one is due, and "step" after each.

  Raises:
    DivergedError: where the loss is no finite number.
    CollapsedError: where a value is below its floor.
    ValueError: where there is no value that a floor is of.
  """
  config = trainer.config
  rng = jax.random.key(config.seed)
  since, time_0, compiled = 0, time.perf_counter(), False
  known: set[tuple[tuple[int, ...], ...]] = set()
  made = ahead(functools.partial(trainer.batch, stream), steps)
  for step, batch in zip(steps, made, strict=True):
    done = step + 1
    profile.before(done)
    shapes = tuple(array.shape for array in batch.values())
    # The first step of each shape is compiled.
    with contextlib.nullcontext() if shapes in known else dog.paused():
      state, metrics = trainer.step_fn(state, batch, rng)
    known.add(shapes)
    dog.dispatched(done, metrics[train_step.GRAD_NORM].total)
    profile.after(done, metrics)
    window.add(metrics)
    since += 1
    last = done == config.train_steps
    if done % config.log_period == 0 or last:
      values = window.take()
      seconds = time.perf_counter() - time_0
      rate = optimizer.learning_rate(config.optimizer, step)
      if rate is not None:
        values["learning_rate"] = rate
      values["steps_per_s"] = since / seconds
      values["tokens_per_s"] = values.pop("target_tokens") / seconds
      since, time_0 = 0, time.perf_counter()
      if not np.isfinite(values["loss"]):
        raise DivergedError(
          f"the training loss is {values['loss']} between steps "
          f"{done - config.log_period} and {done}; the last checkpoint is "
          "kept. Lower the learning rate or train in float32"
        )
      # The row that shows it is kept.
      yield done, state, "train", values
      _check_floors(config.floors, values, done)
    if validated is not None and (done % config.eval_period == 0 or last):
      # The steps on the way are timed as such, and the validation is not.
      jax.block_until_ready(state.step)
      paused = time.perf_counter()
      with contextlib.nullcontext() if compiled else dog.paused():
        values = validated(state.params)
      compiled = True
      yield done, state, "validation", values
      time_0 += time.perf_counter() - paused
    if done % config.checkpoint_period == 0 or last:
      yield done, state, "checkpoint", {}
    yield done, state, "step", {}


def _check_floors(
  floors: Mapping[str, float], values: Mapping[str, float], step: int
) -> None:
  """Fails for a row of the training log that is below a floor."""
  if missing := sorted(floors.keys() - values.keys()):
    raise ValueError(
      f"TrainConfig.floors (FLOORS) names {', '.join(missing)}, which the "
      f"training log does not have; expected some of {', '.join(values)}"
    )
  # NaN is below nothing, and above nothing.
  low = [name for name, floor in floors.items() if not values[name] >= floor]
  if low:
    found = ", ".join(
      f"{name} is {values[name]:.4g} and its floor {floors[name]:g}"
      for name in low
    )
    row = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    raise CollapsedError(
      f"the policy has collapsed by step {step}: {found}. The last checkpoint "
      "is kept; lower the learning rate or train for fewer steps, into another "
      f"folder (floors: FLOORS). The row of the training log: {row}"
    )


def ahead(make: Callable[[int], Made], steps: range) -> Iterator[Made]:
  """What `make` gives for each step, made while the step before it is in use.

  Args:
    make: called with a step, in a thread of its own.
    steps: which, in order.

  Yields:
    The results.
  """
  with concurrent.futures.ThreadPoolExecutor(1, "batches") as maker:
    waiting = [maker.submit(make, step) for step in steps[:1]]
    for step in steps:
      made = waiting.pop().result()
      if step + 1 < steps.stop:
        waiting.append(maker.submit(make, step + 1))
      yield made
