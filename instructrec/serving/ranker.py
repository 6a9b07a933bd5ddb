"""Ranks candidates for one history and one sentence of free text."""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.data import catalog
from instructrec.instructions import render, templates
from instructrec.models import protocol, tokenizer
from instructrec.models.generation import title_search, title_trie
from instructrec.models.scoring import candidate_tree, features
from instructrec.serving import list_limits

# Of lists, so many trees of so many nodes are scored at once: few sizes, so
# that a list has the shape of one that came before.
TREES, NODES, _CANDIDATES = (1, 4, 16), (64, 128, 256), 64
_STEP, _REMEMBERED = 32, 256
"""Lengths of prompts are multiples of it; prompts that are kept."""


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
      ValueError: where there is neither.
    """
    return self._fitted(tuple(history), text)[0]

  def num_read(self, history: Sequence[str], text: str | None) -> int:
    """How many items of a history the instruction has, the newest."""
    return self._fitted(tuple(history), text)[1]

  @functools.cached_property
  def _fitted(self) -> Callable[[tuple[str, ...], str | None], tuple[str, int]]:
    """`_fit`, which a request needs several times."""
    return functools.lru_cache(_REMEMBERED)(self._fit)

  def _fit(self, history: tuple[str, ...], text: str | None) -> tuple[str, int]:
    """The instruction, and how many items of the history are in it."""
    text = " ".join((text or "").split())
    if not history and not text:
      raise ValueError("a request needs a history, a sentence, or both")
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
    allowed: Bool[np.ndarray, " items"] | None = None,
    limits: Sequence[list_limits.Limit] = (),
  ) -> list[Ranked]:
    """The best of the whole catalogue but the history, best first.

    They are those that `rank` would put first, found without scoring every
    title: see `models/generation/title_search.py`.

    Args:
      history: item ids, oldest first; may be empty.
      text: what the user says; may be None.
      k: how many.
      allowed: which items of the catalogue may be found; None for all.
      limits: how many of them may have what, see `list_limits.first`.

    Returns:
      At most k items with their scores; ties keep the catalogue's order.

    Raises:
      ValueError: where the request says nothing, or a title is too long for
        the model.
      KeyError: for unknown item ids.
      TypeError: where the model is no `protocol.PrefixModel`.
    """
    inputs = self.encoder_input(self.instruction(history, text))
    ids = self.catalog.item_ids
    excluded = np.isin(np.asarray(ids), list(history))
    if allowed is not None:
      excluded |= ~allowed
    while True:
      found = self._search.top(self.params, inputs, k, excluded)
      kept = list_limits.first(np.asarray(found.items), limits, k)
      if len(kept) == len(found.items):
        break
      # What is full takes nothing more, which makes room for others.
      for limit in limits:
        own = np.isin(np.arange(len(ids)), kept) & limit.having
        if own.sum() == limit.most:
          excluded = excluded | (limit.having & ~own)
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
    inputs = self.encoder_input(self.instruction(history, text))
    (scores,) = self.score_lists(
      inputs[None], [self.tokenizer.encode_all(titles)]
    )
    order = np.argsort(-scores, kind="stable")
    return [Ranked(titles[i], candidates[i], float(scores[i])) for i in order]

  def _check_lengths(self, targets: Sequence[Sequence[int]]) -> None:
    longest = max(map(len, targets))
    if longest > self.targets_length:
      raise ValueError(
        f"a candidate's title has {longest} tokens, the model was trained "
        f"with at most {self.targets_length}"
      )

  def encoder_input(self, instruction: str) -> Int[np.ndarray, " inputs"]:
    """The instruction's tokens, cut or padded to `inputs_length`."""
    cut = self.tokenizer.encode(instruction)[: self.inputs_length]
    cut[-1] = tokenizer.EOS_ID
    padded = np.zeros(self.inputs_length, np.int32)
    padded[: len(cut)] = cut
    return padded

  def score_lists(
    self,
    inputs: Int[np.ndarray, "requests inputs"],
    lists: Sequence[Sequence[Sequence[int]]],
  ) -> list[Float[np.ndarray, " candidates"]]:
    """Scores of the candidates of some requests.

    Args:
      inputs: what `encoder_input` gave for each.
      lists: the candidates of each, in tokens.

    Returns:
      float64; the scores of each list.

    Raises:
      ValueError: where a candidate is too long for the model.
    """
    self._check_lengths([ids for one in lists for ids in one])
    length = int(features.padded_lengths(self.targets_length))
    rows, owners, places = [], list[int](), list[np.ndarray]()
    for owner, candidates in enumerate(lists):
      tokens = np.zeros((len(candidates), length), np.int32)
      for row, ids in enumerate(candidates):
        tokens[row, : len(ids)] = ids
      groups = candidate_tree.split(
        tokens, most_nodes=NODES[-1], most_candidates=_CANDIDATES
      )
      rows.append(
        candidate_tree.pad_groups(tokens, groups, len(groups), _CANDIDATES)
      )
      owners += [owner] * len(groups)
      places += groups
    trees = np.concatenate(rows)
    scores = [np.empty(len(one)) for one in lists]
    stop = 0
    while stop < len(trees):
      start, stop = stop, stop + step_size(len(trees) - stop)
      found = self._score_trees(inputs, owners[start:stop], trees[start:stop])
      for place, row in enumerate(found, start):
        scores[owners[place]][places[place]] = row[: len(places[place])]
    return scores

  def _score_trees(
    self,
    inputs: Int[np.ndarray, "requests inputs"],
    owners: Sequence[int],
    trees: Int[np.ndarray, "trees candidates length"],
  ) -> Float[np.ndarray, "trees candidates"]:
    """Scores of trees in one step; of one request its prompt is read once."""
    size = _filled(len(trees), TREES)
    # The step is filled up with repeats, to be compiled as the others.
    filled = np.resize(np.arange(len(trees)), size)
    most = int(candidate_tree.num_nodes(trees).max())
    sizes: Sequence[int] = NODES
    if len(set(owners)) > 1:
      prompts, sizes = inputs[np.asarray(owners)[filled]], NODES[-2:]
    else:
      prompts = inputs[owners[:1]]
      if size > 1:  # A list that was cut into several trees fills them.
        sizes = NODES[-1:]
    nodes = _filled(most, sizes)
    length = max(map(self.padded_length, prompts))
    prompts = prompts[:, :length]
    batch = candidate_tree.to_features(prompts, trees[filled], nodes)
    found = np.asarray(self._score_fn(self.params, batch), np.float64)
    return found.reshape(size, -1)[: len(trees)]

  @functools.cached_property
  def _lengths(self) -> list[int]:
    """What prompts are padded to: a quarter of the most, half of it, all."""
    most = self.inputs_length
    steps = [-(-most // (part * _STEP)) for part in (4, 2)]
    return sorted({*(min(one * _STEP, most) for one in steps), most})

  def padded_length(self, inputs: Int[np.ndarray, " inputs"]) -> int:
    """What a prompt is padded to, as `encoder_input` gave it."""
    return _filled(int((inputs > 0).sum()), self._lengths)

  def warm(self) -> int:
    """Compiles what lists need; says how many programs that took."""
    shape = (_CANDIDATES, int(features.padded_lengths(self.targets_length)))
    steps = [(1, nodes, False) for nodes in NODES]
    for size in TREES[1:]:
      steps += [(size, nodes, True) for nodes in NODES[-2:]]
      steps.append((size, NODES[-1], False))
    every = itertools.product(self._lengths, steps)
    for length, (size, nodes, several) in every:
      inputs = np.zeros((2, self.inputs_length), np.int32)
      inputs[:, :length] = tokenizer.EOS_ID
      # As many different beginnings as need so many nodes.
      tree = np.zeros(shape, np.int32)
      tree[:, : nodes // _CANDIDATES] = np.arange(2, _CANDIDATES + 2)[:, None]
      owners = [0] * (size - 1) + [int(several)]
      self._score_trees(inputs, owners, np.stack([tree] * size))
    return len(self._lengths) * len(steps)


def step_size(count: int) -> int:
  """How many of so many trees are scored in the next step.

  A step that is filled up by more than half takes longer than two that are
  full: eight trees are two steps of four, not one of sixteen.
  """
  size = min(count, TREES[-1])
  filled = _filled(size, TREES)
  if 2 * size > filled:
    return size
  return max(full for full in TREES if full <= size)


def _filled(count: int, sizes: Sequence[int]) -> int:
  """The least of a few sizes that holds so many; itself where none does."""
  return next((size for size in sizes if size >= count), count)
