"""The routes."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import fastapi
from fastapi import exceptions, responses
from starlette import exceptions as starlette_exceptions
from starlette import routing

import instructrec
from instructrec import limits
from instructrec.serving import questions
from instructrec.serving.server import (
  asking,
  batching,
  chat_schema,
  chatting,
  errors,
  gates,
  head,
  lifecycle,
  metrics,
  page_files,
  recommendation_schema,
  recommending,
  reference,
  rerank_schema,
  reranking,
  served,
)
from instructrec.settings import serving

_ERRORS: dict[int | str, dict[str, Any]] = {
  status: {"model": rerank_schema.Error}
  for status in (400, 401, 404, 408, 413, 422, 429, 500, 503, 504)
}
_RERANK: dict[str, Any] = {
  "response_model": rerank_schema.RerankAnswer | list[rerank_schema.TextResult],
  "summary": "Ranks the documents of the request",
}
_LIMITS = (
  limits.BODY_BYTES,
  limits.DOCUMENTS,
  limits.DOCUMENT_CHARS,
  limits.WISH_CHARS,
  limits.HISTORY,
  limits.PLACES,
)
_Strict = Annotated[
  bool,
  fastapi.Query(description="Refuses fields that say nothing; else a warning."),
]
_Body = Annotated[rerank_schema.RerankRequest, fastapi.Body()]


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
  counted = metrics.Metrics()
  batcher = batching.Batcher(
    counted,
    settings.most_queued,
    settings.most_at_once,
    settings.most_tokens,
    settings.wait_ms / 1000,
    settings.deadline_seconds,
  )
  life = lifecycle.Lifecycle(
    open_run or (lambda number: served.Served.open(settings, number)), counted
  )

  @contextlib.asynccontextmanager
  async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    steps = asyncio.create_task(batcher.run())
    first = asyncio.create_task(life.load())
    # What it failed by, the lifecycle keeps.
    first.add_done_callback(lambda task: task.cancelled() or task.exception())
    yield
    await batcher.drained()
    for task in (first, steps):
      task.cancel()
    await asyncio.gather(first, steps, return_exceptions=True)
    batcher.close()

  app = fastapi.FastAPI(
    title="InstructRec",
    version=instructrec.__version__,
    lifespan=lifespan,
    responses=_ERRORS,
    # Theirs come with scripts of another server.
    docs_url=None,
    redoc_url=None,
  )
  app.state.lifecycle, app.state.batcher = life, batcher
  ask = asking.Asking(life, batcher)
  _add_operations(app, life, counted)
  _add_lists(app, life)
  _add_reranking(app, ask)
  _add_recommendations(app, ask)
  for kind, handler in (
    (errors.ApiError, errors.on_api_error),
    (exceptions.RequestValidationError, errors.on_invalid),
    (starlette_exceptions.HTTPException, errors.on_http_error),
    (questions.NotFiniteError, errors.on_fault),
    (Exception, errors.on_fault),
  ):
    app.add_exception_handler(kind, handler)
  routes = _methods(app)
  app.mount("/", page_files.PageFiles(routes))
  chosen = gates.Keys.of(os.environ) if keys is None else keys
  # The last one that is added stands first.
  app.add_middleware(
    gates.Gates,
    keys=chosen,
    refused=counted.rejected,
    seconds=settings.deadline_seconds,
  )
  app.add_middleware(lifecycle.Farewell, life=life)
  app.add_middleware(head.HeadAsGet)
  app.add_middleware(
    metrics.Measured, metrics=counted, routes=frozenset(routes)
  )
  return app


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


def _add_operations(
  app: fastapi.FastAPI, life: lifecycle.Lifecycle, counted: metrics.Metrics
) -> None:
  """Routes for whoever runs the server."""

  @app.get("/healthz")
  async def alive() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}

  @app.get("/readyz")
  async def ready() -> dict[str, Any]:
    """Whether requests may come: the model is compiled, nothing is ending."""
    run = life.check_ready()
    return {"status": "ready", "generation": run.generation}

  @app.get("/metrics", response_class=responses.PlainTextResponse)
  async def metrics_text() -> responses.Response:
    """What was counted, in Prometheus' form."""
    return responses.Response(
      counted.text(), media_type="text/plain; version=1.0.0; charset=utf-8"
    )

  @app.get("/docs", include_in_schema=False)
  async def docs() -> responses.Response:
    """The routes, for people."""
    page = reference.page(app.openapi())
    return responses.HTMLResponse(page, headers=page_files.HEADERS)

  @app.post("/v1/reload", responses={403: {"model": rerank_schema.Error}})
  async def reload() -> dict[str, Any]:
    """Opens the run anew; the old one stays where that fails."""
    life.check_ready()
    try:
      run = await life.load()
    except (OSError, ValueError) as error:
      raise errors.ApiError(
        500, f"the old run stays: {error}", code="reload_failed"
      ) from error
    return {"status": "ready", "generation": run.generation}


