"""The launch scripts, and stand-ins for the programs of a cluster."""

import dataclasses
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "launch"

# What every run is given.
OPTIONS = (
  "--runner=t5x",
  "--gin_file=gin/instructrec_xl.gin",
  "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
  "--gin.MIXTURE_OR_TASK_NAME='it''s'",
  "--model_dir=gs://bucket/xl",
  "--tfds_data_dir=gs://bucket/data",
)
IMAGE = "us-docker.pkg.dev/project/ml/instructrec:tpu"
# What each script needs beside them.
NEEDS = {
  "host.sh": ("--device_count=32",),
  "local.sh": ("--processes=2",),
  "slurm.sbatch": ("--nodes=2", "--gpus_per_node=8"),
  "gke/jobset.sh": (
    "--name=xl",
    f"--image={IMAGE}",
    "--accelerator=tpu-v5-lite-podslice",
    "--topology=4x8",
  ),
  "tpu_vm.sh": (
    "train",
    "--name=xl",
    "--project=project",
    "--zone=us-west4-a",
    "--accelerator_type=v5litepod-32",
    "--runtime_version=v2-alpha-tpuv5-lite",
    "--device_count=32",
    f"--image={IMAGE}",
  ),
}


@dataclasses.dataclass(frozen=True)
class Shell:
  """Runs launch scripts with stand-ins for gcloud and its like.

  Attributes:
    needs: what each script needs beside `options`.
    options: of every run.
    bin: a folder that comes first on the path.
    log: what the stand-ins were called with, a line a call.
  """

  bin: pathlib.Path
  log: pathlib.Path
  needs = NEEDS
  options = OPTIONS
  image = IMAGE

  def whole(self, script):
    """A command line that lacks nothing."""
    return (script, *NEEDS[script], *OPTIONS)

  def commands(self, output):
    """The commands of a dry run, read as a shell reads them."""
    lines = [line for line in output.splitlines() if not line.startswith("#")]
    return [shlex.split(line) for line in lines]

  def stand_in(self, name, body):
    """Puts a shell script in place of a program."""
    path = self.bin / name
    path.write_text(
      f'#!/usr/bin/env bash\necho "{name} $*" >> "{self.log}"\n{body}\n'
    )
    path.chmod(0o755)

  def calls(self):
    """What the stand-ins were called with."""
    return self.log.read_text().splitlines() if self.log.exists() else []

  def start(self, *command, **environment):
    """Starts a script of `launch/` in the folder that holds it."""
    return subprocess.Popen(
      [str(LAUNCH / command[0]), *map(str, command[1:])],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      cwd=ROOT,
      env={
        **os.environ,
        "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        **environment,
      },
    )

  def run(self, *command, status=0, timeout=120, **environment):
    """Runs a script to its end; what it wrote to stdout and stderr."""
    process = self.start(*command, **environment)
    try:
      output, errors = process.communicate(timeout=timeout)
    finally:
      process.kill()
    assert process.returncode == status, (process.returncode, output, errors)
    return output, errors


@pytest.fixture
def shell(tmp_path):
  """Launch scripts; no program of a cluster can be reached by accident."""
  found = Shell(tmp_path / "bin", tmp_path / "calls.log")
  found.bin.mkdir()
  for name in ("gcloud", "kubectl", "docker", "sbatch", "srun", "scontrol"):
    found.stand_in(name, "exit 99")
  found.stand_in(
    "instructrec",
    # Gin files are checked once for real; it takes seconds.
    f'[[ "$1" == preflight ]] || exec "{sys.executable}" '
    '-m instructrec.cli.main "$@"',
  )
  return found
