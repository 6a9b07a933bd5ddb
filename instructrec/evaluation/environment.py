"""Under what a figure was made: versions, machine, commit."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import instructrec

_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "seqio",
  "tensorflow",
  "tensorflow-datasets",
  "sentencepiece",
  "numpy",
  "polars",
)


def describe() -> dict[str, Any]:
  """Versions of the packages that figures depend on, and the machine.

  Returns:
    JSON values; a package that is not installed is None.
  """

  def version(name: str) -> str | None:
    try:
      return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      return None

  return {
    "instructrec": instructrec.__version__,
    "commit": commit(),
    "python": platform.python_version(),
    "platform": platform.platform(),
    "cores": os.cpu_count(),
    "packages": {name: version(name) for name in _PACKAGES},
  }


def commit() -> str | None:
  """The git commit of the checkout that the package runs from.

  Returns:
    The hash, with "-dirty" where files were changed; None where the package
    was installed, or there is no git.
  """
  root = pathlib.Path(instructrec.__file__).parent.parent
  if not (root / ".git").exists():
    return None
  try:
    return subprocess.run(
      ["git", "describe", "--always", "--dirty", "--abbrev=40"],
      cwd=root,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
