"""Where caches lie, and that JAX reads what is set for it."""

import os
import pathlib
import subprocess
import sys

from instructrec import cache

_PROGRAM = """
import os
from instructrec import cache
cache.keep_compiled_programs(os.environ)
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 2 + 1)(1.0).block_until_ready()
"""


def _compile(tmp_path, **changes):
  subprocess.run(
    [sys.executable, "-c", _PROGRAM],
    env={
      "PATH": os.environ["PATH"],
      "PYTHONPATH": str(pathlib.Path(__file__).parent.parent),
      "JAX_PLATFORMS": "cpu",
      "XDG_CACHE_HOME": str(tmp_path),
      **changes,
    },
    check=True,
    timeout=120,
  )
  return sorted(path.name for path in tmp_path.glob("instructrec/compiled/*"))


def test_compiled_programs_are_kept(tmp_path):
  assert _compile(tmp_path)


def test_the_compile_cache_can_be_switched_off(tmp_path):
  assert not _compile(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")


def test_a_folder_that_was_chosen_stays():
  environment = {"JAX_COMPILATION_CACHE_DIR": "/chosen"}
  cache.keep_compiled_programs(environment)
  assert environment == {"JAX_COMPILATION_CACHE_DIR": "/chosen"}


def test_caches_lie_below_the_home_folder(monkeypatch):
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  assert cache.folder("x") == pathlib.Path.home() / ".cache/instructrec/x"
