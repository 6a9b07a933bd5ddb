"""Ends a process whose training step hangs, and shows where it does.

A lost machine or a broken link leaves the others waiting in a collective for
ever; a wedged file system does the same to the threads that read data. What
started the processes can start them again only once they end.
"""

import collections
import contextlib
import faulthandler
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import jax

_STDERR = 2
STATUS = 75
"""With which a process that hangs ends: EX_TEMPFAIL, "try again"."""


class Watchdog:
  """A thread that ends the process where no step is done for too long.

  Steps are dispatched before they are done: a step counts as done when its
  result is there. The time in which the process as a whole was stopped (Ctrl-Z,
  a machine asleep) does not count.

  Args:
    seconds: how long a step may take; 0 for ever.
    step: updates made so far.
  """

  def __init__(self, seconds: float, step: int = 0) -> None:
    self._seconds = seconds
    self._tick = min(seconds / 10, 1.0)
    self._step = step
    self._quiet = 0.0
    self._paused = False
    self._waiting: collections.deque[tuple[int, Any]] = collections.deque()
    self._lock = threading.Lock()
    self._ended = threading.Event()
    self._thread = threading.Thread(
      target=self._watch, name="watchdog", daemon=True
    )

  def __enter__(self) -> Self:
    if self._seconds:
      self._thread.start()
    return self

  def __exit__(self, *unused: object) -> None:
    self._ended.set()
    if self._thread.is_alive():
      self._thread.join()

  def dispatched(self, step: int, result: jax.Array) -> None:
    """Notes a step that runs on the devices now.

    Args:
      step: updates made with it.
      result: an array that is there when it is done, and is not donated.
    """
    if self._seconds:
      with self._lock:
        self._waiting.append((step, result))

  def alive(self) -> None:
    """Notes that something other than a step was done."""
    with self._lock:
      self._quiet = 0.0

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves the time of the block out, such as that of a compilation."""
    self._paused = True
    try:
      yield
    finally:
      self._paused = False
      self.alive()

  def _watch(self) -> None:
    while True:
      before = time.monotonic()
      if self._ended.wait(self._tick):
        return
      # A process that was stopped wakes late, and has not hung meanwhile.
      passed = min(time.monotonic() - before, 2 * self._tick)
      with self._lock:
        self._quiet = 0.0 if self._paused else self._quiet + passed
        while self._waiting and self._waiting[0][1].is_ready():
          self._step, _ = self._waiting.popleft()
          self._quiet = 0.0
        hangs = self._quiet > self._seconds
      if hangs:
        self._end()

  def _end(self) -> None:
    # Straight to the descriptor: whoever hangs may hold a lock of the stream.
    message = (
      f"\ninstructrec: error: no training step was done for {self._seconds:g} "
      f"seconds after step {self._step}; process {jax.process_index()} of "
      f"{jax.process_count()} (pid {os.getpid()}) hangs and is ended with "
      f"status {STATUS}. The last checkpoint is kept: the same command goes on "
      "from it. Where a step may take longer, raise --hang_seconds. Its "
      "stacks:\n"
    )
    os.write(_STDERR, message.encode())
    faulthandler.dump_traceback(_STDERR, all_threads=True)
    os._exit(STATUS)
