"""Loopback: two processes are one run."""

import json
import socket

import numpy as np
import pytest

from instructrec.cli import generate, prepare
from instructrec.settings import generation, preparation


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def losses(folder):
  """Losses by split, in order, as logged."""
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return [(row["step"], row["split"]) for row in rows], [
    row["loss"] for row in rows
  ]


@pytest.mark.slow
@pytest.mark.tf
def test_two_processes_end_with_the_loss_of_one(shell, tmp_path):
  prepare.run(
    preparation.PrepareSettings(
      raw=preparation.SourceSettings(
        source=preparation.Source.synthetic, num_users=60, num_items=40
      ),
      output=tmp_path / "prepared",
      min_interactions=1,
    )
  )
  generate.run(
    generation.GenerationSettings(
      data=tmp_path / "prepared", output=tmp_path / "data", vocab_size=600
    )
  )
  for processes, devices in ((1, 2), (2, 1)):
    output, _ = shell.run(
      "local.sh",
      f"--processes={processes}",
      f"--devices_per_process={devices}",
      f"--port={free_port()}",
      "--runner=embedded",
      "--gin_file=gin/quickstart_token.gin",
      "--gin.MIXTURE_OR_TASK_NAME='instructrec_v1_sequential_p1_i0'",
      *(
        f"--gin.{name}={value}"
        for name, value in {
          "TRAIN_STEPS": 3,
          "WARMUP_STEPS": 1,
          "BATCH_SIZE": 4,
          "INPUTS_LENGTH": 64,
          "LOG_PERIOD": 1,
          "EVAL_PERIOD": 3,
          "EVAL_STEPS": 1,
          "EVAL_LISTS": 4,
          "CHECKPOINT_PERIOD": 3,
        }.items()
      ),
      f"--tfds_data_dir={tmp_path / 'data'}",
      f"--model_dir={tmp_path / str(processes)}",
      timeout=600,
    )
    assert f"2 devices in {processes} processes" in output
    assert "[0] trained to step 3" in output
  steps, one = losses(tmp_path / "1")
  assert steps[-1] == (3, "validation")
  assert losses(tmp_path / "2")[0] == steps
  np.testing.assert_allclose(losses(tmp_path / "2")[1], one, rtol=1e-5)


def test_devices_are_simulated_and_dealt_out(shell):
  output, _ = shell.run(
    *shell.whole("local.sh"),
    "--devices_per_process=3",
    "--dry_run",
    # Those of whoever starts it come first.
    XLA_FLAGS="",
  )
  commands = shell.commands(output)
  assert len(commands) == 2
  for index, command in enumerate(commands):
    assert "XLA_FLAGS=--xla_force_host_platform_device_count=3" in command
    assert "JAX_PLATFORMS=cpu" in command
    assert "--device_count=6" in command
    assert "--coordinator_address=127.0.0.1:9876" in command
    assert f"--process_index={index}" in command


def test_one_that_fails_ends_the_others(shell):
  shell.stand_in("instructrec", "")
  shell.stand_in(
    "python", '[[ "$*" != *--process_index=1 ]] || exit 7; exec sleep 60'
  )
  _, errors = shell.run(*shell.whole("local.sh"), status=7, timeout=30)
  assert "process 1 ended with status 7; the others are told to stop" in errors


def test_it_passes_sigterm_on(shell):
  shell.stand_in("instructrec", "")
  shell.stand_in(
    "python", 'trap "exit 143" TERM; echo trains; while :; do sleep 0.1; done'
  )
  process = shell.start(*shell.whole("local.sh"))
  training = 0
  for line in process.stdout:
    training += "] trains" in line
    if training == 2:
      break
  process.terminate()
  process.communicate(timeout=30)
  assert process.returncode == 143
