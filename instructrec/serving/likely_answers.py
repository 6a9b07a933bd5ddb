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

  def bucket(self, question: questions.Question) -> tuple[tuple[str, int], int]:
    """Lists whose prompts are padded alike go together.

    The whole catalogue is searched for one at a time.
    """
    if question.documents is None:
      # More than any budget: it goes alone.
      return ("catalogue", 0), 2**31
    length = self.ranker.padded_length(self._prompt(question))
    trees = -(
      -len(question.documents) * self._title_tokens // ranker_lib.NODES[-1]
    )
    return ("lists", length), length + int(trees + 1) * ranker_lib.NODES[-1]

  def _prompt(self, question: questions.Question) -> Int[np.ndarray, " inputs"]:
    told = self.ranker.instruction(question.history, question.wish)
    return self.ranker.encoder_input(told)

  @functools.cached_property
  def _title_tokens(self) -> float:
    """Of a title of the catalogue on average."""
    titles = self.ranker.catalog.titles
    return float(
      np.mean([len(t) for t in self.ranker.tokenizer.encode_all(titles)])
    )

  def answer(
    self, asked: Sequence[questions.Question]
  ) -> list[questions.Answer]:
    """Answers questions; see `questions.Answers`."""
    if any(question.documents is None for question in asked):
      return [self._from_catalog(question) for question in asked]
    prompts, lists, whole = [], [], []
    for question in asked:
      prompts.append(self._prompt(question))
      texts = [document.text for document in question.documents or ()]
      whole.append(self.ranker.tokenizer.encode_all(texts))
      lists.append([self._cut(ids) for ids in whole[-1]])
    scores = self.ranker.score_lists(np.stack(prompts), lists)
    rows = zip(asked, prompts, whole, scores, strict=True)
    return [self._of_list(*row) for row in rows]

  def _cut(self, ids: Sequence[int]) -> Sequence[int]:
    most = self.ranker.targets_length
    return ids if len(ids) <= most else [*ids[: most - 1], tokenizer.EOS_ID]

  def _of_list(
    self,
    question: questions.Question,
    prompt: np.ndarray,
    whole: Sequence[Sequence[int]],
    raw: Float[np.ndarray, " documents"],
  ) -> questions.Answer:
    most = self.ranker.targets_length
    raw = questions.lowered(raw, np.arange(len(raw)), question.breaking)
    order = questions.best(raw, question.k)
    return self._answer(
      order.tolist(),
      raw[order],
      len(raw),
      int((prompt > 0).sum()) + sum(min(len(ids), most) for ids in whole),
      tuple(place for place, ids in enumerate(whole) if len(ids) > most),
    )

  def _from_catalog(self, question: questions.Question) -> questions.Answer:
    """The best of the catalogue, found without scoring every title."""
    items = self.ranker.catalog
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
      int((self._prompt(question) > 0).sum()),
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
    self.answer([questions.Question(wish="Anything.", k=1)])
    return compiled + 1
