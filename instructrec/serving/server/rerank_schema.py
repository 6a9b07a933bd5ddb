"""Requests and answers of reranking, in the dialects of their clients.

Fields that others have and that say nothing here are told, or refused where the
client asks for that.
"""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from instructrec import limits

Text = Annotated[str, Field(max_length=limits.DOCUMENT_CHARS.value)]
Wish = Annotated[str, Field(max_length=limits.WISH_CHARS.value)]
Name = Annotated[str, Field(max_length=limits.ID_CHARS.value)]
History = Annotated[list[Name], Field(max_length=limits.HISTORY.value)]
_Documents = limits.DOCUMENTS.value
_MOST_FIELDS = 100


class Strict(pydantic.BaseModel):
  """Text is text and numbers are numbers: 1 is no title and "3" no number."""

  model_config = pydantic.ConfigDict(strict=True, extra="allow")

  @pydantic.model_validator(mode="before")
  @classmethod
  def _few_fields(cls, found: Any) -> Any:
    """Refuses fields without end, each of which could be an error."""
    if isinstance(found, dict) and len(found) > _MOST_FIELDS:
      raise ValueError(
        f"found {len(found):,} fields, expected at most {_MOST_FIELDS}"
      )
    return found


class Common(Strict):
  """What all dialects have.

  Attributes:
    query: what is wanted, in words.
    model: the name of the model; null for the one that is served.
    instruction: further words, which stand before the query.
    history: titles or ids of items that were taken, oldest first.
  """

  query: Wish
  model: Name | None = None
  instruction: Wish | None = None
  history: History = Field(default_factory=list)
  raw_scores: bool = False


class DocumentsRequest(Common):
  """Cohere's, Jina's, vLLM's and Infinity's.

  Attributes:
    documents: texts, or objects with `text` or `item_id`.
    top_n: how many; null and 0 for all.
    return_documents: whether the answer repeats the documents.
    rank_fields: Cohere 1: of objects, the fields that are ranked.
    use_activation: vLLM: false for raw scores.
  """

  model_config = pydantic.ConfigDict(
    json_schema_extra={
      "examples": [
        {
          "query": "a puzzle about the ocean",
          "documents": ["A kite", {"text": "An ocean puzzle"}],
          "top_n": 1,
          "return_documents": True,
        }
      ]
    }
  )

  documents: Annotated[
    list[Text | dict[str, Any]], Field(max_length=_Documents)
  ]
  top_n: Annotated[int, Field(ge=0)] | None = None
  return_documents: bool | None = None
  rank_fields: Annotated[list[Name], Field(max_length=_MOST_FIELDS)] | None = (
    None
  )
  use_activation: bool | None = None


class TextsRequest(Common):
  """Text Embeddings Inference's.

  Attributes:
    texts: what is ranked.
    return_text: whether the answer repeats them.
  """

  model_config = pydantic.ConfigDict(
    json_schema_extra={
      "examples": [
        {"query": "a puzzle about the ocean", "texts": ["A kite", "A puzzle"]}
      ]
    }
  )

  texts: Annotated[list[Text], Field(max_length=_Documents)]
  return_text: bool | None = None


def dialect(body: Any) -> str | None:
  """Which request a body is, by what it brings along."""
  if isinstance(body, dict):
    return "texts!" if "texts" in body else "documents!"
  return "texts!" if isinstance(body, TextsRequest) else "documents!"


RerankRequest = Annotated[
  Annotated[DocumentsRequest, pydantic.Tag("documents!")]
  | Annotated[TextsRequest, pydantic.Tag("texts!")],
  pydantic.Discriminator(dialect),
]


class Result(pydantic.BaseModel):
  """One document's place."""

  index: int
  relevance_score: float
  document: dict[str, Any] | None = None


class Usage(pydantic.BaseModel):
  """Tokens that were read."""

  prompt_tokens: int
  total_tokens: int


class Meta(pydantic.BaseModel):
  """As Cohere has it."""

  api_version: dict[str, str]
  billed_units: dict[str, int]
  tokens: dict[str, int]
  warnings: list[str]


class Understood(pydantic.BaseModel):
  """What was read of words; see docs/conversation.md."""

  text: str
  constraints: list[dict[str, Any]]
  history: list[str]
  wish: str | None
  not_understood: list[dict[str, Any]]


class RerankAnswer(pydantic.BaseModel):
  """The answer to `documents`; `document` is there only if asked for."""

  id: str
  object: Literal["rerank"] = "rerank"
  created: int
  model: str
  results: list[Result]
  understood: Understood | None
  usage: Usage
  meta: Meta


class TextResult(pydantic.BaseModel):
  """One text's place."""

  index: int
  score: float
  text: str | None = None


class Error(pydantic.BaseModel):
  """What every error is answered with."""

  message: str
  detail: str
  error: dict[str, Any]
  error_type: str
  id: str
