"""A profile of some training steps, by JAX's profiler."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, Self

import jax

FOLDER = "profile"


class Profile:
  """Records steps from one to another; every process those of its devices.

  Args:
    directory: the run's folder; the profile goes to its `profile`.
    steps: the first and the last one; None for no profile.
    tell: shows a line.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    steps: tuple[int, int] | None,
    tell: Callable[[str], None],
  ) -> None:
    self._folder = pathlib.Path(directory) / FOLDER
    self._steps, self._tell = steps, tell
    self._running = False

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused: object) -> None:
    self._stop()

  def before(self, step: int) -> None:
    """Begins where this step, counted from 1, is the first one."""
    if self._steps is not None and step == self._steps[0]:
      jax.profiler.start_trace(self._folder)
      self._running = True

  def after(self, step: int, result: Any) -> None:
    """Ends where this step was the last one.

    Args:
      step: counted from 1.
      result: what is there when the step is done.
    """
    if self._running and self._steps is not None and step == self._steps[1]:
      jax.block_until_ready(result)
      self._stop()

  def _stop(self) -> None:
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
      self._tell(f"profile: {self._folder}")
