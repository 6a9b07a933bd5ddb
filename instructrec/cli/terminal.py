"""What commands print: no text of others reaches a terminal as it is."""

import contextlib
import io
import sys
import traceback
from collections.abc import Iterator
from typing import TextIO

from instructrec import foreign_text


class _Printable(io.TextIOBase):
  """A stream that shows what a terminal would obey; see `foreign_text`.

  Args:
    stream: where it goes.
  """

  def __init__(self, stream: TextIO) -> None:
    self._stream = stream

  @property
  def encoding(self) -> str:  # type: ignore[override]
    """Of the stream behind."""
    return self._stream.encoding

  def write(self, text: str) -> int:
    """Writes a text, whose length it returns."""
    self._stream.write(foreign_text.printable(text))
    return len(text)

  def flush(self) -> None:
    """Flushes the stream behind."""
    self._stream.flush()

  def writable(self) -> bool:
    """It is."""
    return True

  def isatty(self) -> bool:
    """Whether the stream behind is a terminal."""
    return self._stream.isatty()

  def fileno(self) -> int:
    """Of the stream behind."""
    return self._stream.fileno()


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
  """Makes printable what is written to the standard output meanwhile."""
  with contextlib.redirect_stdout(_Printable(sys.stdout)):
    yield


def show_error(error: BaseException) -> None:
  """Says on the standard error what went wrong, in words alone."""
  text = foreign_text.printable(f"instructrec: error: {error}")
  print(text, file=sys.stderr)


def show_traceback(error: BaseException) -> None:
  """Shows an error as Python would."""
  text = "".join(traceback.format_exception(error))
  sys.stderr.write(foreign_text.printable(text))
