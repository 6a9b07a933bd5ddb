"""A step that hangs ends its process, and shows where; others do not."""

import subprocess
import sys
import time

import jax.numpy as jnp
import pytest

from instructrec.training import watchdog

_HANGS = """
import threading
import jax.numpy as jnp
from instructrec.training import watchdog

def wait_for_a_lost_machine():
  threading.Event().wait()

with watchdog.Watchdog(0.5, step=3) as dog:
  with dog.paused():
    pass
  dog.dispatched(4, jnp.zeros(()) + 1)
  wait_for_a_lost_machine()
"""


def test_a_step_that_hangs_shows_all_stacks_and_ends_the_process():
  found = subprocess.run(
    [sys.executable, "-c", _HANGS],
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert found.returncode == watchdog.STATUS, found.stderr
  assert "no training step was done for 0.5 seconds after step 4" in (
    found.stderr
  )
  assert "process 0 of 1" in found.stderr
  assert "in wait_for_a_lost_machine" in found.stderr
  assert "in _watch" in found.stderr


@pytest.fixture
def ends(monkeypatch):
  """Notes the ends of processes, which are not ended."""
  found = []
  monkeypatch.setattr(
    watchdog.Watchdog, "_end", lambda self: found.append(self._step)
  )
  return found


class _Pending:
  """A result that is there once it is said to be."""

  ready = False

  def is_ready(self):
    return self.ready


def test_what_is_dispatched_is_not_done(ends):
  with watchdog.Watchdog(0.2) as dog:
    pending = _Pending()
    for step in (1, 2, 3):
      dog.dispatched(step, jnp.ones(()))
    dog.dispatched(4, pending)
    deadline = time.monotonic() + 60
    while not ends and time.monotonic() < deadline:
      time.sleep(0.02)
  assert ends[0] == 3


def test_compiling_and_long_waits_that_end_are_no_hang(ends):
  with watchdog.Watchdog(0.2) as dog, dog.paused():
    time.sleep(0.6)
  with watchdog.Watchdog(0) as dog:
    time.sleep(0.1)
  assert ends == []
