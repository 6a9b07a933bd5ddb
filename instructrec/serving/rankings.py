"""What one request is among the items of a run, and the ranking it has."""

import dataclasses
from collections.abc import Sequence
from typing import overload

import numpy as np
from jaxtyping import Bool, Int

from instructrec.serving import constraints, list_limits


@dataclasses.dataclass(frozen=True)
class Place:
  """One place of a ranking.

  Attributes:
    item_id: the item.
    title: what it is called.
    score: what it is ranked by: log-likelihood in nats, or the weighted sum.
    parts: what each part adds to it.
  """

  item_id: str
  title: str
  score: float
  parts: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Ranking(Sequence[Place]):
  """The best places for one request, best first.

  Attributes:
    places: at most as many as were asked for.
    num_candidates: how many items were ranked.
    score: what the score is, in words.
    history: ids of the items that it is ranked for, oldest first.
    wish: what was read as the wish; None where there was none.
    understood: what was read in the wish, in words; None where there is none.
    instruction: what the model was told; None where it reads histories item by
      item.
    notes: what was corrected, left out or not read.
  """

  places: tuple[Place, ...]
  num_candidates: int
  score: str
  history: tuple[str, ...] = ()
  wish: str | None = None
  understood: str | None = None
  instruction: str | None = None
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.places)

  @overload
  def __getitem__(self, index: int) -> Place: ...

  @overload
  def __getitem__(self, index: slice) -> Sequence[Place]: ...

  def __getitem__(self, index: int | slice) -> Place | Sequence[Place]:
    return self.places[index]


class NothingLeftError(ValueError):
  """No item meets all that is asked."""


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
  """A request, its items found in the catalogue.

  Attributes:
    history: ids, oldest first.
    wish: as it is ranked; None where there is none.
    k: how many places.
    places: positions in the catalogue of what is ranked.
    asked: in the wish and beside it.
    is_whole: whether the places are of the whole catalogue.
    notes: what was corrected, left out or is not read.
    limits: how many of the list may have what.
    breaking: which of the places break what the wish binds them to, and are
      ranked behind the others; None for none.
    understood: what was read in the wish, in words; None where there is none.
  """

  history: tuple[str, ...]
  wish: str | None
  k: int
  places: Int[np.ndarray, " candidates"]
  asked: tuple[constraints.Constraint, ...]
  is_whole: bool
  notes: tuple[str, ...]
  limits: tuple[list_limits.Limit, ...] = ()
  breaking: Bool[np.ndarray, " candidates"] | None = None
  understood: str | None = None
