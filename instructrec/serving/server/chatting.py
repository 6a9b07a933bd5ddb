"""From a conversation to the question that it has come to, and back."""

import json
import time
from collections.abc import Iterator
from typing import Any

from instructrec.serving import messages
from instructrec.serving.server import (
  chat_schema,
  errors,
  recommending,
  served,
)

EVENTS = "text/event-stream"
"""The form of an answer that is streamed."""


def turn(
  run: served.Served, request: chat_schema.ChatRequest
) -> recommending.Turn:
  """Reads a conversation.

  Args:
    run: what is asked.
    request: the messages, and what goes with them.

  Returns:
    What it has come to.

  Raises:
    ApiError: 400 where nothing is said, 422 for
      messages that are none, and items and categories that are not known.
  """
  history = run.items(request.history, "history")
  try:
    said = [messages.Message.from_json(one) for one in request.messages]
    state = run.ranker.conversations.read(said, history)
  except ValueError as error:
    raise errors.ApiError(
      422, f"messages: {error}", "messages", "invalid_messages"
    ) from error
  if not any(one.role == "user" and one.text.strip() for one in said):
    raise errors.ApiError(
      400, "no message of a user says anything", "messages", "empty"
    )
  if not (state.history or state.wish or run.opened.ranks_catalogs):
    raise errors.ApiError(
      400,
      "nothing was understood of the messages, and there is no history",
      "messages",
      "empty",
    )
  return recommending.turn(run, state, request.filters, request.k)


def answer(recommendation: dict[str, Any], tokens: int) -> dict[str, Any]:
  """An answer in OpenAI's form.

  Args:
    recommendation: what is recommended, as JSON.
    tokens: that were read.

  Returns:
    What is sent as JSON.
  """
  message = {"role": "assistant", "content": _content(recommendation)}
  return {
    "id": errors.new_id("chatcmpl"),
    "object": "chat.completion",
    "created": int(time.time()),
    "model": recommendation["model"],
    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    "usage": {
      "prompt_tokens": tokens,
      "completion_tokens": 0,
      "total_tokens": tokens,
    },
    "recommendation": recommendation,
  }


def _content(recommendation: dict[str, Any]) -> str:
  """The answer in words: a title a line, so that the next turn finds it."""
  lines = [f"Understood: {recommendation['understood']['text']}."]
  for number, place in enumerate(recommendation["results"], 1):
    lines.append(f"{number}. {place['title']}")
    if why := place.get("reasons", {}).get("text"):
      lines.append(f"   ({why})")
  if not recommendation["results"]:
    lines.append("No item is known to meet all of that; ask for less.")
  return "\n".join(lines)


def events(whole: dict[str, Any]) -> Iterator[str]:
  """An answer as OpenAI streams it, a line of its text an event.

  Args:
    whole: what `answer` gave.

  Yields:
    Server-sent events; the last but one has the recommendation.
  """
  head = {key: whole[key] for key in ("id", "created", "model")}
  head["object"] = "chat.completion.chunk"

  def event(delta: dict[str, Any], end: str | None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": end}
    body = {**head, "choices": [choice], **more}
    return f"data: {json.dumps(body, allow_nan=False)}\n\n"

  yield event({"role": "assistant", "content": ""}, None)
  content = whole["choices"][0]["message"]["content"]
  for line in content.splitlines(keepends=True):
    yield event({"content": line}, None)
  yield event(
    {},
    "stop",
    usage=whole["usage"],
    recommendation=whole["recommendation"],
  )
  yield "data: [DONE]\n\n"
