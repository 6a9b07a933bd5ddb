"""Ways down a catalogue's trie: the children of nodes, and their probabilities.

What the search and the sampler share. A way is a node, an interval of items
that begin alike, and goes on to children that have allowed items below them,
and to nothing else: nothing leads off the trie. The children of all ways of a
request stand one after the other, as many as there are, so that wide nodes,
such as the empty prefix, need no table of their own.
"""

import dataclasses
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from instructrec.models.generation import catalog_trie, leaf_intervals
from instructrec.models.generation.catalog_ways import (
  Children,
  Ways,
  order_by,
  take,
)
from instructrec.models.networks import network
from instructrec.models.scoring import candidate_scores

OPEN, CLOSED = "open", "closed"
PROBABILITIES = (OPEN, CLOSED)
BLOCK = 4
"""Tokens of a title that are read at once, where nothing is left to choose."""


class Writer(Protocol):
  """A network with a batch of prompts; `networks.reading.Reading` is one.

  See `networks.network.Network` for the methods.
  """

  def start_decoding(
    self, *, sequences_per_prompt: int, max_length: int
  ) -> tuple[network.Memory, network.Cache]:
    """Memory and an empty cache."""

  def decode_step(
    self,
    tokens: Int[Array, " sequences"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "sequences vocab"], network.Cache]:
    """Logits of the next tokens, and the longer cache."""

  def decode_block(
    self,
    tokens: Int[Array, "sequences block"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "sequences block embed"], network.Cache]:
    """Features of several known tokens, and the longer cache."""

  def logits(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims vocab"]:
    """Logits of features."""


class CatalogDecodes(NamedTuple):
  """Items of a catalogue.

  Attributes:
    items: their numbers, from 1; 0 where there is none.
    log_probs: log-likelihood of each title in nats, the end token included;
      -inf where there is no item.
    scores: log_probs, over the number of tokens where the normalization is
      "mean", and the weighted score of the item.
    num_found: how many items there are.
    num_steps: how often the network was asked for one more token of all
      prefixes; what is left of titles then comes in blocks.
  """

  items: Int[Array, "batch decodes"]
  log_probs: Float[Array, "batch decodes"]
  scores: Float[Array, "batch decodes"]
  num_found: Int[Array, " batch"]
  num_steps: Int[Array, ""]


def check_probability(probability: str) -> None:
  """Raises ValueError unless `probability` is among PROBABILITIES."""
  if probability not in PROBABILITIES:
    raise ValueError(
      f"probability is {probability!r}; expected one of "
      f"{', '.join(PROBABILITIES)}"
    )


def check_draws(
  name: str, number: int, temperature: float, rng: PRNGKeyArray | None
) -> None:
  """Raises ValueError unless so many (`name`) can be drawn, or be likeliest."""
  if number < 1 or temperature < 0.0:
    raise ValueError(
      f"{name} is {number} and temperature {temperature}; expected at least 1 "
      "and 0"
    )
  if temperature and rng is None:
    raise ValueError(
      f"temperature is {temperature}, but there is no rng to draw with; give "
      "one, or set the temperature to 0"
    )


@dataclasses.dataclass(frozen=True)
class Walk:
  """One batch of requests on their ways down a trie.

  Attributes:
    writer: what predicts tokens.
    trie: the catalogue.
    allowed: the leaves that may be reached.
    prior: what speaks for leaves beside their titles; None for nothing.
    probability: see `catalog_beam.beam_search`.
    normalization: see `catalog_beam.beam_search`.
    num_ways: ways of each request.
  """

  writer: Writer
  trie: catalog_trie.CatalogTrie
  allowed: leaf_intervals.Filter
  prior: leaf_intervals.Weights | None
  probability: str
  normalization: str
  num_ways: int

  @classmethod
  def of(
    cls,
    writer: Writer,
    trie: catalog_trie.CatalogTrie,
    *,
    num_ways: int,
    probability: str,
    normalization: str,
    conditions: leaf_intervals.Conditions,
  ) -> "Walk":
    """Looks at what requests say of items.

    Args:
      writer: see the class.
      trie: likewise.
      num_ways: likewise.
      probability: likewise.
      normalization: likewise.
      conditions: what they say.

    Raises:
      ValueError: where a name is none of those there are.
    """
    candidate_scores.check_normalization(normalization)
    check_probability(probability)
    trie = jax.tree.map(jnp.asarray, trie)
    leaves = leaf_intervals.Allowed.of(trie, conditions)
    prior = None
    if conditions.item_scores is not None:
      prior = leaf_intervals.Prior.of(
        trie, conditions.item_scores, conditions.item_weight, leaves
      )
    return cls(
      writer, trie, leaves, prior, probability, normalization, num_ways
    )

  def start_decoding(self) -> tuple[network.Memory, network.Cache]:
    """Memory and cache of all ways, with room for the last block."""
    return self.writer.start_decoding(
      sequences_per_prompt=self.num_ways,
      max_length=self.trie.max_length + BLOCK,
    )

  def start(self, batch_size: int) -> Ways:
    """The empty prefix, as often as there are ways; none without items."""
    shape = (batch_size, self.num_ways)
    zeros = jnp.zeros(shape, jnp.int32)
    highs = jnp.broadcast_to(self.trie.num_items, shape)
    return self._narrowed(
      Ways(
        exists=jnp.ones(shape, bool),
        lows=zeros,
        highs=highs,
        nodes=zeros,
        tokens=zeros + network.PAD_ID,
        log_probs=jnp.zeros(shape, jnp.float32),
        priors=jnp.zeros(shape, jnp.float32),
      )
    )

  def _narrowed(self, ways: Ways) -> Ways:
    """Ways to allowed items, with the one item where there is one."""
    count, lows, highs = self.allowed.narrow(ways.lows, ways.highs)
    priors = ways.priors
    if self.prior is not None:
      priors = self.prior.over(lows, highs)
    return ways._replace(
      exists=ways.exists & (count > 0), lows=lows, highs=highs, priors=priors
    )

  def num_children(self, ways: Ways) -> Int[Array, "batch ways"]:
    """Children of each way, allowed or not."""
    starts = self.trie.edge_starts
    widths = starts[ways.nodes + 1] - starts[ways.nodes]
    return jnp.where(ways.exists, jnp.where(ways.decided, 1, widths), 0)

  def children(
    self,
    ways: Ways,
    logits: Float[Array, "batch ways vocab"],
    depth: Int[Array, "*#dims"],
    slots: int,
    ends_with: Int[Array, "batch #ways"] | None = None,
  ) -> Children:
    """The children of all ways, with their probabilities.

    Args:
      ways: the nodes.
      logits: of the token after each.
      depth: tokens that lead to each: one number for all, or [batch, ways].
      slots: places for children, at least `num_children` in all.
      ends_with: the token that a title ends with; None for the end token.
    """
    children = self.edges(ways, depth, slots)
    if ends_with is not None:
      last = jnp.broadcast_to(ends_with, ways.lows.shape)
      tokens = jnp.where(
        children.ends, take(last, children.parents), children.ways.tokens
      )
      children = children._replace(ways=children.ways._replace(tokens=tokens))
    parents, found = children.parents, self._narrowed(children.ways)
    gained = self._gained(logits, parents, found)
    log_probs = take(ways.log_probs, parents) + gained
    return children._replace(ways=found._replace(log_probs=log_probs))

  def edges(
    self, ways: Ways, depth: Int[Array, "*#dims"], slots: int
  ) -> Children:
    """As `children`, allowed or not, without probabilities."""
    trie = self.trie
    widths = self.num_children(ways)
    ends = jnp.cumsum(widths, axis=1)
    place = jnp.arange(slots)
    parents = jax.vmap(lambda e: jnp.searchsorted(e, place, side="right"))(ends)
    exists = parents < widths.shape[1]
    parents = jnp.minimum(parents, widths.shape[1] - 1)
    within = place - take(ends - widths, parents)
    edges = take(trie.edge_starts[ways.nodes], parents) + within
    edges = jnp.clip(edges, 0, trie.edge_tokens.shape[0] - 1)
    last = within + 1 == take(widths, parents)
    beyond = trie.edge_lows[jnp.minimum(edges + 1, len(trie.edge_lows) - 1)]
    spelled = trie.tokens_at(ways.lows, depth, 1)[..., 0]
    decided = take(ways.decided, parents)
    tokens = jnp.where(
      decided,
      take(spelled, parents),
      trie.edge_tokens[edges].astype(jnp.int32),
    )
    highs = take(ways.highs, parents)
    blank = jnp.zeros(parents.shape, jnp.float32)
    return Children(
      ways=Ways(
        exists=exists,
        lows=jnp.where(
          decided, take(ways.lows, parents), trie.edge_lows[edges]
        ),
        highs=jnp.where(decided | last, highs, beyond),
        nodes=jnp.where(decided, 0, jnp.maximum(trie.edge_nodes[edges], 0)),
        tokens=tokens,
        log_probs=blank,
        priors=blank,
      ),
      parents=parents,
      ends=tokens == trie.eos_id,
      first=jnp.minimum(ends - widths, slots - 1),
    )

  def _gained(
    self,
    logits: Float[Array, "batch ways vocab"],
    parents: Int[Array, "batch children"],
    children: Ways,
  ) -> Float[Array, "batch children"]:
    """Log-probability of each child's token."""
    chosen = jax.vmap(lambda rows, i, token: rows[i, token])(
      logits, parents, children.tokens
    ).astype(jnp.float32)
    if self.probability == OPEN:
      whole = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
      return chosen - take(whole, parents)
    return self.log_shares(chosen, parents, children.exists)

  def log_shares(
    self,
    keys: Float[Array, "batch children"],
    parents: Int[Array, "batch children"],
    exists: Bool[Array, "batch children"],
  ) -> Float[Array, "batch children"]:
    """The log-softmax of keys over the children of each way."""
    keys = order_by(keys, exists)
    if self.num_ways == 1:
      # A row without children has no shares, rather than no numbers.
      some = exists.any(axis=1, keepdims=True)
      shares = jax.nn.log_softmax(jnp.where(some, keys, 0.0))
      return jnp.where(exists, shares, -jnp.inf)

    def of_row(keys: Array, parents: Array) -> Array:
      most = jax.ops.segment_max(keys, parents, self.num_ways)[parents]
      powers = jnp.exp(keys - most)
      total = jax.ops.segment_sum(powers, parents, self.num_ways)
      return keys - most - jnp.log(total)[parents]

    shares = jax.vmap(of_row)(keys, parents)
    return jnp.where(exists, shares, -jnp.inf)

  def best(
    self, keys: Float[Array, "batch children"], children: Children
  ) -> Int[Array, "batch ways"]:
    """Place of the best child of each way; the first among equals."""

    def of_row(keys: Array, parents: Array) -> Array:
      most = jax.ops.segment_max(keys, parents, self.num_ways)[parents]
      place = jnp.where(keys == most, jnp.arange(len(keys)), len(keys) - 1)
      found = jax.ops.segment_min(place, parents, self.num_ways)
      return jnp.minimum(found, len(keys) - 1)

    keys = order_by(keys, children.ways.exists)
    if self.num_ways == 1:
      return jnp.argmax(keys, axis=1, keepdims=True)
    return jax.vmap(of_row)(keys, children.parents)

  def scores(
    self,
    log_probs: Float[Array, "batch ways"],
    lengths: Int[Array, "*#dims"] | int,
    priors: Float[Array, "batch ways"],
  ) -> Float[Array, "batch ways"]:
    """What items, or bounds of them, count."""
    if self.normalization == "mean":
      log_probs = log_probs / lengths
    return log_probs + priors


def decodes(
  trie: catalog_trie.CatalogTrie,
  exists: Bool[Array, "batch decodes"],
  leaves: Int[Array, "batch decodes"],
  log_probs: Float[Array, "batch decodes"],
  scores: Float[Array, "batch decodes"],
  num_steps: Int[Array, ""],
) -> CatalogDecodes:
  """Leaves as items."""
  return CatalogDecodes(
    items=jnp.where(exists, trie.leaf_items[leaves], 0),
    log_probs=jnp.where(exists, log_probs, -jnp.inf),
    scores=jnp.where(exists, scores, -jnp.inf),
    num_found=exists.sum(axis=1),
    num_steps=num_steps,
  )
