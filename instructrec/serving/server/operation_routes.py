"""Routes for whoever runs the server."""

from typing import Literal

import fastapi
import prometheus_client as prometheus
import pydantic
from fastapi import responses

from instructrec.serving.server import (
  errors,
  lifecycle,
  metrics,
  page_files,
  reference,
  rerank_schema,
)


class Alive(pydantic.BaseModel):
  """The process answers."""

  status: Literal["ok"] = "ok"


class Ready(pydantic.BaseModel):
  """Requests may come; `generation` counts the openings of the run."""

  status: Literal["ready"] = "ready"
  generation: int


def add(
  app: fastapi.FastAPI, life: lifecycle.Lifecycle, counted: metrics.Metrics
) -> None:
  """Adds the routes.

  Args:
    app: the server.
    life: which run is served, and whether the server is ending.
    counted: what was counted.
  """

  @app.get("/healthz")
  async def alive() -> Alive:
    """Whether the process answers."""
    return Alive()

  # Where TEI, vLLM and Infinity have it.
  @app.get("/health", include_in_schema=False)
  @app.get("/readyz")
  async def ready() -> Ready:
    """Whether requests may come: the model is compiled, nothing is ending."""
    return Ready(generation=life.check_ready().generation)

  @app.get("/metrics", response_class=responses.PlainTextResponse)
  async def metrics_text() -> responses.Response:
    """What was counted, in Prometheus' form."""
    return responses.Response(
      counted.text(), media_type=prometheus.CONTENT_TYPE_LATEST
    )

  @app.get("/docs", include_in_schema=False)
  async def docs() -> responses.Response:
    """The routes, for people."""
    page = reference.page(app.openapi())
    return responses.HTMLResponse(page, headers=page_files.HEADERS)

  @app.post("/v1/reload", responses={403: {"model": rerank_schema.Error}})
  async def reload() -> Ready:
    """Opens the run anew; the old one stays where that fails."""
    life.check_ready()
    try:
      run = await life.load()
    except Exception as error:
      raise errors.ApiError(
        500, f"the old run stays: {error}", code="reload_failed"
      ) from error
    return Ready(generation=run.generation)
