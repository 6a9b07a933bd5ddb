"""What a run is asked, and what it answers: several at once, in one step.

Whatever answers (`matched_answers`, `likely_answers`) gives the same scores to
a question alone and among others.
"""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.serving import list_limits

BREAKING = -50.0
"""Nats that a document gets which breaks what was asked: more than the scores
of documents lie apart."""


class NotFiniteError(ArithmeticError):
  """A score is not a number: nothing is ranked by it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
  """One of the things that a request brings along to be ranked.

  Attributes:
    text: what it says.
    item: position in the catalogue, of what is an item; None for other texts.
    named: numbers of the attributes that a text names; None where nobody has
      looked.
  """

  text: str
  item: int | None = None
  named: frozenset[int] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
  """Somebody who wants something.

  Attributes:
    history: ids of the items that were taken, oldest first.
    wish: what is wanted, as a sentence; None for nothing.
    documents: what is ranked; None for the catalogue but the history.
    allowed: which items of the catalogue may be ranked; None for all. It says
      nothing of documents.
    k: how many places; None for all.
    limits: how many items of the catalogue may have what; see
      `list_limits.first`. They say nothing of documents.
    breaking: which documents break what the wish binds them to, and are ranked
      behind the others; None for none.
  """

  history: tuple[str, ...] = ()
  wish: str | None = None
  documents: tuple[Document, ...] | None = None
  allowed: Bool[np.ndarray, " items"] | None = None
  k: int | None = None
  limits: tuple[list_limits.Limit, ...] = ()
  breaking: Bool[np.ndarray, " documents"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Read:
  """A question as a step takes it, its texts in tokens.

  Attributes:
    question: what is asked.
    bucket: questions of the same one may be answered in one step.
    tokens: that it takes of a step, padded as they are there.
  """

  question: Question
  bucket: Hashable
  tokens: int


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
  """What is best, in order.

  Attributes:
    places: positions among the documents, or in the catalogue; best first, ties
      in their order.
    raw: what they are ranked by: the weighted sum, or log-likelihoods.
    scores: the same from 0 to 1, whatever else is ranked with it; see `scale`
      of what answers.
    parts: what each part adds to each of them, `BREAKING` aside.
    num_candidates: how many were ranked.
    tokens: that were read for it, without padding.
    cut: documents that are longer than what is read of each.
    read_of_each: tokens of a document that are read.
  """

  places: tuple[int, ...]
  raw: Float[np.ndarray, " places"]
  scores: Float[np.ndarray, " places"]
  parts: tuple[dict[str, float], ...]
  num_candidates: int
  tokens: int
  cut: tuple[int, ...]
  read_of_each: int


class Answers(Protocol):
  """A run that answers questions.

  What it reads it may read in any thread, several at once; so a step has the
  model's work alone, whatever a question brings along.
  """

  @property
  def scale(self) -> str:
    """What scores from 0 to 1 mean, in words."""

  @property
  def most_at_once(self) -> int:
    """Questions that one step takes."""

  def read(self, question: Question) -> Read:
    """Reads a question, for `answer` of the same object.

    Args:
      question: what is asked.

    Returns:
      It, with what goes into a step.
    """

  def answer(self, asked: Sequence[Any]) -> list[Answer]:
    """Answers questions of one bucket.

    Args:
      asked: what `read` gave for each, at most `most_at_once`.

    Returns:
      An answer for each.

    Raises:
      NotFiniteError: where a score is no number.
      ValueError: where there is nothing to rank.
    """

  def warm(self) -> int:
    """Compiles all that questions need; says how many programs."""


def lowered(
  scores: Float[np.ndarray, " scores"],
  places: Int[np.ndarray, " candidates"],
  breaking: Bool[np.ndarray, " candidates"] | None,
) -> Float[np.ndarray, " scores"]:
  """Scores, those of candidates that break something behind all others.

  Args:
    scores: in nats.
    places: of the candidates among the scores.
    breaking: which candidates; None for none.

  Returns:
    The scores that rank.
  """
  if breaking is None:
    return scores
  scores = scores.copy()
  scores[places[breaking]] += BREAKING
  return scores


def best(
  scores: Float[np.ndarray, " candidates"], k: int | None
) -> Int[np.ndarray, " best"]:
  """The places of the best scores; ties in their order.

  Args:
    scores: of the candidates.
    k: how many; None for all.

  Returns:
    At most k places.

  Raises:
    NotFiniteError: where a score is no number.
    ValueError: where there is no candidate.
  """
  if not len(scores):
    raise ValueError("there are no candidates to rank")
  if bad := int((~np.isfinite(scores)).sum()):
    raise NotFiniteError(f"{bad} of {len(scores)} scores are no numbers")
  if k is None or k >= len(scores):
    return np.argsort(-scores, kind="stable")
  # Those that may be among the first, ties of the last place included.
  least = np.partition(scores, len(scores) - k)[len(scores) - k]
  some = np.flatnonzero(scores >= least)
  return some[np.argsort(-scores[some], kind="stable")][:k]
