"""From a request for recommendations to its question, and back."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from instructrec.serving import constraints, questions, run_ranker
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
  within = allowed(run, request.filters)
  kept = within.copy()
  kept[[run.catalog.index(item) for item in history]] = False
  if not kept.any():
    raise errors.ApiError(
      422,
      "no item of the catalogue passes the filters and is not in the history",
      "filters",
      "no_candidates",
    )
  return questions.Question(history, wish, None, within, request.k)


def allowed(
  run: served.Served, filters: recommendation_schema.Filters
) -> Bool[np.ndarray, " items"]:
  """The items that filters let through; see `Served.allowed`."""
  category = filters.category
  return run.allowed(
    [category] if isinstance(category, str) else category or (),
    filters.price_max,
    bool(filters.in_stock),
    filters.exclude,
  )


def asked(
  filters: recommendation_schema.Filters,
) -> list[constraints.Constraint]:
  """What of filters reasons tell of: the price."""
  if filters.price_max is None:
    return []
  kind = constraints.Kind.MAX_PRICE
  return [constraints.Constraint(kind, number=filters.price_max)]


def explain(
  run: served.Served,
  asked_for: questions.Question,
  found: questions.Answer,
  within: Sequence[constraints.Constraint],
) -> list[dict[str, Any]]:
  """Why the places of an answer are there; it takes a step of the model.

  Args:
    run: what was asked.
    asked_for: the question.
    found: its answer.
    within: what was asked beside the wish.

  Returns:
    The reasons for each place, as JSON.
  """
  ids, titles = run.catalog.item_ids, run.catalog.titles
  kept = np.ones(len(ids), bool)
  if asked_for.allowed is not None:
    kept &= asked_for.allowed
  kept[[run.catalog.index(item) for item in asked_for.history]] = False
  request = run_ranker.Request(
    history=asked_for.history,
    wish=asked_for.wish,
    k=len(found.places),
    places=np.flatnonzero(kept),
    asked=tuple(within),
    is_whole=True,
    notes=(),
  )
  places = tuple(
    run_ranker.Place(ids[place], titles[place], score, parts)
    for place, score, parts in zip(
      found.places, found.raw.tolist(), found.parts, strict=True
    )
  )
  ranking = run_ranker.Ranking(places, found.num_candidates, "")
  return [why.to_json() for why in run.ranker.explain(request, ranking)]


def answer(
  run: served.Served,
  asked: questions.Question,
  found: questions.Answer,
  notes: list[str],
  began: float,
  reasons: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
  """An answer as JSON.

  Args:
    run: what was asked.
    asked: the question.
    found: the answer.
    notes: what was not read of the instruction and the history.
    began: when the request came, by `time.perf_counter`.
    reasons: of each place, where they were asked for.

  Returns:
    What is sent.
  """
  places = [
    item(run, place) | {"score": score, "parts": parts}
    for place, score, parts in zip(
      found.places, found.scores.tolist(), found.parts, strict=True
    )
  ]
  for place, why in zip(places, reasons or (), strict=False):
    place["reasons"] = why
  return {
    "id": errors.new_id("rec"),
    "object": "recommendations",
    "model": run.name,
    "results": places,
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
