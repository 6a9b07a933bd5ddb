"""Ranks candidates for one history and one sentence of free text."""

import bisect
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from instructrec.data import catalog
from instructrec.instructions import render, templates
from instructrec.models import protocol, tokenizer
from instructrec.models.generation import title_search, title_trie
from instructrec.models.scoring import candidate_tree, features
from instructrec.serving import constraints

# Of a long list, so many trees of so many nodes are scored at once.
_TREES, _NODES, _CANDIDATES = 16, 256, 64
_MAX_TEXT = 2000


@dataclasses.dataclass(frozen=True)
class Ranked:
  """One place of a ranking.

  Attributes:
    title: the item.
    item_id: its id.
    score: log-likelihood of the title given the instruction, in nats; per
      token where the model's `score_normalization` says so.
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

    What the model does not read of a long instruction is its end, where the
    sentence stands. So old items are left out, as many as it takes.

    Args:
      history: item ids, oldest first; may be empty.
      text: what the user says; may be None.

    Returns:
      The instruction.

    Raises:
      ValueError: where there is neither, or the text is too long.
    """
    return self._fitted(history, text)[0]

  def num_read(self, history: Sequence[str], text: str | None) -> int:
    """How many items of a history the instruction has, the newest."""
    return self._fitted(history, text)[1]

  def _fitted(
    self, history: Sequence[str], text: str | None
  ) -> tuple[str, int]:
    """The instruction, and how many items of the history are in it."""
    text = " ".join((text or "").split())
    if not history and not text:
      raise ValueError("a request needs a history, a sentence, or both")
    if len(text) > _MAX_TEXT:
      raise ValueError(
        f"the sentence has {len(text)} characters, expected at most {_MAX_TEXT}"
      )
    titles = [self.catalog.title(item) for item in history]
    form = render.Form(
      self.template_set.answering(history=bool(history), wish=bool(text))
    )

    def inputs(newest: int) -> str:
      kept = titles[len(titles) - newest :]
      return form.inputs(render.Slots(history=kept, vague=text, specific=text))

    def length(newest: int) -> int:
      return len(self.tokenizer.encode(inputs(newest)))

    some = range(1, len(titles) + 1)
    fitting = bisect.bisect_right(some, self.inputs_length, key=length)
    newest = max(fitting, min(1, len(titles)))
    return inputs(newest), newest

  @functools.cached_property
  def _search(self) -> title_search.TitleSearch:
    if not isinstance(self.model, protocol.PrefixModel):
      raise TypeError(
        f"{type(self.model).__name__} cannot be asked prefix by prefix, which "
        "`top` does; expected the methods of models/protocol.py:PrefixModel. "
        "`rank` needs none of them"
      )
    titles = [self.catalog.title(item) for item in self.catalog.item_ids]
    tokens = self.tokenizer.encode_all(titles)
    self._check_lengths(tokens)
    return title_search.TitleSearch(
      self.model, title_trie.TitleTrie.build(tokens)
    )

  def top(
    self,
    history: Sequence[str],
    text: str | None = None,
    k: int = 10,
    *,
    allowed: Bool[np.ndarray, " items"] | None = None,
    limits: Sequence[constraints.Limit] = (),
  ) -> list[Ranked]:
    """The best of the whole catalogue but the history, best first.

    They are those that `rank` would put first, found without scoring every
    title: see `models/generation/title_search.py`.

    Args:
      history: item ids, oldest first; may be empty.
      text: what the user says; may be None.
      k: how many.
      allowed: which items may be found; None for all but the history.
      limits: how many of them may have what, see `constraints.first`.

    Returns:
      At most k items with their scores; ties keep the catalogue's order.

    Raises:
      ValueError: where the request says nothing, or a title is too long for
        the model.
      KeyError: for unknown item ids.
      TypeError: where the model is no `protocol.PrefixModel`.
    """
    inputs = self._encoder_input(self.instruction(history, text))
    ids = self.catalog.item_ids
    if allowed is None:
      allowed = ~np.isin(np.asarray(ids), list(history))
    while True:
      found = self._search.top(self.params, inputs, k, ~allowed)
      kept = constraints.first(np.asarray(found.items), limits, k)
      if len(kept) == len(found.items):
        break
      # What is full takes nothing more, which makes room for others.
      for limit in limits:
        own = np.isin(np.arange(len(ids)), kept) & limit.having
        if own.sum() == limit.most:
          allowed = allowed & (own | ~limit.having)
    return [
      Ranked(self.catalog.title(ids[item]), ids[item], float(score))
      for item, score in zip(found.items, found.scores, strict=True)
    ]

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
    inputs = self._encoder_input(self.instruction(history, text))
    scores = self._scores(inputs, self.tokenizer.encode_all(titles))
    order = np.argsort(-scores, kind="stable")
    return [Ranked(titles[i], candidates[i], float(scores[i])) for i in order]

  def _check_lengths(self, targets: Sequence[Sequence[int]]) -> None:
    longest = max(map(len, targets))
    if longest > self.targets_length:
      raise ValueError(
        f"a candidate's title has {longest} tokens, the model was trained "
        f"with at most {self.targets_length}"
      )

  def _encoder_input(self, instruction: str) -> np.ndarray:
    """The instruction's tokens, cut or padded to one length.

    One, and not the least of a few: the second request waits for no compiler.
    """
    cut = self.tokenizer.encode(instruction)[: self.inputs_length]
    cut[-1] = tokenizer.EOS_ID
    padded = np.zeros(self.inputs_length, np.int32)
    padded[: len(cut)] = cut
    return padded

  def _scores(
    self, inputs: np.ndarray, targets: Sequence[Sequence[int]]
  ) -> np.ndarray:
    self._check_lengths(targets)
    # All sizes are rounded up, so that lists do not compile one by one.
    length = int(features.padded_lengths(max(map(len, targets))))
    tokens = np.zeros((len(targets), length), np.int32)
    for row, ids in enumerate(targets):
      tokens[row, : len(ids)] = ids
    groups = candidate_tree.split(
      tokens, most_nodes=_NODES, most_candidates=_CANDIDATES
    )
    padded = candidate_tree.pad_groups(tokens, groups, len(groups), _CANDIDATES)
    most = int(candidate_tree.num_nodes(padded).max())
    nodes_length = int(features.padded_lengths(most))
    scores = np.empty(len(targets))
    size = min(_TREES, len(groups))
    for start in range(0, len(groups), size):
      # The last step is filled up with repeats, to be compiled as the others.
      rows = np.resize(np.arange(start, min(start + size, len(groups))), size)
      batch = candidate_tree.to_features(
        inputs[None], padded[rows], nodes_length
      )
      result = np.asarray(self._score_fn(self.params, batch), np.float64)
      for i, found in zip(rows.tolist(), result, strict=True):
        scores[groups[i]] = found[: len(groups[i])]
    return scores
