"""How this process was started, for reports."""

import shlex
import sys


def given() -> str:
  """The command with its arguments, as it can be typed again."""
  return shlex.join(["instructrec", *sys.argv[1:]])
