"""From a request to rerank to its question, and from the answer back."""

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydantic
from jaxtyping import Bool

from instructrec.serving import (
  constraints,
  conversation_state,
  questions,
  wish_sentence,
)
from instructrec.serving.server import errors, rerank_schema, served

_UNITS = 100
"""Documents of a search unit, as Cohere bills them."""
_TEXT = pydantic.TypeAdapter(
  rerank_schema.Text, config=pydantic.ConfigDict(strict=True)
)


def question(
  run: served.Served,
  request: rerank_schema.DocumentsRequest | rerank_schema.TextsRequest,
) -> tuple[conversation_state.State, questions.Question, list[str]]:
  """What a request asks.

  Args:
    run: what is asked.
    request: in any dialect.

  Returns:
    What its words say, the question, and notes on documents that break it.

  Raises:
    ApiError: 400 where there is nothing to rank, or to rank by; 422 for a
      document or item that is none.
  """
  said = [request.instruction, request.query]
  wish = " ".join(filter(None, map(wish_sentence.sentence, said))) or None
  history = run.items(request.history, "history")
  if wish is None and not history:
    raise errors.ApiError(
      400, "the query is empty, and there is no history", "query", "empty"
    )
  if isinstance(request, rerank_schema.TextsRequest):
    name, top = "texts", None
    documents = [run.document(text) for text in request.texts]
  else:
    name, top = "documents", request.top_n or None
    fields = request.rank_fields
    documents = []
    for place, document in enumerate(request.documents):
      param = f"documents.{place}"
      if request.return_documents:
        _check_echo(document, param)
      documents.append(_document(run, document, fields, param))
  if not documents:
    raise errors.ApiError(400, f"there are no {name} to rank", name, "empty")
  state = run.ranker.read(history, wish)
  breaking = np.zeros(len(documents), bool)
  if any(one.binds for one in state.kept):
    documents = [_with_names(run, one) for one in documents]
    breaking = _breaking(run, documents, state.kept)
  asked = questions.Question(
    state.history,
    wish_sentence.sentence(state.wish),
    tuple(documents),
    k=top,
    breaking=breaking,
  )
  return state, asked, constraints.told(state.kept, breaking, name)


def _with_names(
  run: served.Served, document: questions.Document
) -> questions.Document:
  """A document with what it names, where it is a text."""
  if document.item is not None:
    return document
  named = run.opened.parts.reader.named(document.text)
  return dataclasses.replace(document, named=named)


def _breaking(
  run: served.Served,
  documents: Sequence[questions.Document],
  asked: Sequence[constraints.Constraint],
) -> Bool[np.ndarray, " documents"]:
  """Which documents are known to break what binds."""
  shelf = run.ranker.shelf
  allowed = shelf.allowed(asked, unknown=True)
  return ~np.array(
    [
      shelf.allows_text(asked, one.named or frozenset())
      if one.item is None
      else allowed[one.item]
      for one in documents
    ]
  )


def _document(
  run: served.Served,
  document: str | dict[str, Any],
  fields: list[str] | None,
  param: str,
) -> questions.Document:
  """What is ranked of a document."""
  if isinstance(document, str):
    return run.document(document)
  item = document.get("item_id")
  if isinstance(item, str):
    if item not in run.catalog:
      raise errors.ApiError(
        422, f"no item has the id {item[:80]!r}", f"{param}.item_id"
      )
    return questions.Document(run.catalog.title(item), run.catalog.index(item))
  names = list(dict.fromkeys(fields or ["text"]))  # Each once: it is joined.
  texts = [document[name] for name in names if name in document]
  if not texts:
    raise errors.ApiError(
      422,
      f"{param} is an object without {names[0][:80]!r}; expected text, or an "
      "object with 'text' or 'item_id'",
      param,
    )
  try:
    return run.document("\n".join(map(_TEXT.validate_python, texts)))
  except pydantic.ValidationError as error:
    message = error.errors()[0]["msg"]
    raise errors.ApiError(422, f"{param}: {message}", param) from error


def _check_echo(document: Any, param: str) -> None:
  """Refuses what JSON cannot say again: no number, half a character."""
  try:
    json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
  except ValueError as error:
    raise errors.ApiError(422, f"{param}: {error}", param) from error


def answer(
  run: served.Served,
  request: rerank_schema.DocumentsRequest | rerank_schema.TextsRequest,
  state: conversation_state.State,
  found: questions.Answer,
  version: str,
  notes: list[str],
) -> Any:
  """An answer in the dialect of its request.

  Args:
    run: what was asked.
    request: what was asked for.
    state: what its words say.
    found: the answer.
    version: of Cohere's interface, by the route.
    notes: what was not read of the query and the history, and what broke it.

  Returns:
    What is sent as JSON.
  """
  raw = request.raw_scores
  if isinstance(request, rerank_schema.DocumentsRequest):
    raw = raw or request.use_activation is False
  scores = (found.raw if raw else found.scores).tolist()
  placed = list(zip(found.places, scores, strict=True))
  if isinstance(request, rerank_schema.TextsRequest):
    return [
      {"index": place, "score": score}
      | ({"text": request.texts[place]} if request.return_text else {})
      for place, score in placed
    ]
  results: list[dict[str, Any]] = []
  for place, score in placed:
    results.append({"index": place, "relevance_score": score})
    if request.return_documents:
      given = request.documents[place]
      text = {"text": given} if isinstance(given, str) else given
      results[-1]["document"] = text
  warnings = [*state.notes, *notes]
  warnings += [
    f"documents.{place} is longer than the {found.read_of_each} tokens that "
    "are read of a document, and was cut"
    for place in found.cut
  ]
  return {
    "id": errors.new_id("rerank"),
    "object": "rerank",
    "created": int(time.time()),
    "model": run.name,
    "results": results,
    "understood": state.to_json() if state.turns else None,
    "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
    "meta": {
      "api_version": {"version": version},
      "billed_units": {
        "search_units": -(-len(request.documents) // _UNITS),
      },
      "tokens": {"input_tokens": found.tokens, "output_tokens": 0},
      "warnings": warnings,
    },
  }
