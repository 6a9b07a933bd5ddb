"""Runs the server until it is told to end."""

import asyncio
import logging
import signal
import threading
from types import FrameType

import fastapi
import uvicorn

from instructrec.settings import serving

_KEEP_ALIVE = 75
"""Seconds that a connection stays without a request: longer than balancers keep
theirs, or they would send on one that is just being closed."""
_log = logging.getLogger("instructrec.serving")


class Server(uvicorn.Server):
  """Ends in two steps, and opens the run anew on SIGHUP.

  Where the first run cannot be opened, it ends with the error.

  SIGTERM: `/readyz` says no for some seconds, while balancers take the server
  out and what still comes is answered. Then the port is closed, and the process
  ends when the last request has its answer. A second SIGTERM skips the first
  step.
  """

  def __init__(self, app: fastapi.FastAPI, settings: serving.ServingSettings):
    super().__init__(
      uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        # httptools, where it is installed, keeps headers without end.
        http="h11",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=settings.deadline_seconds + 5,
      )
    )
    self._app, self._drain_seconds = app, settings.drain_seconds
    self._reloads = set[asyncio.Task[object]]()

  async def serve(self, sockets=None) -> None:
    """Serves until it is told to end."""
    loop = asyncio.get_running_loop()
    # Signals are the main thread's.
    if threading.current_thread() is threading.main_thread():
      loop.add_signal_handler(signal.SIGHUP, self._reload)
    self._loop = loop
    await super().serve(sockets)
    if failed := self._app.state.lifecycle.failed:
      raise failed

  async def on_tick(self, counter: int) -> bool:
    """Whether to end: also where there is no run to serve."""
    failed = self._app.state.lifecycle.failed is not None
    return await super().on_tick(counter) or failed

  def handle_exit(self, sig: int, frame: FrameType | None) -> None:
    """Begins to end; at once where it was told so before."""
    life = self._app.state.lifecycle
    if not self._drain_seconds or life.draining:
      life.drain()
      super().handle_exit(sig, frame)
      return
    life.drain()
    _log.info("ending: /readyz says no for %d s", self._drain_seconds)
    self._loop.call_soon_threadsafe(
      self._loop.call_later,
      self._drain_seconds,
      super().handle_exit,
      sig,
      frame,
    )

  def _reload(self) -> None:
    task = asyncio.create_task(self._app.state.lifecycle.load())
    self._reloads.add(task)
    task.add_done_callback(self._reloads.discard)
    # The lifecycle has logged why.
    task.add_done_callback(lambda t: t.cancelled() or t.exception())
