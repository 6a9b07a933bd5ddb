"""A server over a tiny run, in the process of the tests."""

import asyncio
import contextlib
import dataclasses
import pathlib

import httpx
import pytest

from instructrec.instructions import templates
from instructrec.serving import opened_run
from instructrec.serving.server import app as app_lib
from instructrec.serving.server import gates, served
from instructrec.settings import serving

KEY = {"Authorization": "Bearer one"}


@pytest.fixture(scope="session")
def settings():
  return serving.ServingSettings(
    model_dir=pathlib.Path("shop"), most_at_once=4, port=0
  )


@pytest.fixture(scope="session")
def run(matching, settings):
  """The run that is served; what requests need is compiled once."""
  parts = matching.parts("match")
  opened = opened_run.OpenedRun(
    parts.run, parts.params, parts.prepared, templates.load()
  )
  opened = dataclasses.replace(opened, checkpoint="step 7")
  stock = frozenset(opened.catalog.item_ids[::2])
  return served.Served.over(opened, settings, stock)


class Server:
  """An application with a client; both live in one event loop.

  Attributes:
    app: what is tested.
  """

  def __init__(self, settings, open_run, keys):
    self.app = app_lib.create(settings, open_run, keys)
    self._runner = asyncio.Runner()
    self._stack = contextlib.AsyncExitStack()

  def __enter__(self):
    async def start():
      await self._stack.enter_async_context(
        self.app.router.lifespan_context(self.app)
      )
      transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
      self.client = await self._stack.enter_async_context(
        httpx.AsyncClient(transport=transport, base_url="http://test")
      )

    self._runner.__enter__()
    self.run(start())
    return self

  def __exit__(self, *unused):
    self.run(self._stack.aclose())
    self._runner.close()

  def run(self, work):
    """Waits for a coroutine."""
    return self._runner.run(work)

  def ready(self):
    """Waits until the run is open."""

    async def wait():
      while (await self.client.get("/readyz")).status_code == 503:
        await asyncio.sleep(0.002)

    self.run(wait())
    return self

  def get(self, path, **options):
    """Gets a path."""
    return self.run(self.client.get(path, **options))

  def post(self, path, body=None, **options):
    """Posts JSON."""
    if body is not None:
      options["json"] = body
    return self.run(self.client.post(path, **options))


@pytest.fixture(scope="session")
def serve(settings, run):
  """Makes servers; they end with the block that they are made for."""

  def make(open_run=None, keys=None, **changed):
    made = dataclasses.replace(settings, **changed)
    return Server(made, open_run or (lambda number: run), keys or gates.Keys())

  return make


@pytest.fixture(scope="module")
def server(serve):
  with serve() as found:
    yield found.ready()
