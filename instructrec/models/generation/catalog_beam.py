"""Beam search over the titles of a catalogue, whole on the device.

A beam is a node of the catalogue's trie, an interval of items that begin alike,
and goes on to children that have allowed items below them, and to nothing else:
there is no way off the trie. Children of all beams of a request stand one after
the other, as many as there are, so that wide nodes such as the empty prefix
need no table of their own; where they are few, which is soon, they are also
computed as few.

A beam that is down to one item only spells its title. Once no beam has a choice
left, what remains of the titles is read in blocks of tokens.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import catalog_trie, leaf_intervals
from instructrec.models.networks import network
from instructrec.models.scoring import candidate_scores

OPEN, CLOSED = "open", "closed"
PROBABILITIES = (OPEN, CLOSED)
_BLOCK = 8
"""Tokens of a title that are read at once, where nothing is left to choose."""
_NARROW = 16
"""Children a beam, on average, for which a step is computed as a small one."""
_LOWEST = -1e30
"""What the impossible counts, which is still more than what is not allowed."""


class Writer(Protocol):
  """A network that reads prompts and writes; `networks.reading.Reading` is one.

  See `networks.network.Network` for the methods.
  """

  def start_decoding(
    self, *, sequences_per_prompt: int, max_length: int
  ) -> tuple[network.Memory, network.Cache]: ...

  def decode_step(
    self, tokens: Array, cache: network.Cache, memory: network.Memory
  ) -> tuple[Array, network.Cache]: ...

  def decode_block(
    self, tokens: Array, cache: network.Cache, memory: network.Memory
  ) -> tuple[Array, network.Cache]: ...

  def logits(self, features: Array) -> Array: ...


class CatalogDecodes(NamedTuple):
  """Items of a catalogue, best first; none twice.

  Attributes:
    items: their numbers, from 1; 0 where there are no more allowed items.
    log_probs: log-likelihood of each title in nats, the end token included;
      -inf where there is no item.
    scores: what the order goes by: log_probs, over the number of tokens where
      the normalization is "mean", and the weighted score of the item.
    num_found: how many items there are, which is how many were asked for or how
      many are allowed, whichever is less.
  """

  items: Int[Array, "batch decodes"]
  log_probs: Float[Array, "batch decodes"]
  scores: Float[Array, "batch decodes"]
  num_found: Int[Array, " batch"]


def beam_search(
  writer: Writer,
  trie: catalog_trie.CatalogTrie,
  *,
  batch_size: int,
  num_beams: int,
  num_decodes: int,
  probability: str = OPEN,
  normalization: str = "sum",
  allowed: Bool[Array, "batch items"] | None = None,
  excluded: Int[Array, "batch excluded"] | None = None,
  item_scores: Float[Array, "batch items"] | None = None,
  item_weight: float | Float[Array, ""] = 1.0,
) -> CatalogDecodes:
  """The likeliest items of a catalogue, by their titles.

  With as many beams as allowed items, they are the best of all of them. With
  fewer, a prefix that is not among the best `num_beams` of its length is given
  up, but never so that fewer items come back than were asked for and allowed.
  Neither the other rows of a batch nor padding change a row's items.

  Args:
    writer: the network with a batch of prompts.
    trie: the catalogue.
    batch_size: number of prompts.
    num_beams: prefixes kept a prompt.
    num_decodes: items asked for, at most `num_beams`.
    probability: "open" takes a token's probability among all tokens, so that
      log-likelihoods are those of `score_batch`; "closed" among those that go
      on to an allowed item, so that those of all allowed items add up to one.
    normalization: what of log-likelihoods the order goes by: see
      `candidate_scores.candidate_scores`.
    allowed: which items may come back, by number less one; None for all.
      What is said of items has as many columns as there are, or, in order to be
      compiled for any number, `trie.capacity`.
    excluded: numbers of items, from 1, that may not come back, such as those of
      histories; 0 is none.
    item_scores: what speaks for each item beside its title, by number less one;
      None for nothing. The score of an item is its log-likelihood and
      `item_weight` times this; prefixes are led by the logarithm of the sum of
      the exponentials of that over the items below them.
    item_weight: 0 or more; what a unit of `item_scores` counts, in nats.

  Returns:
    `num_decodes` items a row, or fewer where fewer are allowed.

  Raises:
    ValueError: where a name or number is out of its range.
  """
