"""The exact top k of a whole catalogue, without scoring every title.

A log-likelihood only falls with every further token, so that of a prefix is a
bound for all titles that begin with it. The search takes the prefixes with the
highest bounds first, many at once, and ends when no bound reaches the k-th
best title found. What it returns is what scoring every title would.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.models import protocol
from instructrec.models.generation import title_trie
from instructrec.models.scoring import candidate_scores

# Prefixes that a step extends: few where few are left, so that the start,
# when there is only the empty prefix, is cheap.
_WIDTHS = (8, 64)
_FIRST_SLOTS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """The result of a search.

  Attributes:
    items: indices of the best items, best first; ties by index.
    scores: their log-likelihoods in nats, per token where the model's
      `score_normalization` says so.
    num_prefixes: prefixes that the decoder was asked about.
  """

  items: Int[np.ndarray, " top"]
  scores: Float[np.ndarray, " top"]
  num_prefixes: int


@dataclasses.dataclass(eq=False)
class _Frontier:
  """Prefixes known, but not yet extended.

  Attributes:
    nodes: of the trie.
    log_probs: log-likelihood of each prefix, in nats.
    parents: the slot of the prefix without its last token; -1 for none.
  """

  nodes: np.ndarray
  log_probs: np.ndarray
  parents: np.ndarray

  def __len__(self) -> int:
    return len(self.nodes)

  def take(self, where: np.ndarray) -> "_Frontier":
    return _Frontier(
      self.nodes[where], self.log_probs[where], self.parents[where]
    )

  def join(self, other: "_Frontier") -> "_Frontier":
    return _Frontier(
      np.concatenate([self.nodes, other.nodes]),
      np.concatenate([self.log_probs, other.log_probs]),
      np.concatenate([self.parents, other.parents]),
    )


class _Best:
  """The best items so far, and what a further one must reach."""

  def __init__(self, trie: title_trie.TitleTrie, keep: np.ndarray, top: int):
    self._top = top
    # Items by the node of their title, ties in the order of the catalogue.
    self._items = np.nonzero(keep)[0]
    leaves = trie.leaves[self._items]
    self._items = self._items[np.argsort(leaves, kind="stable")]
    self._leaves = np.sort(leaves)
    self.items = np.zeros(0, np.int64)
    self.scores = np.zeros(0)

  @property
  def threshold(self) -> float:
    """The k-th best score; a tie with it still counts."""
    if len(self.scores) < self._top:
      return -np.inf
    return float(self.scores[self._top - 1])

  def add(self, nodes: np.ndarray, scores: np.ndarray) -> None:
    """Takes in the items whose titles end at `nodes`."""
    low = np.searchsorted(self._leaves, nodes)
    counts = np.searchsorted(self._leaves, nodes, side="right") - low
    owner = np.repeat(np.arange(len(nodes)), counts)
    within = np.arange(len(owner)) - np.repeat(
      np.cumsum(counts) - counts, counts
    )
    items = np.concatenate([self.items, self._items[low[owner] + within]])
    values = np.concatenate([self.scores, scores[owner]])
    order = np.lexsort((items, -values))
    self.items, self.scores = items[order], values[order]
    kept = self.scores >= self.threshold
    self.items, self.scores = self.items[kept], self.scores[kept]


class TitleSearch:
  """Searches one catalogue; compiled once for all requests.

  Example:
    >>> search = TitleSearch(model, trie)
    >>> found = search.top(params, inputs, 10)
    >>> found.items[0], found.scores[0]
  """

  def __init__(self, model: protocol.PrefixModel, trie: title_trie.TitleTrie):
    """Takes what stays the same.

    Args:
      model: gives the log-probabilities, such as `NetworkRankingModel`.
      trie: the catalogue's titles.
    """
    candidate_scores.check_normalization(model.score_normalization)
    self._trie = trie
    self._mean = model.score_normalization == "mean"
    self._start = jax.jit(model.start_prefixes, static_argnums=2)
    self._extend: Callable[..., Any] = jax.jit(
      model.extend_prefixes, donate_argnums=4
    )
    has_children = np.diff(trie.child_starts) > 0
    self._most_slots = int(has_children.sum()) + max(_WIDTHS)

  def _scores(
    self, nodes: np.ndarray, log_probs: np.ndarray, lengths: np.ndarray
  ) -> np.ndarray:
    """Scores of titles of these lengths.

    At a prefix's log-likelihood and the length of its longest title, that is
    a bound: the numerator can only fall, and no divisor is larger.
    """
    return log_probs / lengths[nodes] if self._mean else log_probs

  def top(
    self,
    params: Any,
    inputs: Int[np.ndarray, " inputs"],
    k: int,
    excluded: Bool[np.ndarray, " items"] | None = None,
  ) -> Found:
    """The k items whose titles are likeliest.

    Args:
      params: the model's parameters.
      inputs: the instruction's tokens, 0 where padded. Each length is
        compiled once.
      k: how many.
      excluded: True for items that may not be returned, such as those of the
        history.

    Returns:
      The items; fewer than k where the catalogue has no more.

    Raises:
      ValueError: where k is less than 1.
    """
    if k < 1:
      raise ValueError(f"k is {k}, expected at least 1")
    trie = self._trie
    keep = np.ones(len(trie.leaves), bool) if excluded is None else ~excluded
    best = _Best(trie, keep, k)
    slots = _Slots(self, params, inputs)
    frontier = _Frontier(np.zeros(1, np.int64), np.zeros(1), np.array([-1]))
    while True:
      bounds = self._scores(frontier.nodes, frontier.log_probs, trie.longest)
      frontier = frontier.take(bounds >= best.threshold)
      if not len(frontier):
        return Found(best.items[:k], best.scores[:k], slots.used)
      bounds = bounds[bounds >= best.threshold]
      width = next((w for w in _WIDTHS if len(frontier) <= w), _WIDTHS[-1])
      order = np.argpartition(-bounds, min(width, len(bounds)) - 1)
      first = np.zeros(len(bounds), bool)
      first[order[:width]] = True
      chosen, rest = frontier.take(first), frontier.take(~first)
      reached = slots.extend(chosen, width)
      # A title's last token ends it; a bound is its score there.
      best.add(
        reached.nodes,
        self._scores(reached.nodes, reached.log_probs, trie.depths),
      )
      inner = np.diff(trie.child_starts)[reached.nodes] > 0
      frontier = rest.join(reached.take(inner))


class _Slots:
  """The decoder's cache during one search."""

  def __init__(self, search: TitleSearch, params: Any, inputs: np.ndarray):
    self._search = search
    self._trie = search._trie
    self._params = params
    self._capacity = min(_FIRST_SLOTS, search._most_slots)
    self._memory, self._cache = search._start(
      params, jnp.asarray(inputs, jnp.int32)[None], self._capacity
    )
    self.used = 0
    # Depths go up to one less than the longest title.
    self._paths = np.zeros((self._capacity, self._trie.max_depth), np.int32)

  def _grow(self) -> None:
    self._capacity *= 2
    pad = self._capacity - len(self._paths)
    self._paths = np.pad(self._paths, ((0, pad), (0, 0)))
    self._cache = self._cache.widen(pad)

  def extend(self, prefixes: _Frontier, width: int) -> _Frontier:
    """All continuations of some prefixes, at most `width` of them.

    Args:
      prefixes: which ones.
      width: how many the compiled step takes; the rest is filled up.
    """
    if self.used + width > self._capacity:
      self._grow()
    count, trie = len(prefixes), self._trie
    depths = np.zeros(width, np.int32)
    tokens = np.zeros(width, np.int32)
    paths = np.zeros((width, self._paths.shape[1]), np.int32)
    depths[:count] = trie.depths[prefixes.nodes]
    tokens[:count] = trie.tokens[prefixes.nodes]
    own = self.used + np.arange(width)
    paths[:count] = self._paths[np.maximum(prefixes.parents, 0)]
    paths[np.arange(width), depths] = own
    log_probs, self._cache = self._search._extend(
      self._params, tokens, paths, depths, self._cache, self._memory
    )
    self._paths[own] = paths
    # What filled up the step is overwritten by the next.
    self.used += count
    self._cache = dataclasses.replace(
      self._cache, position=jnp.asarray(self.used, jnp.int32)
    )
    children, owner = trie.expand(prefixes.nodes)
    gained = np.asarray(log_probs)[owner, trie.tokens[children]]
    return _Frontier(
      children,
      prefixes.log_probs[owner] + gained.astype(np.float64),
      own[owner],
    )
