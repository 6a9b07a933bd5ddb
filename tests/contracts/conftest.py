"""Runs real T5X in processes of its own, on small data."""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import instructrec
from instructrec.training import gin_config

_NEEDED = ("t5x", "airio", "jestimator", "fiddle", "grain")


@dataclasses.dataclass(frozen=True)
class T5x:
  """T5X's scripts, as a user starts them.

  Attributes:
    root: the folder that holds T5X's `t5x/`.
    data: what `instructrec generate` wrote.
  """

  root: pathlib.Path
  data: pathlib.Path

  def start(self, script, *args, devices=1, python_path=(), checked=False):
    """Starts `python ${T5X_DIR}/t5x/<script>.py <args>` on CPU devices.

    Args:
      script: "train", "eval" or "infer".
      *args: options.
      devices: how many are simulated.
      python_path: folders that come first.
      checked: whether by `python -m instructrec.t5x` instead.
    """
    gin_root = next(
      path
      for path in gin_config.search_paths()[1:]
      if (pathlib.Path(path) / "gin").is_dir()
    )
    package = pathlib.Path(instructrec.__file__).parent.parent
    paths = [*map(str, python_path), str(package), os.environ["PYTHONPATH"]]
    plain = (
      str(self.root / "t5x" / f"{script}.py"),
      f"--gin_search_paths={gin_root}",
    )
    command = ("-m", "instructrec.t5x", script) if checked else plain
    return subprocess.Popen(
      # Of options that are given twice the last one counts.
      [sys.executable, *command, f"--tfds_data_dir={self.data}", *args],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env={
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "INSTRUCTREC_VOCABULARY": str(
          self.data / "vocabulary" / "sentencepiece.model"
        ),
      },
    )

  def run(self, script, *args, **kwargs):
    """Runs a script to its end and returns what it printed."""
    return self.finish(self.start(script, *args, **kwargs))

  def fail(self, script, *args, **kwargs):
    """Runs a script that must fail and returns what it printed."""
    process = self.start(script, *args, **kwargs)
    output, _ = process.communicate(timeout=600)
    assert process.returncode != 0, output
    return output

  def finish(self, process):
    """Output of a process that must succeed."""
    try:
      output, _ = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
      process.kill()
      output, _ = process.communicate()
    assert process.returncode == 0, "\n".join(output.splitlines()[-40:])
    return output


@pytest.fixture(scope="session")
def t5x_root() -> pathlib.Path:
  """The folder that holds T5X; skips where T5X cannot run."""
  for name in _NEEDED:
    if importlib.util.find_spec(name) is None:
      pytest.skip(f"T5X cannot run: no module {name!r}; see docs/t5x.md")
  spec = importlib.util.find_spec("t5x")
  return pathlib.Path(next(iter(spec.submodule_search_locations))).parent


@pytest.fixture(scope="session")
def t5x(t5x_root, tmp_path_factory) -> T5x:
  """T5X over a small synthetic data set."""
  from instructrec.cli import generate, prepare
  from instructrec.settings import generation, preparation

  folder = tmp_path_factory.mktemp("t5x_data")
  prepare.run(
    preparation.PrepareSettings(
      raw=preparation.SourceSettings(
        source=preparation.Source.synthetic, num_users=60, num_items=40
      ),
      output=folder / "prepared",
      min_interactions=1,
    )
  )
  generate.run(
    generation.GenerationSettings(
      data=folder / "prepared", output=folder / "data", vocab_size=600
    )
  )
  return T5x(t5x_root, folder / "data")
