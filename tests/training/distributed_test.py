"""Two processes on loopback are one run: same losses, same checkpoints."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

import instructrec
from instructrec import folder_lock
from instructrec.training import distributed, run_dir

_ROOT = pathlib.Path(instructrec.__file__).parent.parent
_SECONDS = 300

# One process of a run of four devices. Run as a script, so it stands on its
# own; the model and data are those of copy_run.
_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
address, count, index, mesh, folder, steps, delay, seed = sys.argv[1:]
from instructrec.training import distributed
if int(count) > 1:
  distributed.initialize(address, int(count), int(index), 60)
data, model = map(int, mesh.split('x'))
distributed.check_devices(data * model)
import copy_run
copy_run.run(folder, data=data, model=model, steps=int(steps),
         delay=float(delay), seed=int(seed))
"""


# One process of a run that takes the lock of its folder, and holds it a while.
_LOCKED = """
import sys
address, count, index, folder = sys.argv[1:5]
from instructrec.training import distributed, run_dir
distributed.initialize(address, int(count), int(index), 60)
with run_dir.locked(folder, print) as check:
  check()
  print("trains")
"""


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def start(folder, *, processes, steps=10, mesh="4x1", delay=0.0, seeds=(0, 0)):
  """Starts all processes of a run; the mesh is dealt out among them."""
  data, model = map(int, mesh.split("x"))
  script = _SCRIPT.format(tests=str(pathlib.Path(__file__).parent))
  more = [(mesh, folder, steps, delay, seed) for seed in seeds[:processes]]
  return start_script(script, more, devices=data * model // processes)


def start_script(script, more, *, devices=1):
  """Starts a process for each row of `more`, its arguments."""
  address = f"127.0.0.1:{free_port()}"
  return [
    subprocess.Popen(
      [
        sys.executable,
        "-c",
        script,
        *map(str, (address, len(more), index, *rest)),
      ],
      env={
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
        f"--xla_force_host_platform_device_count={devices}",
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index, rest in enumerate(more)
  ]


def finish(running, *statuses):
  """Waits for all processes, which end well or so; returns what each wrote."""
  try:
    outputs = [p.communicate(timeout=_SECONDS)[0] for p in running]
  finally:
    for process in running:
      process.kill()
  wanted = list(statuses) or [0] * len(running)
  assert [p.returncode for p in running] == wanted, outputs
  return outputs


def losses(folder, split="train"):
  lines = (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  steps = [row["step"] for row in rows if row["split"] == split]
  assert steps == sorted(set(steps)), "a step is logged twice"
  return [row["loss"] for row in rows if row["split"] == split]


def checkpoint_steps(folder):
  found = (pathlib.Path(folder) / "checkpoints").glob("checkpoint_*")
  return sorted(int(path.name.split("_")[1]) for path in found)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
  """One process with four devices, ten steps."""
  folder = tmp_path_factory.mktemp("one")
  finish(start(folder, processes=1))
  return folder


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["4x1", "2x2", "1x2"])
def test_two_processes_have_the_losses_of_one(one, tmp_path, mesh):
  # In 1x2 the model axis spans the processes: both hold the whole batch.
  lead, other = finish(start(tmp_path, processes=2, mesh=mesh))
  for split in ("train", "validation"):
    np.testing.assert_allclose(
      losses(tmp_path, split), losses(one, split), rtol=1e-5
    )
  assert len(losses(tmp_path)) == 10
  # The lead alone writes logs and shows progress.
  assert len(list((tmp_path / "tensorboard").iterdir())) == 1
  assert "step 10: validation" in lead
  assert "step 10: validation" not in other


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
  one, tmp_path, first, second
):
  """Also from the checkpoint before, where the newest one is damaged."""
  finish(start(tmp_path, processes=first, steps=6))
  assert checkpoint_steps(tmp_path) == [4, 6]
  newest = tmp_path / "checkpoints" / "checkpoint_6"
  next((newest / "state").rglob("d/*")).write_bytes(b"damaged")
  lead, *_ = finish(start(tmp_path, processes=second, steps=10))
  assert "Restores checkpoint_4 instead" in lead
  damaged = list(newest.parent.glob("checkpoint_6.damaged-*"))
  assert len(damaged) == 1
  shutil.rmtree(damaged[0])
  # The newest, and before them what may be the best.
  assert checkpoint_steps(tmp_path)[-2:] == [8, 10]
  np.testing.assert_allclose(losses(tmp_path), losses(one), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("told", "sent", "statuses"),
  [
    (0, signal.SIGTERM, (143, 143)),
    (1, signal.SIGINT, (143, 130)),
  ],
)
def test_a_signal_to_one_process_saves_one_checkpoint_on_all(
  one, tmp_path, told, sent, statuses
):
  running = start(tmp_path, processes=2, steps=1000, delay=0.3)
  log = tmp_path / "metrics.jsonl"
  deadline = time.monotonic() + _SECONDS
  while time.monotonic() < deadline:
    if log.exists() and log.read_text().count('"train"') >= 2:
      break
    assert all(process.poll() is None for process in running), finish(running)
    time.sleep(0.05)
  running[told].send_signal(sent)
  finish(running, *statuses)
  stopped = checkpoint_steps(tmp_path)[-1]
  logged = len(losses(tmp_path))
  assert logged <= stopped <= logged + 1
  # What was saved is whole: the run goes on from it.
  finish(start(tmp_path, processes=2, steps=stopped + 2))
  assert checkpoint_steps(tmp_path)[-1] == stopped + 2
  common = min(stopped - 1, 10)
  np.testing.assert_allclose(
    losses(tmp_path)[:common], losses(one)[:common], rtol=1e-5
  )


@pytest.mark.slow
def test_processes_that_mean_different_runs_end_at_once(tmp_path):
  outputs = finish(start(tmp_path, processes=2, seeds=(0, 7)), 1, 1)
  for output in outputs:
    assert "the order of the training data differs between process 0" in output
  assert "'run_seed': 7" in outputs[1]
  assert checkpoint_steps(tmp_path) == []


@pytest.mark.slow
def test_the_lead_holds_the_lock_for_all_processes(tmp_path):
  rows = [(tmp_path / "model",)] * 2
  for output in finish(start_script(_LOCKED, rows)):
    assert "trains" in output
  held = folder_lock.FolderLock(
    tmp_path / "model" / run_dir.LOCK,
    folder="model",
    command="train",
    tell=print,
  )
  with held:
    outputs = finish(start_script(_LOCKED, rows), 1, 1)
  for output in outputs:
    assert "trains" not in output
    assert f"is in use: process {os.getpid()} on" in output
  assert "process 0 says: " in outputs[1]


def test_what_the_lead_refuses_it_says_as_it_is():
  def refuse():
    raise FileNotFoundError("no such folder")

  with pytest.raises(FileNotFoundError, match="no such folder"):
    distributed.by_lead("refuse", refuse)
  distributed.by_lead("allow", lambda: None)


def test_devices_that_are_missing_are_named():
  found = jax.device_count()
  distributed.check_devices(found)
  with pytest.raises(
    ValueError, match=rf"has {found} cpu devices \(1 processes x {found}\)"
  ):
    distributed.check_devices(found + 3)


def test_unequal_processes_are_named(monkeypatch):
  devices = [
    types.SimpleNamespace(process_index=i, platform="gpu") for i in (0, 0, 1)
  ]
  monkeypatch.setattr(jax, "devices", lambda: devices)
  with pytest.raises(ValueError, match=r"\{0: 2, 1: 1\}; expected the same"):
    distributed.check_devices()


def test_processes_that_were_not_joined_are_refused(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 8)
  with pytest.raises(ValueError, match="Pass --multiprocess_gpu"):
    distributed.check_devices()


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({}, "Neither a TPU pod nor SLURM"),
    ({"process_count": 2}, "--coordinator_address, --process_index missing"),
  ],
)
def test_processes_that_cannot_be_joined_say_what_is_missing(
  given, message, monkeypatch
):
  # What JAX answers where it detects no cluster, in a fresh process.
  def initialize(*unused):
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  with pytest.raises(ValueError, match=message):
    distributed.initialize(**given)


def test_one_process_agrees_with_itself_and_waits_for_nobody():
  distributed.check_agreement({"seed": 1})
  with distributed.lead_first("once"), distributed.lead_first("once"):
    assert distributed.is_lead()
  assert distributed.sum_over_devices() == jax.device_count()
