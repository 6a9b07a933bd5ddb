"""From the start of the server to its end: ready, reloaded, drained.

A run is opened in a thread of its own. Until the first one is ready `/readyz`
says no; a reload opens the next one beside the old one and changes places when
all of it is compiled, so that no request waits for it, and none is lost. Where
opening fails, the old one stays.
"""

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Callable

from starlette import types

from instructrec.serving.server import errors, metrics, served

_log = logging.getLogger("instructrec.serving")


@dataclasses.dataclass(eq=False)
class Lifecycle:
  """What is served now.

  Attributes:
    open_run: opens a run, given which generation it is.
    metrics: what counts.
  """

  open_run: Callable[[int], served.Served]
  metrics: metrics.Metrics

  def __post_init__(self) -> None:
    self._current: served.Served | None = None
    self.failed: Exception | None = None
    """What the first opening failed by."""
    self._draining = False
    self._opening = asyncio.Lock()

  @property
  def current(self) -> served.Served:
    """The run that answers.

    Raises:
      ApiError: 503 before there is one.
    """
    if self._current is None:
      raise errors.ApiError(503, "the model is being opened", retry_after=5)
    return self._current

  def check_ready(self) -> served.Served:
    """The run that answers, for whoever sends requests here.

    Raises:
      ApiError: 503 before there is one, and once the server is ending.
    """
    if self._draining:
      raise errors.ApiError(503, "the server is ending", retry_after=5)
    return self.current

  @property
  def draining(self) -> bool:
    """Whether the server is ending."""
    return self._draining

  def drain(self) -> None:
    """Says no to whoever asks whether to send more; answers what comes."""
    self._draining = True

  async def load(self) -> served.Served:
    """Opens the run, or opens it anew; one at a time.

    Returns:
      It, in the place of the old one.

    Raises:
      Exception: what opening failed by; the old one, if any, still answers.
    """
    async with self._opening:
      old = self._current
      generation = 1 if old is None else old.generation + 1
      try:
        found = await _in_thread(lambda: self.open_run(generation))
      except Exception as error:
        self.metrics.reloads.labels("failed").inc()
        if old is None:
          self.failed = error
        else:
          _log.exception("generation %d stays", old.generation)
        raise
      self._current = found
      self.metrics.reloads.labels("done").inc()
      self.metrics.generation.set(found.generation)
      self.metrics.compiled.inc(found.compiled)
      _log.info(
        "%s, generation %d, is ready: %s, %d items, %d programs, %.1f s",
        found.name,
        found.generation,
        found.opened.checkpoint,
        len(found.catalog),
        found.compiled,
        found.seconds,
      )
      return found


@dataclasses.dataclass(frozen=True)
class Farewell:
  """ASGI: answers of a server that is ending end their connections.

  Else a client could send on a connection that it keeps, just as that closes.

  Attributes:
    app: what answers.
    life: whether the server is ending.
  """

  app: types.ASGIApp
  life: Lifecycle

  async def __call__(
    self, scope: types.Scope, receive: types.Receive, send: types.Send
  ) -> None:
    """Passes a request on."""

    async def told(message: types.Message) -> None:
      if message["type"] == "http.response.start" and self.life.draining:
        headers = [*message.get("headers", ()), (b"connection", b"close")]
        message = {**message, "headers": headers}
      await send(message)

    await self.app(scope, receive, told)


async def _in_thread(
  open_run: Callable[[], served.Served],
) -> served.Served:
  """Runs in a thread that holds nobody up where the process ends."""
  loop = asyncio.get_running_loop()
  future: asyncio.Future[served.Served] = loop.create_future()

  def tell(found: served.Served | None, error: Exception | None) -> None:
    if future.done():
      return
    if error is not None:
      future.set_exception(error)
    else:
      assert found is not None
      future.set_result(found)

  def work() -> None:
    try:
      found, error = open_run(), None
    except Exception as failed:
      found, error = None, failed
    if not loop.is_closed():
      loop.call_soon_threadsafe(tell, found, error)

  threading.Thread(target=work, name="instructrec-open", daemon=True).start()
  return await future
