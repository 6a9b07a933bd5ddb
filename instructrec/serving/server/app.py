"""The server as an ASGI application."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable

import fastapi
from fastapi import exceptions
from starlette import exceptions as starlette_exceptions
from starlette import routing

import instructrec
from instructrec.serving import questions
from instructrec.serving.server import (
  asking,
  batching,
  described,
  errors,
  gates,
  head,
  lifecycle,
  list_routes,
  metrics,
  operation_routes,
  page_files,
  ranking_routes,
  served,
)
from instructrec.settings import serving


def create(
  settings: serving.ServingSettings,
  open_run: Callable[[int], served.Served] | None = None,
  keys: gates.Keys | None = None,
) -> fastapi.FastAPI:
  """The server as an ASGI application; it opens the run when it starts.

  Args:
    settings: what is served, and how much at once.
    open_run: opens a run, given which generation it is; by the settings if
      None.
    keys: that open the routes; those of the environment if None.

  Returns:
    The application; `state.lifecycle` and `state.batcher` are its parts.

  Raises:
    ValueError: where a key of the environment is none.
  """
  keys = gates.Keys.of(os.environ) if keys is None else keys
  counted = metrics.Metrics()
  batcher = batching.Batcher(
    counted,
    settings.most_queued,
    settings.most_at_once,
    settings.most_tokens,
    settings.wait_ms / 1000,
  )
  life = lifecycle.Lifecycle(
    open_run or (lambda number: served.Served.open(settings, number)), counted
  )
  ask = asking.Asking(life, batcher)
  app = fastapi.FastAPI(
    title="InstructRec",
    version=instructrec.__version__,
    lifespan=lambda _: _living(life, batcher, ask),
    responses=described.ERRORS,
    generate_unique_id_function=lambda route: route.name,
    # Theirs come with scripts of another server.
    docs_url=None,
    redoc_url=None,
  )
  app.state.lifecycle, app.state.batcher = life, batcher
  operation_routes.add(app, life, counted)
  list_routes.add(app, life)
  ranking_routes.add(app, ask)
  described.add_keys(app, keys)
  _add_handlers(app)
  methods = _methods(app)
  app.mount("/", page_files.PageFiles(methods))
  # The last one that is added stands first.
  app.add_middleware(
    gates.Gates,
    keys=keys,
    refused=counted.rejected,
    seconds=settings.deadline_seconds,
  )
  app.add_middleware(lifecycle.Farewell, life=life)
  app.add_middleware(head.HeadAsGet)
  app.add_middleware(
    metrics.Measured, metrics=counted, routes=frozenset(methods)
  )
  return app


@contextlib.asynccontextmanager
async def _living(
  life: lifecycle.Lifecycle, batcher: batching.Batcher, ask: asking.Asking
) -> AsyncIterator[None]:
  """Opens the run and runs steps; at the end answers what was accepted."""
  steps = asyncio.create_task(batcher.run())
  first = asyncio.create_task(life.load())
  # What it failed by, the lifecycle keeps.
  first.add_done_callback(lambda task: task.cancelled() or task.exception())
  yield
  await batcher.drained()
  for task in (first, steps):
    task.cancel()
  await asyncio.gather(first, steps, return_exceptions=True)
  ask.close()
  batcher.close()


def _add_handlers(app: fastapi.FastAPI) -> None:
  """All errors have one body."""
  for kind, handler in (
    (errors.ApiError, errors.on_api_error),
    (exceptions.RequestValidationError, errors.on_invalid),
    (starlette_exceptions.HTTPException, errors.on_http_error),
    (questions.NotFiniteError, errors.on_fault),
    (Exception, errors.on_fault),
  ):
    app.add_exception_handler(kind, handler)


def _methods(app: fastapi.FastAPI) -> dict[str, set[str]]:
  """The methods that each path answers."""
  found: dict[str, set[str]] = {}
  for route in app.routes:
    if isinstance(route, routing.Route):
      methods = found.setdefault(route.path, set())
      methods.update(route.methods or ())
      if "GET" in methods:
        methods.add("HEAD")
  return found
