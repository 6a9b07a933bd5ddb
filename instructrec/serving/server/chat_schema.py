"""Requests and answers of `/v1/chat/completions`."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from instructrec.serving import conversation
from instructrec.serving.server.recommendation_schema import (
  Filters,
  K,
  Recommendations,
)
from instructrec.serving.server.rerank_schema import (
  History,
  Name,
  Strict,
  Usage,
)


class ChatRequest(Strict):
  """OpenAI's, with what recommendations have; other fields are read over.

  Attributes:
    messages: the whole conversation; those of "user" are read, those of
      "assistant" say which items were shown.
    stream: whether the answer comes as events.
    history: titles or ids of what was taken before, oldest first.
    k: how many items.
    filters: what may be recommended.
    reasons: whether each place says why.
    model: the name of the model; null for the one that is served.
  """

  model_config = pydantic.ConfigDict(
    json_schema_extra={
      "examples": [
        {
          "messages": [
            {"role": "user", "content": "Puzzles under 30 dollars"},
            {"role": "assistant", "content": "1. A title"},
            {"role": "user", "content": "Cheaper."},
          ],
          "k": 3,
        }
      ]
    }
  )

  messages: Annotated[
    list[dict[str, Any]], Field(max_length=conversation.MAX_MESSAGES)
  ]
  stream: bool | None = None
  history: History = Field(default_factory=list)
  k: K = 10
  filters: Filters = Filters()
  reasons: bool = False
  model: Name | None = None


class ChatMessage(pydantic.BaseModel):
  """What is said."""

  role: Literal["assistant"] = "assistant"
  content: str


class Choice(pydantic.BaseModel):
  """The one answer."""

  index: int
  message: ChatMessage
  finish_reason: Literal["stop"]


class ChatUsage(Usage):
  """Tokens that were read; nothing is written by the model."""

  completion_tokens: int


class ChatAnswer(pydantic.BaseModel):
  """OpenAI's answer, and what it says as structure."""

  id: str
  object: Literal["chat.completion"] = "chat.completion"
  created: int
  model: str
  choices: list[Choice]
  usage: ChatUsage
  recommendation: Recommendations
