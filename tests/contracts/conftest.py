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
def prepared(tmp_path_factory) -> pathlib.Path:
  """A small synthetic data set."""
  from instructrec.cli import prepare
  from instructrec.settings import preparation

  folder = tmp_path_factory.mktemp("t5x_prepared") / "prepared"
  prepare.run(
    preparation.PrepareSettings(
      raw=preparation.SourceSettings(
        source=preparation.Source.synthetic, num_users=60, num_items=40
      ),
      output=folder,
      min_interactions=1,
    )
  )
  return folder


@pytest.fixture(scope="session")
def t5x(t5x_root, prepared, tmp_path_factory) -> T5x:
  """T5X over instructions of it."""
  from instructrec.cli import generate
  from instructrec.settings import generation

  folder = tmp_path_factory.mktemp("t5x_data") / "data"
  generate.run(
    generation.GenerationSettings(data=prepared, output=folder, vocab_size=600)
  )
  return T5x(t5x_root, folder)


@pytest.fixture(scope="session")
def t5x_lists(t5x_root, prepared, tmp_path_factory) -> T5x:
  """T5X over rows of control tasks of it, whose teacher is popularity."""
  from instructrec.alignment import control_rows
  from instructrec.data import dataset
  from instructrec.instructions import units
  from instructrec.pipelines import generate
  from instructrec.retrieval import methods

  folder, found = tmp_path_factory.mktemp("t5x_lists"), dataset.load(prepared)
  methods.METHODS["popularity"]().fit(
    found.split.training_log, found.catalog
  ).save(folder / "teacher", record={"prepared_fingerprint": found.fingerprint})
  spec = units.Spec(
    prepared_dir=str(prepared),
    kinds=(),
    eval_templates=(),
    control=control_rows.ControlSpec(
      retriever=str(folder / "teacher"), num_epochs=2
    ),
  )
  generate.write(
    spec, folder / "data", produce=generate.produce_locally(1), vocab_size=600
  )
  return T5x(t5x_root, folder / "data")
