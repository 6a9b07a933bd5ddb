"""Answers by matches: many states in one step, each ranks what it is asked."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from instructrec.models.scoring import features
from instructrec.serving import (
  catalog_ranker,
  list_limits,
  model_parts,
  questions,
)
from instructrec.training import matching, ragged

_VARIANTS = 16
_Parts = dict[str, Float[np.ndarray, " candidates"]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Read(questions.Read):
  """A question, read.

  Attributes:
    texts: the documents that are no items, once each.
  """

  texts: dict[str, model_parts.Text]


@dataclasses.dataclass(frozen=True, eq=False)
class MatchedAnswers:
  """A run that matches titles.

  Attributes:
    ranker: of the run.
    most_at_once: questions of a step.
  """

  ranker: catalog_ranker.CatalogRanker
  most_at_once: int = 64

  scale = (
    "lift / (1 + lift): 0.5 is as probable as the catalogue's items are on "
    "average, 0.9 nine times as probable; not calibrated"
  )

  @property
  def _inputs_length(self) -> int:
    return self.ranker.parts.run.data.inputs_length

  @functools.cached_property
  def _title_tokens(self) -> Int[np.ndarray, " items"]:
    """How many each item's title has."""
    items = self.ranker.parts.items
    assert items is not None
    return (items.title_tokens[1:] > 0).sum(1)

  def read(self, question: questions.Question) -> _Read:
    """Reads a question; those whose prompts have one width go together."""
    parts = self.ranker.parts
    length = len(parts.prompts.tokens(question.wish))
    width = min(int(features.padded_lengths(length)), self._inputs_length)
    named = {
      one.text: one.named
      for one in question.documents or ()
      if one.item is None
    }
    rows = parts.read_texts([*named], [*named.values()])
    texts = dict(zip(named, rows, strict=True))
    tokens = width + len(texts) * self._title_length
    return _Read(question, width, tokens, texts)

  @property
  def _title_length(self) -> int:
    items = self.ranker.parts.items
    assert items is not None
    return items.title_tokens.shape[1]

  def answer(self, asked: Sequence[_Read]) -> list[questions.Answer]:
    """Answers questions; see `questions.Answers`."""
    texts: dict[str, model_parts.Text] = {}
    for one in asked:
      texts |= one.texts
    parts, items = self.ranker.parts, len(self.ranker.parts.catalog)
    histories = [one.question.history for one in asked]
    wishes = [one.question.wish for one in asked]
    found = parts.of_catalog(histories, wishes, [*texts.values()])
    scores = self.ranker.combined(histories, wishes, found)
    own = np.array([text.length for text in texts.values()], np.int64)
    lengths = np.concatenate([self._title_tokens, own])
    # Texts have the columns behind the items.
    columns = {text: items + place for place, text in enumerate(texts)}
    return [
      self._answer(
        one.question,
        {name: part[row] for name, part in found.items()},
        scores[row],
        self._columns(one.question, columns),
        lengths,
      )
      for row, one in enumerate(asked)
    ]

  def _columns(
    self, question: questions.Question, texts: dict[str, int]
  ) -> Int[np.ndarray, " candidates"]:
    """Where the candidates of a question stand."""
    if question.documents is not None:
      found = [
        texts[one.text] if one.item is None else one.item
        for one in question.documents
      ]
      return np.array(found, np.int64)
    items = self.ranker.parts.catalog
    kept = np.ones(len(items), bool)
    if question.allowed is not None:
      kept &= question.allowed
    kept[[items.index(item) for item in question.history]] = False
    return np.flatnonzero(kept)

  def _answer(
    self,
    question: questions.Question,
    found: _Parts,
    scores: Float[np.ndarray, " columns"],
    columns: Int[np.ndarray, " candidates"],
    lengths: Int[np.ndarray, " columns"],
  ) -> questions.Answer:
    """One row of a step as an answer."""
    parts = self.ranker.parts
    limits = question.limits if question.documents is None else ()
    items = len(parts.catalog)
    mean = special.logsumexp(scores[:items]) - np.log(items)
    scores = questions.lowered(scores, columns, question.breaking)
    order = questions.best(scores[columns], None if limits else question.k)
    chosen = columns[order]
    if limits:
      chosen = list_limits.first(chosen, limits, question.k)
    kind = self.ranker.kind(question.history, question.wish)
    weights = self.ranker.weights.of_kind(kind)
    read = [len(parts.prompts.tokens(question.wish)), self._inputs_length]
    tokens, cut = min(read), list[int]()
    if question.documents is None:
      order = chosen
    else:
      tokens += int(np.minimum(lengths[columns], self._title_length).sum())
      too_long = (columns >= items) & (lengths[columns] > self._title_length)
      cut = np.flatnonzero(too_long).tolist()
    return questions.Answer(
      places=tuple(order.tolist()),
      raw=scores[chosen],
      scores=special.expit(scores[chosen] - mean),
      parts=tuple(
        {n: float(w * found[n][i]) for n, w in weights.items() if w}
        for i in chosen
      ),
      num_candidates=len(columns),
      tokens=tokens,
      cut=tuple(cut),
      read_of_each=self._title_length,
    )

  def warm(self) -> int:
    """Compiles each size and width; says how many programs that took."""
    matcher, items = self.ranker.parts.matcher, self.ranker.parts.items
    assert matcher is not None
    assert items is not None
    most = self._inputs_length
    lengths = features.padded_lengths(np.arange(1, most + 1))
    widths = np.unique(np.minimum(lengths, most)).tolist()
    # Reasons take a few variants of one question at once.
    most_rows = matching.filled(max(self.most_at_once, _VARIANTS))
    sizes = [size for size in matching.REQUESTS if size <= most_rows]
    shapes = [(size, width) for size in sizes for width in widths]
    for size, width in shapes:
      matcher.states(
        ragged.Ragged.of([[1] * width]),
        np.zeros(size, np.int64),
        np.zeros((size, items.history_length), np.int32),
        inputs_length=most,
        label=None,
      )
    for size in matching.SOME_TITLES:
      matcher.text_vectors(np.zeros((size, self._title_length), np.int32))
    self.answer([self.read(questions.Question(wish="Anything.", k=1))])
    return len(shapes) + len(matching.SOME_TITLES)
