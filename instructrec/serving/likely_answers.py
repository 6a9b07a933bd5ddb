"""Answers by likelihoods of titles: several lists in one step."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from instructrec.models import tokenizer
from instructrec.serving import questions
from instructrec.serving import ranker as ranker_lib


@dataclasses.dataclass(frozen=True, eq=False)
class _Read(questions.Read):
  """A question, read.

  Attributes:
    prompt: as `InstructionRanker.encoder_input` gives it.
    rows: tokens of each document, as many as are read of one.
    lengths: how many each document has.
  """

  prompt: Int[np.ndarray, " inputs"]
  rows: Sequence[Sequence[int]]
  lengths: Sequence[int]


@dataclasses.dataclass(frozen=True, eq=False)
class LikelyAnswers:
  """A run that ranks by likelihoods.

  Attributes:
    ranker: of the run.
    most_at_once: questions of a step.
  """

  ranker: ranker_lib.InstructionRanker
  most_at_once: int = ranker_lib.TREES[-1]

  scale = (
    "the probability of a title's token, as a geometric mean over the tokens "
    "of a title of the catalogue; not calibrated"
  )

  def read(self, question: questions.Question) -> _Read:
    """Reads a question; lists whose prompts are padded alike go together.

    The whole catalogue is searched for one at a time.
    """
    told = self.ranker.instruction(question.history, question.wish)
    prompt = self.ranker.encoder_input(told)
    length = self.ranker.padded_length(prompt)
    if question.documents is None:
      return _Read(question, object(), length, prompt, (), ())  # Goes alone.
    whole = self.ranker.tokenizer.encode_all(
      [document.text for document in question.documents]
    )
    trees = -(-len(whole) * self._title_tokens // ranker_lib.NODES[-1])
    return _Read(
      question,
      length,
      length + int(trees + 1) * ranker_lib.NODES[-1],
      prompt,
      [self._cut(ids) for ids in whole],
      [len(ids) for ids in whole],
    )

  @functools.cached_property
  def _title_tokens(self) -> float:
    """Of a title of the catalogue on average."""
    titles = self.ranker.catalog.titles
    return float(
      np.mean([len(t) for t in self.ranker.tokenizer.encode_all(titles)])
    )

  def answer(self, asked: Sequence[_Read]) -> list[questions.Answer]:
    """Answers questions; see `questions.Answers`."""
    if any(one.question.documents is None for one in asked):
      return [self._from_catalog(one) for one in asked]
    prompts = np.stack([one.prompt for one in asked])
    scores = self.ranker.score_lists(prompts, [one.rows for one in asked])
    return [self._of_list(*row) for row in zip(asked, scores, strict=True)]

  def _cut(self, ids: Sequence[int]) -> Sequence[int]:
    most = self.ranker.targets_length
    return ids if len(ids) <= most else [*ids[: most - 1], tokenizer.EOS_ID]

  def _of_list(
    self, asked: _Read, raw: Float[np.ndarray, " documents"]
  ) -> questions.Answer:
    question, most = asked.question, self.ranker.targets_length
    raw = questions.lowered(raw, np.arange(len(raw)), question.breaking)
    order = questions.best(raw, question.k)
    return self._answer(
      order.tolist(),
      raw[order],
      len(raw),
      int((asked.prompt > 0).sum()) + sum(map(len, asked.rows)),
      tuple(np.flatnonzero(np.asarray(asked.lengths) > most).tolist()),
    )

  def _from_catalog(self, asked: _Read) -> questions.Answer:
    """The best of the catalogue, found without scoring every title."""
    question, items = asked.question, self.ranker.catalog
    allowed = np.ones(len(items), bool)
    if question.allowed is not None:
      allowed &= question.allowed
    allowed[[items.index(item) for item in question.history]] = False
    count = int(allowed.sum())
    if not count:
      raise ValueError("there are no candidates to rank")
    found = self.ranker.top(
      question.history,
      question.wish,
      question.k or count,
      allowed=allowed,
      limits=question.limits,
    )
    raw = np.array([one.score for one in found])
    questions.best(raw, None)
    return self._answer(
      [items.index(one.item_id) for one in found],
      raw,
      count,
      int((asked.prompt > 0).sum()),
      (),
    )

  def _answer(
    self,
    places: list[int],
    raw: Float[np.ndarray, " places"],
    num_candidates: int,
    tokens: int,
    cut: tuple[int, ...],
  ) -> questions.Answer:
    # One divisor for all titles, so that the order is that of the scores.
    mean = self.ranker.model.score_normalization == "mean"
    return questions.Answer(
      places=tuple(places),
      raw=raw,
      scores=np.exp(raw / (1.0 if mean else self._title_tokens)),
      parts=tuple({"likelihood": float(value)} for value in raw),
      num_candidates=num_candidates,
      tokens=tokens,
      cut=cut,
      read_of_each=self.ranker.targets_length,
    )

  def warm(self) -> int:
    """Compiles what lists and searches need; says how many programs."""
    compiled = self.ranker.warm()
    self.answer([self.read(questions.Question(wish="Anything.", k=1))])
    return compiled + 1
