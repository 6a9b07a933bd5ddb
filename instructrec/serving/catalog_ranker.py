"""Ranks a whole catalogue for histories and wishes, by what a run has learnt.

One product of states and title vectors scores every item; popularity and what
the wish asks for come in by the run's own weights. Nothing here imports
TensorFlow.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.retrieval import run_weights
from instructrec.serving import list_limits, model_parts, questions


@dataclasses.dataclass(frozen=True)
class Placed:
  """One place of a ranking.

  Attributes:
    title: the item.
    item_id: its id.
    score: the weighted sum.
    parts: what each part of it adds.
  """

  title: str
  item_id: str
  score: float
  parts: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
  """One request among several.

  Attributes:
    history: item ids, oldest first; may be empty.
    wish: what the user says; may be None.
    places: positions in the catalogue of the items to rank.
    k: how many are wanted; None for all.
    limits: how many items may have what, see `list_limits.first`.
    breaking: which of the places stand behind the others; None for none.
  """

  history: tuple[str, ...]
  wish: str | None
  places: Int[np.ndarray, " candidates"]
  k: int | None = None
  limits: Sequence[list_limits.Limit] = ()
  breaking: Bool[np.ndarray, " candidates"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class CatalogRanker:
  """A run that ranks catalogues.

  Attributes:
    parts: of the model, with matches.
    weights: of the run.
  """

  parts: model_parts.ModelParts
  weights: run_weights.RunWeights

  def score_catalog(
    self,
    histories: Sequence[Sequence[str]],
    wishes: Sequence[str | None],
  ) -> Float[np.ndarray, "requests items"]:
    """Scores of all items, in the order of the catalogue.

    Args:
      histories: item ids, oldest first; may be empty.
      wishes: of each history, or None.

    Returns:
      float64; higher is better. Items of the history have scores too.
    """
    return self.combined(
      histories, wishes, self.parts.of_catalog(histories, wishes)
    )

  def combined(
    self,
    histories: Sequence[Sequence[str]],
    wishes: Sequence[str | None],
    found: dict[str, model_parts.Scores],
  ) -> Float[np.ndarray, "requests candidates"]:
    """The weighted sums of parts, each request by the weights of its kind.

    Args:
      histories: see `score_catalog`.
      wishes: likewise.
      found: what `ModelParts.of_catalog` gave for them.

    Returns:
      float64; higher is better.
    """
    scores = np.empty(next(iter(found.values())).shape)
    kinds = np.array(
      [self.kind(*one) for one in zip(histories, wishes, strict=True)]
    )
    for kind in np.unique(kinds):
      rows = kinds == kind
      own = {name: part[rows] for name, part in found.items()}
      scores[rows] = self.weights.combine(str(kind), own)
    return scores

  def kind(self, history: Sequence[str], wish: str | None) -> str:
    """Which of the run's weights a request is ranked by."""
    kind = run_weights.kind_of(history=bool(history), wish=bool(wish))
    return run_weights.of_catalog(kind, self.weights)

  def rank(
    self,
    history: Sequence[str],
    wish: str | None = None,
    candidates: Sequence[str] | None = None,
    k: int | None = None,
  ) -> list[Placed]:
    """Items, best first; ties keep the catalogue's order.

    Args:
      history: item ids, oldest first; may be empty.
      wish: what the user says; may be None.
      candidates: item ids; None for the catalogue but the history.
      k: how many; None for all.

    Returns:
      The best with their scores.

    Raises:
      ValueError: where there is neither history nor wish, or no candidate.
      KeyError: for unknown item ids.
    """
    wish = " ".join((wish or "").split()) or None
    if not history and wish is None:
      raise ValueError("a request needs a history, a sentence, or both")
    items = self.parts.catalog
    if candidates is None:
      kept = np.ones(len(items), bool)
      kept[[items.index(item) for item in history]] = False
      places = np.flatnonzero(kept)
    else:
      places = np.array([items.index(item) for item in candidates], np.int64)
    (found,) = self.rank_all([Asked(tuple(history), wish, places, k)])
    return found

  def rank_all(self, asked: Sequence[Asked]) -> list[list[Placed]]:
    """Items for several requests, scored together.

    Args:
      asked: what is asked of each.

    Returns:
      For each the best with their scores, best first; ties keep the order of
      its places.

    Raises:
      NotFiniteError: where a score is no number.
      ValueError: where one has no place.
    """
    histories = [one.history for one in asked]
    wishes = [one.wish for one in asked]
    found = self.parts.of_catalog(histories, wishes)
    scores = self.combined(histories, wishes, found)
    return [
      self._best(one, scores[row], {n: part[row] for n, part in found.items()})
      for row, one in enumerate(asked)
    ]

  def _best(
    self,
    asked: Asked,
    scores: Float[np.ndarray, " items"],
    found: dict[str, Float[np.ndarray, " items"]],
  ) -> list[Placed]:
    weights = self.weights.of_kind(self.kind(asked.history, asked.wish))
    items = self.parts.catalog
    scores = questions.lowered(scores, asked.places, asked.breaking)
    order = questions.best(
      scores[asked.places], None if asked.limits else asked.k
    )
    chosen = list_limits.first(asked.places[order], asked.limits, asked.k)
    return [
      Placed(
        title=items.titles[i],
        item_id=items.item_ids[i],
        score=float(scores[i]),
        # Adding zero makes -0.0, which a negative weight gives, 0.0.
        parts={
          n: float(w * found[n][i]) + 0.0 for n, w in weights.items() if w
        },
      )
      for i in chosen.tolist()
    ]
