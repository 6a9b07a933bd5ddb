"""Resume and meshes: the same run whatever its circumstances."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import copy_run
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import instructrec
from instructrec.models.objectives import training_metrics
from instructrec.training import (
  checkpoints,
  distributed,
  log_window,
  loop,
  mesh,
  optimizer,
  profiling,
  runner,
  schedules,
  train_step,
  watchdog,
)
from instructrec.training import (
  trainer as trainer_lib,
)

_ROOT = pathlib.Path(instructrec.__file__).parent.parent

# Runs as a script in other processes, so it stands on its own.
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import copy_run

for argument in sys.argv[3:]:
  folder, shape, *flags = argument.split(',')
  data, model = map(int, shape.split('x'))
  copy_run.run(folder, data=data, model=model, steps=int(sys.argv[1]),
               delay=float(sys.argv[2]), **{{flag: True for flag in flags}})
"""
# Meshes of four devices, and settings that hold on them; meshes alone are in
# distributed_test.
ON_FOUR = (
  ("2x2", "shard_parameters", "shard_sequence", "chunked_loss"),
  ("4x1", "shard_parameters"),
)


def spawn(runs, *, steps, devices=1, delay=0.0):
  """Starts `run` in a fresh process, for each folder with its settings."""
  return subprocess.Popen(
    [
      sys.executable,
      "-c",
      SCRIPT.format(tests=str(pathlib.Path(__file__).parent)),
      str(steps),
      str(delay),
      *(f"{folder},{','.join(settings)}" for folder, settings in runs.items()),
    ],
    env={
      **os.environ,
      "PYTHONPATH": str(_ROOT),
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
      f"--xla_force_host_platform_device_count={devices}",
    },
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  _, err = process.communicate(timeout=300)
  assert process.returncode == 0, err


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  directory = tmp_path_factory.mktemp("unbroken")
  finish(spawn({directory: ("1x1",)}, steps=10))
  return directory


def test_training_lowers_the_loss_and_validates(unbroken):
  found = copy_run.losses(unbroken)
  assert list(found) == list(range(1, 11))
  assert found[10] < found[1]
  assert list(copy_run.losses(unbroken, "validation")) == [4, 8, 10]


def test_killed_and_run_again_ends_with_the_same_parameters(unbroken, tmp_path):
  process = spawn({tmp_path: ("1x1",)}, steps=10, delay=0.3)
  deadline = time.monotonic() + 240
  while time.monotonic() < deadline:
    # Checkpoints are written while training goes on: steps alone do not tell.
    saved = (tmp_path / "checkpoints" / "checkpoint_4").is_dir()
    log = tmp_path / "metrics.jsonl"
    if saved and log.read_text().count('"train"') >= 6:
      break
    time.sleep(0.05)
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  saved = sorted(p.name for p in (tmp_path / "checkpoints").glob("check*"))
  assert "checkpoint_4" in saved
  assert "checkpoint_10" not in saved
  finish(spawn({tmp_path: ("1x1",)}, steps=10))
  assert copy_run.losses(tmp_path) == copy_run.losses(unbroken)
  copy_run.assert_trees_equal(
    copy_run.params(tmp_path, 10), copy_run.params(unbroken, 10), rtol=0, atol=0
  )


@pytest.mark.parametrize(
  ("sent", "status"),
  [
    (signal.SIGTERM, 143),
    pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
  ],
)
def test_a_signal_saves_and_is_the_exit_status(tmp_path, sent, status):
  process = spawn({tmp_path: ("1x1",)}, steps=1000, delay=0.2)
  log = tmp_path / "metrics.jsonl"
  deadline = time.monotonic() + 240
  while time.monotonic() < deadline:
    if log.exists() and log.read_text().count('"train"') >= 2:
      break
    time.sleep(0.05)
  process.send_signal(sent)
  process.communicate(timeout=120)
  assert process.returncode == status
  saved = list((tmp_path / "checkpoints").glob("checkpoint_*"))
  last = max(copy_run.losses(tmp_path))
  assert max(int(p.name.split("_")[1]) for p in saved) >= last


class _Killed(Exception):
  """What was not saved is lost."""


def test_the_log_of_a_resumed_run_is_that_of_an_unbroken_one(
  tmp_path, monkeypatch
):
  """Wherever it was stopped, and however rows and checkpoints lie."""
  config = copy_run.train_config(
    steps=16, log_period=3, eval_period=4, checkpoint_period=5
  )
  source, validation = copy_run.stream(pack=True), copy_run.stream(seed=1)
  shapes = {name: x.shape for name, x in source.batch(0).items()}
  # Compiled once for all.
  trainer = trainer_lib.Trainer.create(config, shapes)
  monkeypatch.setattr(trainer_lib.Trainer, "create", lambda *unused: trainer)

  def train(folder, reached=lambda *unused: False):
    monkeypatch.setattr(distributed.StopOnSignal, "reached", reached)
    runner.train(config, source, validation, folder)

  def kill(unused, step):
    if step == 11:
      raise _Killed

  whole, broken = tmp_path / "whole", tmp_path / "broken"
  train(whole)
  steps = [(row["step"], row["split"]) for row in copy_run.rows(whole)]
  assert steps == sorted(
    [
      *((step, "train") for step in (3, 6, 9, 12, 15, 16)),
      *((step, "validation") for step in (4, 8, 12, 16)),
    ]
  )
  # Saved where a row of the training loss is due, and one of the validation.
  for last in (3, 8, 13):
    with pytest.raises(SystemExit):
      train(broken, lambda self, step, last=last: step == last)
    if last == 8:
      with pytest.raises(_Killed):
        train(broken, kill)
      assert copy_run.rows(broken)[-1]["step"] == 9
  # Ctrl-C while the last checkpoint is written: it is.
  close = checkpoints.Checkpoints.close
  monkeypatch.setattr(
    checkpoints.Checkpoints,
    "close",
    lambda self: (os.kill(os.getpid(), signal.SIGINT), close(self)),
  )
  train(broken)
  monkeypatch.undo()
  assert copy_run.rows(broken) == copy_run.rows(whole)
  copy_run.assert_trees_equal(
    copy_run.params(broken, 16), copy_run.params(whole, 16), rtol=0, atol=0
  )


@pytest.fixture(scope="module")
def on_four(tmp_path_factory):
  """The folders of runs on four devices, all of one process."""
  # What is trained is compared: nothing else is compiled.
  runs = {
    tmp_path_factory.mktemp("four"): (*found, "unvalidated")
    for found in ON_FOUR
  }
  finish(spawn(runs, steps=10, devices=4))
  return dict(zip(ON_FOUR, runs, strict=True))


@pytest.mark.parametrize("settings", ON_FOUR, ids="-".join)
def test_four_devices_give_the_losses_of_one(unbroken, on_four, settings):
  one, four = copy_run.losses(unbroken), copy_run.losses(on_four[settings])
  np.testing.assert_allclose(list(four.values()), list(one.values()), rtol=1e-5)


def test_another_data_order_is_refused(unbroken):
  config = copy_run.train_config(steps=12)
  with pytest.raises(
    checkpoints.CheckpointMismatchError, match=r"seed = 0, this run has 5"
  ):
    runner.train(config, copy_run.stream(pack=True, seed=5), None, unbroken)


@pytest.mark.parametrize(
  ("log_period", "message"),
  [
    (1, "training loss is nan"),
    # Looked at later than checkpoints are written.
    (6, "at step 4, which is not"),
  ],
)
def test_a_run_that_is_no_number_stops_and_is_not_saved(
  tmp_path, log_period, message
):
  config = copy_run.train_config(
    steps=6,
    log_period=log_period,
    checkpoint_period=2,
    optimizer=optax.chain(
      optax.sgd(1e-3),
      optax.scale_by_schedule(lambda step: jnp.where(step < 2, 1, jnp.nan)),
    ),
  )
  with pytest.raises(loop.DivergedError, match=message):
    runner.train(config, copy_run.stream(), None, tmp_path)
  assert checkpoints.Checkpoints(tmp_path / "checkpoints").steps == [2]


def test_rates_leave_out_the_time_of_validation(monkeypatch):
  """Also where it falls between two rows of the log."""
  now = 0.0
  state = train_step.TrainState(jnp.zeros((), jnp.int32), {}, {})

  def step_fn(state, batch, rng):
    nonlocal now
    now += 1.0
    one = training_metrics.Sum(jnp.ones(()))
    return state, {"loss": one, "target_tokens": one, "grad_norm": one}

  def validated(unused):
    nonlocal now
    now += 10.0
    return {}

  monkeypatch.setattr(
    loop, "time", types.SimpleNamespace(perf_counter=lambda: now)
  )
  trainer = types.SimpleNamespace(
    config=copy_run.train_config(steps=12, log_period=4, eval_period=3),
    batch=lambda stream, step: {},
    step_fn=step_fn,
  )
  window = log_window.LogWindow({})
  dog = watchdog.Watchdog(0)
  profile = profiling.Profile("", None, print)
  events = loop.events(
    trainer, state, None, range(12), validated, window, dog, profile
  )
  rows = [event for event in events if event[3]]
  assert [row[0] for row in rows] == [4, 8, 12]
  for _, _, _, values in rows:
    assert (values["steps_per_s"], values["tokens_per_s"]) == (1.0, 1.0)


def test_compiling_is_no_hang_whatever_shape_comes_first():
  """Of batches that differ in width, the first of each is compiled."""

  def step_fn(state, batch, rng):
    one = training_metrics.Sum(jnp.ones(()))
    return state, {"loss": one, "target_tokens": one, "grad_norm": one}

  widths, paused, done = [8, 8, 4, 8, 4, 6], [], []
  trainer = types.SimpleNamespace(
    config=copy_run.train_config(steps=6, log_period=6, eval_period=6),
    batch=lambda stream, step: {"x": np.zeros((2, widths[step]))},
    step_fn=step_fn,
  )

  @contextlib.contextmanager
  def pause():
    paused.append(len(done))
    yield

  dog = types.SimpleNamespace(
    paused=pause, dispatched=lambda step, signal: done.append(step)
  )
  state = train_step.TrainState(jnp.zeros((), jnp.int32), {}, {})
  window, profile = log_window.LogWindow({}), profiling.Profile("", None, print)
  list(loop.events(trainer, state, None, range(6), None, window, dog, profile))
  assert paused == [0, 2, 5]


def _rows_until_the_end(floors, values):
  """Rows of a log whose metric has these values, a step each."""
  seen = iter(values)

  def step_fn(state, batch, rng):
    one = training_metrics.Sum(jnp.ones(()))
    found = training_metrics.Sum(jnp.asarray(next(seen)))
    names = ("loss", "target_tokens", "grad_norm")
    return state, {**dict.fromkeys(names, one), "lists/distinct": found}

  trainer = types.SimpleNamespace(
    config=copy_run.train_config(
      steps=len(values), log_period=1, floors=floors
    ),
    batch=lambda stream, step: {},
    step_fn=step_fn,
  )
  yield from loop.events(
    trainer,
    train_step.TrainState(jnp.zeros((), jnp.int32), {}, {}),
    None,
    range(len(values)),
    None,
    log_window.LogWindow({}),
    watchdog.Watchdog(0),
    profiling.Profile("", None, print),
  )


@pytest.mark.parametrize("last", [0.04, float("nan")])
def test_a_value_below_its_floor_ends_the_run_with_what_was_seen(last):
  """The row that shows it is there, and no checkpoint of that step."""
  events = _rows_until_the_end({"lists/distinct": 0.05}, [0.5, 0.05, last, 1.0])
  seen = []
  with pytest.raises(
    loop.CollapsedError, match=r"by step 3: lists/distinct is .* floor 0\.05"
  ):
    seen.extend((step, event) for step, _, event, _ in events)
  assert seen[-2:] == [(2, "step"), (3, "train")]


def test_a_floor_is_of_something_that_is_logged():
  events = _rows_until_the_end({"lists/distnct": 0.05}, [1.0])
  with pytest.raises(ValueError, match="names lists/distnct, which the train"):
    list(events)


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
  config = copy_run.train_config(steps=1, num_microbatches=3)
  with pytest.raises(ValueError, match="make the batch size a multiple of 3"):
    runner.train(config, copy_run.stream(), None, tmp_path)


def test_a_length_that_would_be_split_unevenly_is_refused(monkeypatch):
  made = jax.sharding.AbstractMesh((1, 8), ("data", "model"))
  monkeypatch.setattr(mesh, "make_mesh", lambda *unused: made)
  config = copy_run.train_config(steps=1, model_axis=8, shard_sequence=True)
  shapes = {"encoder_input_tokens": (8, 16), "decoder_input_tokens": (8, 12)}
  with pytest.raises(ValueError, match="has the length 12, which does not"):
    trainer_lib.Trainer.create(config, shapes)


def test_a_checkpoint_that_is_not_there_lists_those_that_are(unbroken):
  store = checkpoints.Checkpoints(unbroken / "checkpoints")
  with pytest.raises(FileNotFoundError, match=r"no checkpoint_3.*\[4, 8, 10\]"):
    store.restore_params({"x": jnp.zeros(1)}, 3)


def test_rows_tell_the_rate_and_the_norm_of_the_gradient(tmp_path):
  """Before it is clipped."""
  rate = schedules.cosine(1e-2, train_steps=4, warmup_steps=2)
  config = copy_run.train_config(
    steps=2, dropout=0.0, optimizer=optimizer.adamw(rate, max_grad_norm=1e-3)
  )
  source = copy_run.stream()
  runner.train(config, source, None, tmp_path)
  found = [row for row in copy_run.rows(tmp_path) if row["split"] == "train"]
  assert [row["learning_rate"] for row in found] == [0.0, pytest.approx(5e-3)]
  shapes = {name: x.shape for name, x in source.batch(0).items()}
  state = trainer_lib.Trainer.create(config, shapes).init()

  batch = source.batch(0)
  gradients, _ = jax.jit(
    lambda params: train_step.compute_gradients(
      config.model, params, batch, None
    )
  )(state.params)
  tokens = float(config.model.loss_divisor(batch))
  leaves = jax.tree.leaves(gradients)
  norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in leaves)) / tokens
  assert norm > 1e-2
  assert found[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_counts_must_be_positive():
  with pytest.raises(ValueError, match=r"TrainConfig.log_period is 0"):
    copy_run.train_config(steps=1, log_period=0)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"best_metric": "NDCG@10"}, r"EVAL_LISTS\) is 0"),
    ({"best_metric": "HR@3", "eval_lists": 5}, "EVAL_CUTOFFS"),
    ({"patience": 2}, "metric whose gains are awaited"),
    ({"patience": 0, "best_metric": "loss"}, "expected at least 1"),
    ({"eval_cutoffs": (0,)}, "some K of 1 or more"),
    ({"min_delta": -0.1}, "expected at least 0"),
  ],
)
def test_what_cannot_choose_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    copy_run.train_config(steps=1, **changes)
