"""How this process was started, for reports."""

import shlex
import sys

from instructrec import foreign_text


def given() -> str:
  """The command with its arguments, but no user or password of a server."""
  words = map(foreign_text.without_user, sys.argv[1:])
  return shlex.join(["instructrec", *words])
