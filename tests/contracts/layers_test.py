"""Which module may import what: DESIGN.md, "Layers"."""

import ast
import os
import pathlib
import runpy
import subprocess
import sys
from typing import Any

import pytest
import setuptools

import instructrec

_PACKAGE = pathlib.Path(instructrec.__file__).parent

# Each folder with the folders it may import from, itself aside.
_MAY_IMPORT = {
  "settings": set(),
  "data": {"settings"},
  "instructions": {"data"},
  "models": set(),
  "evaluation": set(),
  "retrieval": {"settings", "data", "instructions", "models", "evaluation"},
  "training": {"settings", "models", "evaluation"},
  "alignment": {
    "settings",
    "data",
    "instructions",
    "models",
    "evaluation",
    "retrieval",
    "training",
  },
  "preflight": {"models", "training", "alignment"},
  "serving": {
    "settings",
    "data",
    "instructions",
    "models",
    "retrieval",
    "training",
  },
  "pipelines": {
    "settings",
    "data",
    "instructions",
    "models",
    "evaluation",
    "retrieval",
    "serving",
    "training",
    "alignment",
  },
  "cli": {
    "settings",
    "data",
    "instructions",
    "models",
    "evaluation",
    "retrieval",
    "training",
    "preflight",
    "serving",
    "pipelines",
  },
}
_TENSORFLOW = {"tensorflow", "seqio", "tensorflow_datasets", "tensorflow_text"}
_NO_JAX = {"data", "instructions", "evaluation"}


def _modules():
  return sorted(
    path
    for path in _PACKAGE.rglob("*.py")
    if path.relative_to(_PACKAGE).parts[0] in _MAY_IMPORT
  )


def _imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
  "path", _modules(), ids=lambda p: str(p.relative_to(_PACKAGE))
)
def test_imports_point_up_the_layers(path):
  folder = path.relative_to(_PACKAGE).parts[0]
  for name in _imports(path):
    parts = name.split(".")
    if parts[0] == "instructrec" and len(parts) > 2:
      assert parts[1] in _MAY_IMPORT[folder] | {folder}, name
    if folder != "pipelines":
      assert parts[0] not in _TENSORFLOW, name
      assert parts[0] != "t5x", name
    if folder in _NO_JAX:
      assert parts[0] not in {"jax", "flax", "optax"}, name
    assert parts[0] != "pickle", name


def test_no_module_outside_pipelines_loads_tensorflow(tmp_path):
  """Imports them all in a fresh process and looks at what came along."""
  names = [
    ".".join(("instructrec", *path.relative_to(_PACKAGE).with_suffix("").parts))
    for path in _PACKAGE.rglob("*.py")
    if path.relative_to(_PACKAGE).parts[0] != "pipelines"
  ]
  names = [name.removesuffix(".__init__") for name in names]
  code = (
    "import importlib, sys\n"
    f"for name in {names!r}: importlib.import_module(name)\n"
    f"found = {_TENSORFLOW!r} & set(sys.modules)\n"
    "sys.exit(f'loaded {found}' if found else 0)\n"
  )
  _run(code, tmp_path)


@pytest.mark.parametrize("folder", sorted(_NO_JAX))
def test_jax_free_folders_load_no_jax(folder, tmp_path):
  names = [
    f"instructrec.{folder}.{path.stem}"
    for path in (_PACKAGE / folder).glob("*.py")
    if path.stem != "__init__"
  ]
  code = (
    "import importlib, sys\n"
    f"for name in {names!r}: importlib.import_module(name)\n"
    "sys.exit('loaded jax' if 'jax' in sys.modules else 0)\n"
  )
  _run(code, tmp_path)


def test_help_loads_neither_tensorflow_nor_jax(tmp_path):
  code = (
    "import sys\n"
    "import instructrec.cli.main\n"
    "heavy = {'tensorflow', 'jax', 'numpy', 'polars', 'seqio'}\n"
    "found = heavy & set(sys.modules)\n"
    "sys.exit(f'loaded {found}' if found else 0)\n"
  )
  _run(code, tmp_path)


def _run(code, folder):
  """Runs code in a fresh process that finds the package where this one did."""
  result = subprocess.run(
    [sys.executable, "-c", code],
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(_PACKAGE.parent)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr


def test_the_wheel_carries_every_file_that_is_no_module(monkeypatch):
  """What setup.py does not name is missing for those who install a wheel."""
  checkout = pathlib.Path(__file__).resolve().parents[2]
  told: dict[str, Any] = {}
  monkeypatch.setattr(setuptools, "setup", told.update)
  monkeypatch.chdir(checkout)
  runpy.run_path("setup.py")
  carried = {
    path
    for package, patterns in told["package_data"].items()
    if package.startswith("instructrec.")
    for pattern in patterns
    for path in (checkout / package.replace(".", "/")).glob(pattern)
  }
  files = {
    path
    for path in (checkout / "instructrec").rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc", ".gin")
  }
  assert files
  assert not files - carried
