"""What is asked of lists of titles, how likely their tokens are, and lists."""

import dataclasses
from typing import NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import (
  catalog_trie,
  catalog_walk,
  leaf_intervals,
  list_quota,
)
from instructrec.models.networks import network

INVALID, BLANK = -1, -3
"""What stands for an item where an entry is no title, or has no tokens: those
of `instructions.title_list`, whose items count from 0 and not from 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListPolicy:
  """How the tokens of a list have their probability.

  Attributes:
    separator_ids: the tokens between titles: the n-th where n titles are
      still to come, the last also where more are; see `check`.
    max_items: items of the longest list.
    constrained: whether nothing but titles of the catalogue can be written, as
      many as were asked for, none twice; or any tokens.
    probability: "closed", among the tokens that go on to a list that may be
      written; or "open", among all tokens. See `catalog_beam.beam_search`.
    max_length: tokens of the longest list; None has room for any that is
      constrained.
    temperature: above 0, what the network's logits are divided by; the policy
      is what they then say, to whoever draws from it and whoever learns.
  """

  separator_ids: tuple[int, ...]
  max_items: int
  constrained: bool = True
  probability: str = catalog_walk.CLOSED
  max_length: int | None = None
  temperature: float = 1.0

  def __post_init__(self) -> None:
    """Checks names and numbers.

    Raises:
      ValueError: where one is out of its range, or they do not go together.
    """
    catalog_walk.check_probability(self.probability)
    if not self.constrained and self.probability != catalog_walk.OPEN:
      raise ValueError(
        "lists that are not constrained have 'open' probabilities alone; found "
        f"{self.probability!r}"
      )
    if self.constrained and self.max_length is not None:
      raise ValueError(
        f"max_length is {self.max_length}, which would cut constrained lists; "
        "leave it None"
      )
    if self.max_items < 1 or min(self.separator_ids, default=0) < 1:
      raise ValueError(
        f"max_items is {self.max_items} and separator_ids "
        f"{self.separator_ids}; expected at least 1, as 0 is padding"
      )
    if not self.temperature > 0.0:
      raise ValueError(
        f"temperature is {self.temperature}; expected a number above 0"
      )

  def check(self, trie: catalog_trie.CatalogTrie) -> None:
    """Looks whether a catalogue's titles can stand in lists, on the host.

    Args:
      trie: the catalogue.

    Raises:
      ValueError: where a title has a separator in it, or a separator is no
        token, or the end token.
    """
    for token in self.separator_ids:
      if token >= trie.vocab_size or token == trie.eos_id:
        raise ValueError(
          f"a separator is the token {token}; expected one of the "
          f"{trie.vocab_size}, other than the end token {trie.eos_id}"
        )
    tokens = np.asarray(trie.title_tokens)
    (found,) = np.nonzero(np.isin(tokens, self.separator_ids))
    if len(found):
      starts = np.asarray(trie.title_starts)
      leaf = np.searchsorted(starts, found[0], side="right") - 1
      raise ValueError(
        f"the title of item {int(trie.leaf_items[leaf])} has the separator "
        f"{int(tokens[found[0]])} among its tokens; rename it, or choose other "
        "separators"
      )

  def length(self, trie: catalog_trie.CatalogTrie) -> int:
    """Tokens of the longest list."""
    return self.max_length or self.max_items * trie.max_length

  def separator(self, coming: Int[Array, "*dims"]) -> Int[Array, "*dims"]:
    """The token that says how many titles are still to come.

    Args:
      coming: how many; of none there is no separator, and any is returned.
    """
    ids = jnp.asarray(self.separator_ids, jnp.int32)
    return ids[jnp.clip(coming, 1, len(ids)) - 1]

  def separates(self, tokens: Int[Array, "*dims"]) -> Bool[Array, "*dims"]:
    """Which tokens are separators, whatever they say."""
    return jnp.isin(tokens, jnp.asarray(self.separator_ids, jnp.int32))

  def places(
    self, tokens: Int[Array, "*dims length"]
  ) -> Int[Array, "*dims length"]:
    """Which title of its list each token is of, its separator included."""
    separators = self.separates(tokens).astype(jnp.int32)
    return jnp.cumsum(separators, axis=-1) - separators

  def by_item(
    self,
    values: Float[Array, "*dims length"],
    tokens: Int[Array, "*dims length"],
  ) -> Float[Array, "*dims items"]:
    """Sums over the tokens of each title, with its separator or end.

    Args:
      values: of each token.
      tokens: of the lists.
    """
    own = self.places(tokens)[..., None] == jnp.arange(self.max_items)
    own &= (tokens != network.PAD_ID)[..., None]
    return jnp.where(own, values[..., None], 0.0).sum(axis=-2)


@flax.struct.dataclass
class ListRequests:
  """What requests ask of lists.

  Attributes:
    lengths: how many items, at most `ListPolicy.max_items`.
    conditions: what they say of items. `item_scores` lead constrained lists,
      whose log-probabilities stay the network's.
    quota: what they say of a kind of items; None for nothing.
  """

  lengths: Int[Array, " batch"]
  conditions: leaf_intervals.Conditions = leaf_intervals.ANYTHING
  quota: list_quota.Quota | None = None

  def without(self, items: Int[Array, "batch more"] | None) -> "ListRequests":
    """The same, with more items excluded; see `Conditions.without`."""
    return self.replace(  # type: ignore[attr-defined]
      conditions=self.conditions.without(items)
    )


class TitleLists(NamedTuple):
  """Lists of titles.

  Attributes:
    tokens: with separators and the end token, then 0.
    items: numbers, from 1, in the order of the list; 0 where there is no more,
      INVALID for what is none of the catalogue's, BLANK for nothing between
      two separators.
    token_log_probs: of each token in nats; 0 where there is none.
    log_probs: of each item: those of its title's tokens and of the separator
      or end behind it.
    num_items: places of `items` that are not 0. Constrained, they are fewer
      than were asked for where fewer are allowed.
    ended: whether the end token was written; a list that is not constrained
      may be cut for its length in tokens or items.
  """

  tokens: Int[Array, "batch lists length"]
  items: Int[Array, "batch lists items"]
  token_log_probs: Float[Array, "batch lists length"]
  log_probs: Float[Array, "batch lists items"]
  num_items: Int[Array, "batch lists"]
  ended: Bool[Array, "batch lists"]
