"""From a request for recommendations to its question, and back."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from instructrec.serving import (
  constraints,
  conversation_state,
  questions,
  rankings,
  wish_sentence,
)
from instructrec.serving.server import errors, recommendation_schema, served


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
  """What a request comes to.

  Attributes:
    state: what it says, as it was read.
    question: what is asked; None where no item meets what is asked.
    asked: the constraints that hold, those of filters among them.
    notes: what of it is not done.
  """

  state: conversation_state.State
  question: questions.Question | None
  asked: tuple[constraints.Constraint, ...]
  notes: tuple[str, ...] = ()


def single(
  run: served.Served, request: recommendation_schema.RecommendationsRequest
) -> Turn:
  """What a request without a conversation asks; see `turn`.

  Raises:
    ApiError: 400 where it says nothing, 422 for items that are not known.
  """
  history = run.items(request.history, "history")
  if not history and not (request.instruction or "").strip():
    raise errors.ApiError(
      400, "a request needs a history, an instruction, or both", code="empty"
    )
  state = run.ranker.read(history, request.instruction)
  return turn(run, state, request.filters, request.k)


def turn(
  run: served.Served,
  state: conversation_state.State,
  filters: recommendation_schema.Filters,
  k: int,
) -> Turn:
  """What is asked after all that was said.

  Args:
    run: what is asked.
    state: what was said.
    filters: what may be recommended beside it.
    k: how many; fewer where fewer are asked for.

  Returns:
    What it comes to.

  Raises:
    ApiError: 422 for categories and items that are not known, and where filters
      leave nothing.
  """
  kept = allowed(run, filters)
  kept[[run.catalog.index(item) for item in state.history]] = False
  if not kept.any():
    raise errors.ApiError(
      422,
      "no item of the catalogue passes the filters and is not in the history",
      "filters",
      "no_candidates",
    )
  shelf = run.ranker.shelf
  every = (*state.kept, *asked(filters))
  kept &= shelf.allowed(every)
  if not kept.any():
    return Turn(state, None, every)
  k, notes = constraints.places(every, k)
  question = questions.Question(
    state.history,
    wish_sentence.sentence(state.wish),
    None,
    kept,
    k,
    tuple(shelf.limits(every, k)),
  )
  return Turn(state, question, every, tuple(notes))


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
  request = rankings.Request(
    history=asked_for.history,
    wish=asked_for.wish,
    k=len(found.places),
    places=np.flatnonzero(kept),
    asked=tuple(within),
    is_whole=True,
    notes=(),
  )
  places = tuple(
    rankings.Place(ids[place], titles[place], score, parts)
    for place, score, parts in zip(
      found.places, found.raw.tolist(), found.parts, strict=True
    )
  )
  ranking = rankings.Ranking(places, found.num_candidates, "")
  return [why.to_json() for why in run.ranker.explain(request, ranking)]


def nothing(
  run: served.Served, found: Turn, notes: list[str], began: float
) -> dict[str, Any]:
  """The answer where no item meets what is asked, as JSON; see `answer`."""
  warnings = ["no item is known to meet all of what is asked", *notes]
  return _answer(run, found, [], warnings, 0, began)


def answer(
  run: served.Served,
  turn: Turn,
  found: questions.Answer,
  notes: list[str],
  began: float,
  reasons: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
  """An answer as JSON.

  Args:
    run: what was asked.
    turn: for what.
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
  return _answer(run, turn, places, notes, found.num_candidates, began)


def _answer(
  run: served.Served,
  turn: Turn,
  places: list[dict[str, Any]],
  notes: list[str],
  num_candidates: int,
  began: float,
) -> dict[str, Any]:
  state = turn.state
  return {
    "id": errors.new_id("rec"),
    "object": "recommendations",
    "model": run.name,
    "results": places,
    "understood": state.to_json() if state.turns else None,
    "meta": {
      "warnings": [*state.notes, *notes],
      "history": list(state.history),
      "instruction": wish_sentence.sentence(state.wish),
      "num_candidates": num_candidates,
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