def _add_lists(app: fastapi.FastAPI, life: lifecycle.Lifecycle) -> None:
  """What there is: models, limits, items."""

  @app.get("/v1/models")
  @app.get("/models", include_in_schema=False)
  async def models() -> dict[str, Any]:
    """The models, as OpenAI lists them; the first is the usual one."""
    run = life.current
    return {
      "object": "list",
      "data": [
        {
          "id": one.name,
          "object": "model",
          "created": 0,
          "owned_by": "instructrec",
        }
        for one in (run, *run.beside)
      ],
    }

  @app.get("/info")
  async def info() -> dict[str, Any]:
    """What is served, its versions and limits."""
    run = life.current
    return {
      "model": run.name,
      "checkpoint": run.opened.checkpoint,
      "version": instructrec.__version__,
      "generation": run.generation,
      "scores": "matches" if run.opened.ranks_catalogs else "likelihoods",
      "scale": run.answers.scale,
      "catalog": {
        "items": len(run.catalog),
        "fingerprint": run.fingerprint,
        "categories": list(run.categories[:200]),
        "has_prices": run.has_prices,
        "has_stock": run.stock is not None,
      },
      "limits": {limit.name.lower(): limit.value for limit in _LIMITS},
    }

  @app.get("/v1/items", response_model=recommendation_schema.Items)
  def items(
    query: Annotated[str, fastapi.Query(max_length=limits.ID_CHARS.value)] = "",
    limit: Annotated[int, fastapi.Query(ge=1, le=1000)] = 20,
    offset: Annotated[int, fastapi.Query(ge=0, le=2**31)] = 0,
  ) -> responses.Response:
    """The items whose titles have all words of the query."""
    run = life.current
    found = run.search(query)
    data = [
      recommending.item(run, place) for place in found[offset : offset + limit]
    ]
    return responses.JSONResponse(
      {"object": "list", "data": data, "total": len(found)}
    )


def _add_reranking(app: fastapi.FastAPI, ask: asking.Asking) -> None:
  """The same under three paths, which clients have built in."""

  async def rerank(
    request: fastapi.Request,
    body: rerank_schema.RerankRequest,
    strict: bool,
    version: str,
  ) -> responses.Response:
    unread = asking.unread(body, strict)

    async def work() -> Any:
      def read(run: served.Served) -> Any:
        state, asked, told = reranking.question(run, body)
        return state, asked, [*run.notes(asked), *told, *unread]

      run, (state, asked, notes) = await ask.prepared(read, body.model)
      (found,) = await ask.answers(run, [asked])
      return reranking.answer(run, body, state, found, version, notes)

    return responses.JSONResponse(await asking.unless_gone(request, work()))

  @app.post("/rerank", **_RERANK)
  async def rerank_plain(
    request: fastapi.Request, body: _Body, strict: _Strict = False
  ) -> Any:
    """TEI's, Infinity's and dify's path."""
    return await rerank(request, body, strict, "2")

  @app.post("/v1/rerank", **_RERANK)
  async def rerank_1(
    request: fastapi.Request, body: _Body, strict: _Strict = False
  ) -> Any:
    """Jina's and Cohere 1's path."""
    return await rerank(request, body, strict, "1")

  @app.post("/v2/rerank", **_RERANK)
  async def rerank_2(
    request: fastapi.Request, body: _Body, strict: _Strict = False
  ) -> Any:
    """Cohere 2's path."""
    return await rerank(request, body, strict, "2")


def _add_recommendations(app: fastapi.FastAPI, ask: asking.Asking) -> None:
  """From the whole catalogue."""

  async def found(
    request: fastapi.Request,
    body: Any,
    strict: bool,
    turn: Callable[[served.Served, Any], recommending.Turn],
  ) -> tuple[dict[str, Any], int]:
    """The answer to a request as JSON, and the tokens that were read for it."""
    began, unread = time.perf_counter(), asking.unread(body, strict)

    def read(run: served.Served) -> Any:
      made = turn(run, body)
      asked = made.question
      return made, [*unread, *(run.notes(asked) if asked else ())]

    async def work() -> tuple[dict[str, Any], int]:
      run, (made, notes) = await ask.prepared(read, body.model)
      if made.question is None:
        return recommending.nothing(run, made, notes, began), 0
      best, why = await ask.explained(
        run, made.question, made.asked, body.reasons
      )
      answer = recommending.answer(run, made, best, notes, began, why)
      return answer, best.tokens

    return await asking.unless_gone(request, work())

  @app.post(
    "/v1/recommendations",
    response_model=recommendation_schema.Recommendations,
  )
  async def recommendations(
    request: fastapi.Request,
    body: recommendation_schema.RecommendationsRequest,
    strict: _Strict = False,
  ) -> Any:
    """The best items for a history and an instruction."""
    answer, _ = await found(request, body, strict, recommending.single)
    return responses.JSONResponse(answer)

  @app.post(
    "/v1/chat/completions",
    response_model=chat_schema.ChatAnswer,
    responses={200: {"content": {chatting.EVENTS: {}}}},
  )
  async def chat(
    request: fastapi.Request,
    body: chat_schema.ChatRequest,
    strict: _Strict = False,
  ) -> Any:
    """The best items under all that was said, turn after turn."""
    answer = chatting.answer(*await found(request, body, strict, chatting.turn))
    if body.stream:
      return responses.StreamingResponse(
        chatting.events(answer), media_type=chatting.EVENTS
      )
    return responses.JSONResponse(answer)
