"""Where results that can be made again are kept, and the compiler's among them.

Imports nothing heavy: the command line asks before JAX is there.
"""

import os
import pathlib
from collections.abc import MutableMapping

_COMPILED = "JAX_COMPILATION_CACHE_DIR"


def folder(name: str) -> pathlib.Path:
  """A folder below the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
  root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(root).expanduser() / "instructrec" / name


def keep_compiled_programs(environment: MutableMapping[str, str]) -> None:
  """Has JAX keep what it compiles, so that a command given again starts sooner.

  Takes effect where JAX is imported afterwards. A folder that was chosen stays;
  JAX's own JAX_ENABLE_COMPILATION_CACHE=false switches the cache off.

  Args:
    environment: of the process, `os.environ`.
  """
  environment.setdefault(_COMPILED, str(folder("compiled")))
