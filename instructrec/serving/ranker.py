"""Ranks candidates for one history and one sentence of free text."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from instructrec.data import catalog
from instructrec.instructions import render, templates
from instructrec.models import features, protocol, tokenizer

_CHUNK = 256
_MAX_TEXT = 2000
_TEMPLATES = {
  (True, False): "seq_next_item",
  (False, True): "search_find_product",
  (True, True): "personal_wish_and_history",
}
"""Templates by whether there are a history and a text."""


@dataclasses.dataclass(frozen=True)
class Ranked:
  """One place of a ranking.

  Attributes:
    title: the item.
    item_id: its id.
    score: log-likelihood of the title given the instruction, in nats.
  """

  title: str
  item_id: str
  score: float


@dataclasses.dataclass(frozen=True, eq=False)
class InstructionRanker:
  """A model with what it needs to answer a request in words.

  Attributes:
    model: scores candidate lists.
    params: its parameters.
    tokenizer: its vocabulary.
    catalog: what can be ranked.
    inputs_length: longest instruction, in tokens.
    targets_length: longest candidate, in tokens.
    template_set: the instructions' wordings.
  """

  model: protocol.RankingModel
  params: Any
  tokenizer: tokenizer.Tokenizer
  catalog: catalog.Catalog
  inputs_length: int
  targets_length: int
  template_set: templates.TemplateSet = dataclasses.field(
    default_factory=templates.load
  )

  @functools.cached_property
  def _score_fn(self) -> Callable[..., jax.Array]:
    return jax.jit(self.model.score_batch)

  def instruction(self, history: Sequence[str], text: str | None) -> str:
    """The instruction for a request: which template depends on what it has.

    Args:
      history: item ids, oldest first; may be empty.
      text: what the user says; may be None.

    Returns:
      The instruction.

    Raises:
      ValueError: where there is neither, or the text is too long.
    """
    text = " ".join((text or "").split())
    if not history and not text:
      raise ValueError("a request needs a history, a sentence, or both")
    if len(text) > _MAX_TEXT:
      raise ValueError(
        f"the sentence has {len(text)} characters, expected at most {_MAX_TEXT}"
      )
    slots = render.Slots(
      history=[self.catalog.title(item) for item in history],
      vague=text,
      specific=text,
    )
    name = _TEMPLATES[bool(history), bool(text)]
    return render.Form(self.template_set[name]).inputs(slots)

  def rank(
    self,
    history: Sequence[str],
    text: str | None = None,
    candidates: Sequence[str] | None = None,
  ) -> list[Ranked]:
    """Candidates, best first.

    Args:
      history: item ids, oldest first; may be empty.
      text: what the user says; may be None.
      candidates: item ids; None for the whole catalogue but the history.

    Returns:
      All candidates with their scores; ties keep the given order.

    Raises:
      ValueError: where the request says nothing, a candidate's title is too
        long for the model, or there are no candidates.
      KeyError: for unknown item ids.
    """
    if candidates is None:
      bought = set(history)
      candidates = [i for i in self.catalog.item_ids if i not in bought]
    if not candidates:
      raise ValueError("there are no candidates to rank")
    titles = [self.catalog.title(item) for item in candidates]
    inputs = self.tokenizer.encode(self.instruction(history, text))
    scores = self._scores(inputs, self.tokenizer.encode_all(titles))
    order = np.argsort(-scores, kind="stable")
    return [Ranked(titles[i], candidates[i], float(scores[i])) for i in order]

  def _scores(
    self, inputs: Sequence[int], targets: Sequence[Sequence[int]]
  ) -> np.ndarray:
    longest = max(map(len, targets))
    if longest > self.targets_length:
      raise ValueError(
        f"a candidate's title has {longest} tokens, the model was trained "
        f"with at most {self.targets_length}"
      )
    encoder = np.zeros((1, self.inputs_length), np.int32)
    cut = list(inputs[: self.inputs_length])
    cut[-1] = tokenizer.EOS_ID
    encoder[0, : len(cut)] = cut
    width = min(_CHUNK, len(targets))
    scores = []
    for start in range(0, len(targets), width):
      chunk = targets[start : start + width]
      tokens = np.zeros((1, width, self.targets_length), np.int32)
      for row, ids in enumerate(chunk):
        tokens[0, row, : len(ids)] = ids
      batch = features.to_features(encoder, tokens)
      result = self._score_fn(self.params, batch)
      scores.append(np.asarray(result, np.float64)[0, : len(chunk)])
    return np.concatenate(scores)
