"""A progress line for long work: live on a terminal, sparse in a log."""

import io
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

import tqdm

from instructrec import foreign_text

_T = TypeVar("_T")
_LOG_SECONDS = 15.0
_LOG_LINE = "{desc}: {percentage:.0f}%, {n:,} of {total:,}{unit}"
_LOG_COUNT = "{desc}: {n:,}{unit}"
_LOG_TIMES = " in {elapsed}, {remaining} left, {rate_fmt}{postfix}"


class _Lines(io.TextIOBase):
  """What tqdm writes into one line of a terminal, as lines of a log."""

  def write(self, text: str) -> int:
    """Writes what is not empty as a line."""
    if line := text.strip():
      sys.stderr.write(f"{line}\n")
    return len(text)

  def flush(self) -> None:
    """Flushes the standard error."""
    sys.stderr.flush()


class Progress:
  """Counts work and shows rate and time left.

  On a terminal it is one line that updates in place; in a log, a line every
  quarter of a minute, and none of what is done sooner.

  Args:
    total: how much there is to do; None where it is not known.
    label: what is being done; None shows nothing.
    unit: what is counted, in the plural; of seconds ("s") there is no rate.
    initial: what was done before (a resumed run).
    enabled: whether anything is shown.
  """

  def __init__(
    self,
    total: int | None,
    label: str | None,
    *,
    unit: str = "rows",
    initial: int = 0,
    enabled: bool = True,
  ) -> None:
    live = sys.stderr.isatty()
    counted = _LOG_COUNT if total is None else _LOG_LINE
    times = _LOG_TIMES if total else " in {elapsed}, {rate_fmt}{postfix}"
    if unit == "s":
      times = "{postfix}"
    self._bar = tqdm.tqdm(
      total=total,
      initial=initial,
      desc=foreign_text.printable(label or ""),
      unit=f" {unit}",
      disable=not enabled or label is None,
      mininterval=0.2 if live else _LOG_SECONDS,
      maxinterval=1.0 if live else _LOG_SECONDS,
      delay=0.0 if live else _LOG_SECONDS,
      file=sys.stderr if live else _Lines(),
      dynamic_ncols=live,
      bar_format=None if live else counted + times,
    )

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
  unit: str = "rows",
) -> Iterator[_T]:
  """Yields `items`, counting them on a progress line.

  Args:
    items: anything iterable.
    label: what is being done.
    total: how many there are, where known.
    unit: what is counted, in the plural.

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
