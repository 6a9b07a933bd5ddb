"""Lists of titles on their ways down a catalogue's trie.

A list goes down the trie (`catalog_walk`) title after title: at the end of one
a separator stands in the place of the end token, and the next begins at the
root again, without what the list has already (`list_quota`). All lists take one
token at a time, so that they stand at different depths of the trie.

Without the catalogue to keep to, the same steps only read along what is
written.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import (
  catalog_trie,
  leaf_intervals,
  list_policy,
  list_quota,
)
from instructrec.models.generation.catalog_walk import Walk
from instructrec.models.generation.catalog_ways import Children, Ways
from instructrec.models.networks import network


class State(NamedTuple):
  """Where lists stand; the walk has one way a list."""

  going: Bool[Array, " lists"]
  ways: Ways
  depth: Int[Array, "lists 1"]
  place: Int[Array, " lists"]
  remaining: list_quota.Remaining
  items: Int[Array, "lists items"]
  ended: Bool[Array, " lists"]


class Options(NamedTuple):
  """What may be written next.

  Attributes:
    children: of the trie; of lists that are not constrained, what would still
      be a title.
    log_probs: of each child, or of each token.
    keys: the same, and what speaks for the items below.
  """

  children: Children
  log_probs: Float[Array, "lists options"]
  keys: Float[Array, "lists options"]


@dataclasses.dataclass(frozen=True)
class ListWalk:
  """A batch of lists on their ways: see the module.

  Attributes:
    walk: down the trie, with a way a list.
    policy: settings.
    lengths: titles of each list, as far as there are as many.
  """

  walk: Walk
  policy: list_policy.ListPolicy
  lengths: Int[Array, " lists"]

  @classmethod
  def start(
    cls,
    writer: Any,
    trie: catalog_trie.CatalogTrie,
    requests: list_policy.ListRequests,
    policy: list_policy.ListPolicy,
    num_lists: int,
  ) -> tuple["ListWalk", State]:
    """Empty lists, `num_lists` a prompt."""
    walk = Walk.of(
      writer,
      trie,
      num_ways=1,
      probability=policy.probability,
      normalization="sum",
      conditions=leaf_intervals.ANYTHING,
    )
    lengths = jnp.clip(jnp.asarray(requests.lengths), 0, policy.max_items)
    remaining = list_quota.Remaining.of(
      walk.trie, requests.conditions, requests.quota, lengths, policy.max_items
    )
    if policy.constrained:
      lengths = jnp.minimum(lengths, remaining.num_possible)
    remaining = remaining.repeat(num_lists)
    lists = cls(walk, policy, jnp.repeat(lengths, num_lists))
    rows = len(lists.lengths)
    going = jnp.ones(rows, bool)
    return lists, State(
      going=lists.lengths > 0 if policy.constrained else going,
      ways=lists.root(remaining),
      depth=jnp.zeros((rows, 1), jnp.int32),
      place=jnp.zeros(rows, jnp.int32),
      remaining=remaining,
      items=jnp.zeros((rows, policy.max_items), jnp.int32),
      ended=~going,
    )

  def along(self, remaining: list_quota.Remaining) -> Walk:
    """The walk to what lists may still have."""
    if not self.policy.constrained:
      return self.walk
    prior = None if remaining.prior is None else remaining
    return dataclasses.replace(self.walk, allowed=remaining, prior=prior)

  def root(self, remaining: list_quota.Remaining) -> Ways:
    """Where titles begin."""
    return self.along(remaining).start(len(self.lengths))

  def options(
    self, state: State, logits: Float[Array, "lists vocab"]
  ) -> Options:
    """What may be written next, with its probability.

    Args:
      state: of the lists.
      logits: of the next token.
    """
    walk = self.along(state.remaining)
    slots = walk.trie.width(1)
    logits = logits.astype(jnp.float32) / self.policy.temperature
    ways = state.ways._replace(
      log_probs=jnp.zeros_like(state.ways.log_probs),
      exists=state.ways.exists & state.going[:, None],
    )
    if self.policy.constrained:
      coming = self.lengths - state.place - 1
      separators = self.policy.separator(coming)
      ends_with = jnp.where(coming == 0, walk.trie.eos_id, separators)
      children = walk.children(
        ways, logits[:, None], state.depth, slots, ends_with[:, None]
      )
      found = children.ways
      keys = found.log_probs
      if walk.prior is not None:
        keys += found.priors
      return Options(children, found.log_probs, keys)
    log_probs = jax.nn.log_softmax(logits)
    edges = walk.edges(ways, state.depth, slots)
    return Options(edges, log_probs, log_probs)

  def shares(self, options: Options) -> Float[Array, "lists options"]:
    """The log-probabilities by which options are drawn."""
    if not self.policy.constrained:
      return options.log_probs
    children = options.children
    return self.walk.log_shares(
      options.keys, children.parents, children.ways.exists
    )

  def chosen(
    self, options: Options, keys: Float[Array, "lists options"]
  ) -> Int[Array, " lists"]:
    """The tokens whose keys are largest, the first among equals."""
    if not self.policy.constrained:
      # Padding could not be told from the end.
      keys = keys.at[:, network.PAD_ID].set(-jnp.inf)
      return jnp.argmax(keys, axis=1).astype(jnp.int32)
    index = self.walk.best(keys, options.children)
    return options.children.ways.take(index).tokens[:, 0]

  def write(
    self, state: State, options: Options, tokens: Int[Array, " lists"]
  ) -> tuple[State, Float[Array, " lists"]]:
    """One token more of each list, and its log-probability.

    Args:
      state: of the lists.
      options: what may be written.
      tokens: what is; one that may not has the probability 0, padding 1.
    """
    trie, children = self.walk.trie, options.children
    is_end = tokens == trie.eos_id
    closes = is_end | self.policy.separates(tokens)
    same = children.ways.tokens == tokens[:, None]
    if not self.policy.constrained:  # A title may end with either.
      same = jnp.where(children.ends, closes[:, None], same)
    same &= children.ways.exists
    index = jnp.argmax(same, axis=1)[:, None]
    found = children.ways.take(index)
    found = found._replace(exists=same.any(axis=1, keepdims=True))
    if self.policy.constrained:
      gained = jnp.where(found.exists, found.log_probs, -jnp.inf)[:, 0]
    else:
      gained = jnp.take_along_axis(options.log_probs, tokens[:, None], 1)[:, 0]
    # Nothing follows a list that has ended.
    gained = jnp.where(state.going, gained, -jnp.inf)
    gained = jnp.where(tokens == network.PAD_ID, 0.0, gained)
    state = self._closed(state, found, closes & state.going, is_end)
    return state, gained

  def _closed(
    self,
    state: State,
    found: Ways,
    closes: Bool[Array, " lists"],
    is_end: Bool[Array, " lists"],
  ) -> State:
    """Lists after a token that led to `found`, of which some close a title."""
    leaf, known = found.lows[:, 0], found.exists[:, 0]
    empty = state.depth[:, 0] == 0
    # A list that ends at once has no entry.
    listed = closes & ~(empty & is_end & (state.place == 0))
    item = jnp.where(
      known,
      self.walk.trie.leaf_items[leaf],
      jnp.where(empty, list_policy.BLANK, list_policy.INVALID),
    )
    rows = jnp.arange(len(leaf))
    place = jnp.where(listed, state.place, self.policy.max_items)
    remaining = state.remaining
    if self.policy.constrained:
      remaining = remaining.with_leaf(listed, state.place, leaf)
    root = self.root(remaining)
    ways = Ways(
      *(
        jnp.where(closes[:, None], first, further)
        for first, further in zip(root, found, strict=True)
      )
    )
    place_after = state.place + listed
    most = self.lengths if self.policy.constrained else self.policy.max_items
    return State(
      going=state.going & ~(closes & (is_end | (place_after >= most))),
      ways=ways,
      depth=jnp.where(closes[:, None], 0, state.depth + 1),
      place=place_after,
      remaining=remaining,
      items=state.items.at[rows, place].set(item, mode="drop"),
      ended=state.ended | (closes & is_end),
    )

  def cut(self, state: State) -> State:
    """Lists that go on, closed where they are."""
    if self.policy.constrained:
      return state  # There was room for all of them.
    trie = self.walk.trie
    ways = state.ways._replace(exists=state.ways.exists & state.going[:, None])
    children = self.walk.edges(ways, state.depth, trie.width(1))
    ends = children.ends & children.ways.exists
    found = children.ways.take(jnp.argmax(ends, axis=1)[:, None])
    found = found._replace(exists=ends.any(axis=1, keepdims=True))
    never = jnp.zeros_like(state.going)
    return self._closed(state, found, state.going, never)
