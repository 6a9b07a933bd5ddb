"""From a request for recommendations to its question, and back."""

import time
from typing import Any

from instructrec.serving import questions, run_ranker
from instructrec.serving.server import errors, recommendation_schema, served


def question(
  run: served.Served, request: recommendation_schema.RecommendationsRequest
) -> questions.Question:
  """What a request asks.

  Args:
    run: what is asked.
    request: for whom, and what.

  Returns:
    The question.

  Raises:
    ApiError: 400 where it says nothing, 404 for another model, 422 for items
      and categories that are not known, and where filters leave nothing.
  """
  run.check_name(request.model)
  history = run.items(request.history, "history")
  wish = run_ranker.sentence(request.instruction)
  if not history and wish is None:
    raise errors.ApiError(
      400, "a request needs a history, an instruction, or both", code="empty"
    )
  filters = request.filters
  category = filters.category
  allowed = run.allowed(
    [category] if isinstance(category, str) else category or (),
    filters.price_max,
    bool(filters.in_stock),
    filters.exclude,
  )
  kept = allowed.copy()
  kept[[run.catalog.index(item) for item in history]] = False
  if not kept.any():
    raise errors.ApiError(
      422,
      "no item of the catalogue passes the filters and is not in the history",
      "filters",
      "no_candidates",
    )
  return questions.Question(history, wish, None, allowed, request.k)


def answer(
  run: served.Served,
  asked: questions.Question,
  found: questions.Answer,
  notes: list[str],
  began: float,
) -> dict[str, Any]:
  """An answer as JSON, without reasons.

  Args:
    run: what was asked.
    asked: the question.
    found: the answer.
    notes: what was not read of the instruction and the history.
    began: when the request came, by `time.perf_counter`.

  Returns:
    What is sent.
  """
  return {
    "id": errors.new_id("rec"),
    "object": "recommendations",
    "model": run.name,
    "results": [
      item(run, place) | {"score": score, "parts": parts}
      for place, score, parts in zip(
        found.places, found.scores.tolist(), found.parts, strict=True
      )
    ],
    "understood": run.understood(asked),
    "meta": {
      "warnings": notes,
      "history": list(asked.history),
      "instruction": asked.wish,
      "num_candidates": found.num_candidates,
      "milliseconds": round(1000 * (time.perf_counter() - began), 3),
    },
  }


def item(run: served.Served, place: int) -> dict[str, Any]:
  """An item of the catalogue by its position, as JSON."""
  return {
    "id": run.catalog.item_ids[place],
    "title": run.catalog.titles[place],
    "attributes": run.attributes(place),
  }
