"""SLURM: the commands, and what happens at the time limit."""

import signal
import time

import pytest


def test_it_submits_itself_once_the_options_are_right(shell):
  shell.stand_in("sbatch", "")
  shell.run(
    *shell.whole("slurm.sbatch"), "--partition=gpu", "--time=1-00:00:00"
  )
  check, call = shell.calls()
  assert check.startswith("instructrec preflight --runner=t5x ")
  assert call.startswith(
    "sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 "
    "--time=1-00:00:00 --partition=gpu launch/slurm.sbatch --nodes=2"
  )


@pytest.mark.parametrize(
  ("per", "tasks", "environment"),
  [("gpu", 8, ""), ("node", 1, " env JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7")],
)
def test_a_process_per_gpu_or_per_node(shell, per, tasks, environment):
  output, _ = shell.run(
    *shell.whole("slurm.sbatch"), f"--process_per={per}", "--dry_run"
  )
  step = next(line for line in output.splitlines() if line.startswith("srun"))
  assert (
    f"--nodes=2 --ntasks-per-node={tasks}{environment} "
    "launch/host.sh --device_count=16 " in step
  )
  assert f"sbatch --nodes=2 --ntasks-per-node={tasks} " in output


def test_it_must_be_submitted_from_the_folder_of_launch(shell, tmp_path):
  _, errors = shell.run(
    *shell.whole("slurm.sbatch"), status=2, SLURM_SUBMIT_DIR=str(tmp_path)
  )
  assert f"no launch/options.sh in {tmp_path}" in errors


def job(shell, *arguments, sent, srun, restarts="0"):
  """Runs the job as SLURM does, and sends it a signal once it trains."""
  shell.stand_in("srun", srun)
  shell.stand_in("scontrol", "")
  process = shell.start(
    *shell.whole("slurm.sbatch"),
    *arguments,
    SLURM_JOB_ID="17",
    SLURM_RESTART_COUNT=restarts,
  )
  deadline = time.monotonic() + 60
  while not shell.calls() and time.monotonic() < deadline:
    time.sleep(0.05)
  if sent is not None:
    process.send_signal(sent)
  output, errors = process.communicate(timeout=60)
  return process.returncode, shell.calls(), output + errors


# A step that ends when it is told to, as the embedded runner does: with 143.
PATIENT = (
  'echo $$ > "$0.pid"; trap "exit 143" TERM; while :; do sleep 0.1; done'
)


@pytest.fixture
def scancel(shell):
  """A scancel that signals the step."""
  shell.stand_in("scancel", f'kill -TERM "$(<"{shell.bin}/srun.pid")"')


@pytest.mark.usefixtures("scancel")
@pytest.mark.parametrize("runner", ["embedded", "t5x"])
def test_at_the_time_limit_it_saves_and_queues_itself_again(shell, runner):
  code, calls, _ = job(
    shell, f"--runner={runner}", sent=signal.SIGUSR1, srun=PATIENT
  )
  assert code == 0
  assert calls[0].startswith("srun ")
  assert calls[1:] == ["scancel --signal=TERM 17", "scontrol requeue 17"]


@pytest.mark.usefixtures("scancel")
def test_restarts_are_bounded(shell):
  code, calls, output = job(
    shell,
    "--max_restarts=2",
    sent=signal.SIGUSR1,
    srun=PATIENT,
    restarts="2",
  )
  assert code == 2
  assert "scontrol requeue 17" not in calls
  assert "queued again 2 times already (--max_restarts)" in output


def test_preemption_leaves_the_queue_to_slurm(shell):
  # SLURM signals the processes and the job's shell; the step saves and ends.
  code, calls, _ = job(
    shell, sent=signal.SIGTERM, srun='trap "" TERM; sleep 1; exit 143'
  )
  assert code == 143
  assert len(calls) == 1


def test_a_step_that_hung_is_queued_again(shell):
  code, calls, _ = job(shell, sent=None, srun="exit 75")
  assert code == 0
  assert calls[1:] == ["scontrol requeue 17"]
  code, calls, output = job(
    shell, "--max_restarts=2", sent=None, srun="exit 75", restarts="2"
  )
  assert code == 2
  assert "queued again 2 times already (--max_restarts)" in output


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_of_the_step_is_that_of_the_job(shell, status):
  code, calls, _ = job(shell, sent=None, srun=f"exit {status}")
  assert code == status
  assert len(calls) == 1
