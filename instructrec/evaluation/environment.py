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
_GIT_SECONDS = 20


def describe(*packages: str) -> dict[str, Any]:
  """Versions of the packages that figures depend on, and the machine.

  Nothing of the user, the host's name or the environment variables is in it.

  Args:
    *packages: names of further packages.

  Returns:
    JSON values; a package that is not installed is None.
  """
  return {
    "instructrec": instructrec.__version__,
    "commit": commit(),
    "python": platform.python_version(),
    "platform": platform.platform(),
    "processor": _processor(),
    "cores": os.cpu_count(),
    "packages": {name: _version(name) for name in (*_PACKAGES, *packages)},
  }


def commit(root: str | os.PathLike[str] | None = None) -> str | None:
  """The git commit of a checkout.

  Args:
    root: the top of the checkout; None for the one that the package runs
      from.

  Returns:
    The hash, with "-dirty" where tracked files were changed; of an installed
    package the one that it was built from (`setup.py` leaves it in the wheel).
    None where there was no checkout, no commit or no git.
  """
  folder = pathlib.Path(root or pathlib.Path(instructrec.__file__).parents[1])
  # Without this, git would look into the folders above, and an installed
  # package would take the commit of the project that installed it.
  if not (folder / ".git").exists():
    built_from = folder / "instructrec" / "COMMIT"
    return built_from.read_text().strip() if built_from.is_file() else None
  found = _git(folder, "rev-parse", "--verify", "HEAD")
  if found is None:
    return None
  changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
  return f"{found}-dirty" if changes else found


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
  try:
    return subprocess.run(
      ["git", *arguments],
      cwd=folder,
      capture_output=True,
      text=True,
      check=True,
      timeout=_GIT_SECONDS,
    ).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return None


def _version(name: str) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def _processor(
  cpu_info: str | os.PathLike[str] = "/proc/cpuinfo",
) -> str | None:
  """The model of the processor, where the system tells it."""
  path = pathlib.Path(cpu_info)
  if path.exists():
    for line in path.read_text().splitlines():
      name, _, value = line.partition(":")
      if name.strip() == "model name":
        return value.strip()
  return platform.processor() or None
