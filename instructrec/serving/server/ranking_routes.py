"""Routes that rank: reranking, recommendations, chat."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import fastapi
from fastapi import responses

from instructrec.serving.server import (
  asking,
  chat_schema,
  chatting,
  recommendation_schema,
  recommending,
  rerank_schema,
  reranking,
  served,
)

_RERANK: dict[str, Any] = {
  "response_model": rerank_schema.RerankAnswer | list[rerank_schema.TextResult],
  "summary": "Ranks the documents of the request",
}
_AS_IT_COMES = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""For proxies, which else keep the events of a stream until its end."""
_Strict = Annotated[
  bool,
  fastapi.Query(description="Refuses fields that say nothing; else a warning."),
]
_Body = Annotated[rerank_schema.RerankRequest, fastapi.Body()]


def add(app: fastapi.FastAPI, ask: asking.Asking) -> None:
  """Adds the routes.

  Args:
    app: the server.
    ask: answers their questions.
  """
  _add_reranking(app, ask)
  _add_recommending(app, ask)


def _add_reranking(app: fastapi.FastAPI, ask: asking.Asking) -> None:
  """The same under three paths, which clients have built in."""

  async def ranked(
    request: fastapi.Request,
    body: rerank_schema.RerankRequest,
    strict: bool,
    version: str,
  ) -> responses.Response:
    unread = asking.unread(body, strict)

    async def work() -> Any:
      def read(run: served.Served) -> Any:
        state, asked, told = reranking.question(run, body)
        notes = [*run.notes(asked), *told, *unread]
        return state, run.answers.read(asked), notes

      run, (state, asked, notes) = await ask.prepared(read, body.model)
      found = await ask.answer(run, asked)
      return reranking.answer(run, body, state, found, version, notes)

    return responses.JSONResponse(await ask.in_time(request, work()))

  @app.post("/rerank", **_RERANK)
  async def rerank(
    request: fastapi.Request, body: _Body, strict: _Strict = False
  ) -> Any:
    """TEI's, Infinity's and dify's path."""
    return await ranked(request, body, strict, "2")

  @app.post("/v1/rerank", **_RERANK)
  async def rerank_v1(
    request: fastapi.Request, body: _Body, strict: _Strict = False
  ) -> Any:
    """Jina's and Cohere 1's path."""
    return await ranked(request, body, strict, "1")

  @app.post("/v2/rerank", **_RERANK)
  async def rerank_v2(
    request: fastapi.Request, body: _Body, strict: _Strict = False
  ) -> Any:
    """Cohere 2's path."""
    return await ranked(request, body, strict, "2")


def _add_recommending(app: fastapi.FastAPI, ask: asking.Asking) -> None:
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
      if made.question is None:
        return made, None, unread
      notes = [*made.notes, *unread, *run.notes(made.question)]
      return made, run.answers.read(made.question), notes

    async def work() -> tuple[dict[str, Any], int]:
      run, (made, asked, notes) = await ask.prepared(read, body.model)
      if asked is None:
        return recommending.nothing(run, made, notes, began), 0
      best, why = await ask.explained(run, asked, made.asked, body.reasons)
      answer = recommending.answer(run, made, best, notes, began, why)
      return answer, best.tokens

    return await ask.in_time(request, work())

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
  async def chat_completions(
    request: fastapi.Request,
    body: chat_schema.ChatRequest,
    strict: _Strict = False,
  ) -> Any:
    """The best items under all that was said, turn after turn."""
    answer = chatting.answer(*await found(request, body, strict, chatting.turn))
    if body.stream:
      return responses.StreamingResponse(
        chatting.events(answer),
        media_type=chatting.EVENTS,
        headers=_AS_IT_COMES,
      )
    return responses.JSONResponse(answer)
