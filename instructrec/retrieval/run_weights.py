"""The score weights of a run, by what is known of a request.

A wish changes what the other parts are worth, and one without a history is all
that is known: each kind of request has weights of its own. They lie beside the
run, and whatever ranks with the run (evaluation, `rank`, a service) reads the
same ones.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Self

import numpy as np
from jaxtyping import Float

from instructrec import checksums, output_folder, records
from instructrec.retrieval import score_weights
from instructrec.retrieval.score_parts import Parts, ScoreWeightsError, Where

FILE = "score_weights.json"
WITH_WISH, WITHOUT_WISH = "with_wish", "without_wish"
WISH_ALONE = "wish_alone"
"""A wish without a history: there it is all that is known."""
KINDS = (WITHOUT_WISH, WITH_WISH, WISH_ALONE)
_CATALOG = "_of_catalogue"
_REMEDY = "`instructrec evaluate` fits the weights of the run anew"


def kind_of(*, history: bool, wish: bool) -> str:
  """The kind of a request by what it has."""
  if not wish:
    return WITHOUT_WISH
  return WITH_WISH if history else WISH_ALONE


def catalog_kind(kind: str) -> str:
  """The kind of weights for whole catalogues, whose likelihoods are unknown."""
  return kind + _CATALOG


def of_catalog(kind: str, weights: "RunWeights") -> str:
  """The kind that ranks whole catalogues: one of its own, where there is."""
  own = catalog_kind(kind)
  return own if own in weights.by_kind else kind


@dataclasses.dataclass(frozen=True)
class RunWeights:
  """Weights by kind of request.

  Attributes:
    by_kind: fitted weights; a kind may be missing.
    untuned: what parts count where nothing was fitted: as in training.
    checkpoint_step: of the parameters that they were fitted with; None where
      nothing was fitted.
  """

  by_kind: Mapping[str, score_weights.ScoreWeights]
  untuned: Mapping[str, float]
  checkpoint_step: int | None = None

  def combine(
    self, kind: str, parts: Parts, where: Where | None = None
  ) -> Float[np.ndarray, "requests candidates"]:
    """The weighted sum for requests of a kind.

    Args:
      kind: one of `KINDS`.
      parts: scores by part.
      where: which slots hold candidates; None where the parts are finite.

    Returns:
      float64; minus infinity where there is no candidate.

    Raises:
      ScoreWeightsError: where a part is missing.
    """
    if kind in self.by_kind:
      return self.by_kind[kind].combine(parts, where)
    if missing := sorted(set(self.untuned) - set(parts)):
      raise ScoreWeightsError(
        f"the parts {missing} are not among {sorted(parts)}; score with them"
      )
    total = sum(weight * parts[name] for name, weight in self.untuned.items())
    return np.asarray(total)

  def of_kind(self, kind: str) -> Mapping[str, float]:
    """What each part counts."""
    return self.by_kind[kind].weights if kind in self.by_kind else self.untuned

  def describe(self, kind: str) -> str:
    """The weights of a kind in words."""
    weights = self.of_kind(kind)
    terms = [f"{value:.3g} {name}" for name, value in weights.items() if value]
    how = "as in training, not fitted"
    if kind in self.by_kind:
      log = self.by_kind[kind].log
      how = f"fitted on {log.num_requests:,} {log.split} requests"
    return f"{' + '.join(terms) or '0'} ({how})".replace("+ -", "- ")

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes the fitted weights into a run's folder, and lists their hash."""
    record = {
      "format_version": score_weights.FORMAT_VERSION,
      "checkpoint_step": self.checkpoint_step,
      "weights": {
        kind: found.to_json() for kind, found in self.by_kind.items()
      },
    }
    text = json.dumps(record, indent=2, allow_nan=False)
    with output_folder.making_file(pathlib.Path(directory) / FILE) as file:
      file.write_text(f"{text}\n", encoding="utf-8")
    checksums.write(directory, [FILE])

  @classmethod
  def load(
    cls, directory: str | os.PathLike[str], untuned: Mapping[str, float]
  ) -> Self:
    """The weights of a run; untuned where it has no file of them.

    Args:
      directory: the run's folder.
      untuned: see the class.

    Returns:
      The weights.

    Raises:
      DamagedError: where the file was changed, or is gone.
      ScoreWeightsError: where it holds no weights.
    """
    path = pathlib.Path(directory) / FILE
    if not checksums.is_known(directory, FILE, _REMEDY):
      return cls({}, untuned)
    checksums.verify(directory, _REMEDY, [FILE])
    keys = ("weights", "checkpoint_step")
    record = records.read(path, keys=keys, remedy=_REMEDY)
    weights, step = record["weights"], record["checkpoint_step"]
    known = (*KINDS, *map(catalog_kind, KINDS))
    if not isinstance(weights, Mapping) or set(weights) - set(known):
      raise ScoreWeightsError(
        f"{path} has weights of {list(weights)}, expected some of {known}"
      )
    found = {
      kind: score_weights.ScoreWeights.from_json(one, f"{path}, {kind}")
      for kind, one in weights.items()
    }
    return cls(found, untuned, step)
