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


def routes(
  life: lifecycle.Lifecycle, counted: metrics.Metrics
) -> fastapi.APIRouter:
  """The routes.

  Args:
    life: which run is served, and whether the server is ending.
    counted: what was counted.

  Returns:
    Them.
  """
  found = fastapi.APIRouter(tags=["operation"])

  @found.get("/healthz")
  async def alive() -> Alive:
    """Whether the process answers."""
    return Alive()

  # Where TEI, vLLM and Infinity have it.
  @found.get("/health", include_in_schema=False)
  @found.get("/readyz")
  async def ready() -> Ready:
    """Whether requests may come: the model is compiled, nothing is ending."""
    return Ready(generation=life.check_ready().generation)

  @found.get("/metrics", response_class=responses.PlainTextResponse)
  async def metrics_text() -> responses.Response:
    """What was counted, in Prometheus' form."""
    return responses.Response(
      counted.text(), media_type=prometheus.CONTENT_TYPE_LATEST
    )

  @found.get("/docs", include_in_schema=False)
  async def docs(request: fastapi.Request) -> responses.Response:
    """The routes, for people."""
    page = reference.page(request.app.openapi())
    return responses.HTMLResponse(page, headers=page_files.HEADERS)

  @found.post("/v1/reload", responses={403: {"model": rerank_schema.Error}})
  async def reload() -> Ready:
    """Opens the run anew; the old one stays where that fails."""
    life.check_ready()
    try:
      run = await life.load()
    except (OSError, ValueError) as error:
      raise errors.ApiError(
        500, f"the old run stays: {error}", code="reload_failed"
      ) from error
    return Ready(generation=run.generation)

  return found
