"""Keeps back what TensorFlow's libraries say of themselves while they load."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
"""TensorFlow's variable; where it is set to 0 or 2, all is shown."""
# The errors that are left speak of accelerators, which are JAX's here.
# Processes that we start inherit it.
_QUIET = "3"
# What `import jax` sets where nobody has.
_OF_JAX = "1"
_NOTICE = re.compile(
  rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} \d\d:"
)


@contextlib.contextmanager
def kept_back() -> Iterator[None]:
  """Drops notices and warnings of native code; errors come out at the end.

  They are written before any level counts, so that the descriptor itself has
  to be held. Another level than these is the user's, and then nothing is held.
  """
  if os.environ.get(LEVEL, _QUIET) not in (_QUIET, _OF_JAX):
    yield
    return
  os.environ[LEVEL] = _QUIET
  sys.stderr.flush()
  with tempfile.TemporaryFile() as held, tempfile.TemporaryFile() as shown:
    descriptor = os.dup(2)
    os.dup2(held.fileno(), 2)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(descriptor, 2)
      os.close(descriptor)
      held.seek(0)
      shown.writelines(line for line in held if not _NOTICE.match(line))
      shown.seek(0)
      with open(2, "wb", closefd=False) as stream:
        shutil.copyfileobj(shown, stream)
