"""A progress line for long work: live on a terminal, sparse in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

import tqdm

from instructrec import foreign_text

_T = TypeVar("_T")
_LOG_SECONDS = 10.0


class Progress:
  """Counts work and shows rate and time left.

  On a terminal it is one line that updates in place; in a log, a line every
  ten seconds.

  Args:
    total: how much there is to do; None where it is not known.
    label: what is being done.
    unit: what is counted.
    initial: what was done before (a resumed run).
    enabled: whether anything is shown.
  """

  def __init__(
    self,
    total: int | None,
    label: str,
    *,
    unit: str = "row",
    initial: int = 0,
    enabled: bool = True,
  ) -> None:
    live = sys.stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      initial=initial,
      desc=foreign_text.printable(label),
      unit=unit,
      disable=not enabled,
      mininterval=0.2 if live else _LOG_SECONDS,
      maxinterval=1.0 if live else _LOG_SECONDS,
      file=sys.stderr,
      dynamic_ncols=live,
      ncols=None if live else 100,
    )
    # tqdm rewrites its line with \r; a log wants a line each time.
    if not live:
      self._bar.sp = lambda text: (
        sys.stderr.write(text.strip() + "\n"),
        sys.stderr.flush(),
      )
    self._note_time = 0.0

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused: object) -> None:
    self._bar.close()

  def advance(self, amount: int = 1) -> None:
    """Counts `amount` more as done."""
    self._bar.update(amount)

  def write(self, text: str) -> None:
    """Shows `text` as a line of its own, beside this one."""
    if not self._bar.disable:
      self._bar.write(foreign_text.printable(text), file=sys.stderr)

  def note(self, text: str) -> None:
    """Shows `text` at the end of the line."""
    self._bar.set_postfix_str(foreign_text.printable(text), refresh=False)


def track(
  items: Iterable[_T],
  label: str,
  *,
  total: int | None = None,
  unit: str = "row",
) -> Iterator[_T]:
  """Yields `items`, counting them on a progress line.

  Args:
    items: anything iterable.
    label: what is being done.
    total: how many there are, where known.
    unit: what is counted.

  Yields:
    The items.
  """
  with Progress(total, label, unit=unit) as progress:
    pending, last = 0, time.monotonic()
    for item in items:
      yield item
      pending += 1
      # Counting one by one would cost more than some of the work counted.
      if pending >= 256 or time.monotonic() - last > 1.0:
        progress.advance(pending)
        pending, last = 0, time.monotonic()
    progress.advance(pending)
