"""Ways down a catalogue's trie, as arrays: see `catalog_walk`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_LOWEST = -1e30
"""What the impossible counts, which is still more than what is not allowed."""


class Ways(NamedTuple):
  """Nodes that are all equally deep.

  Attributes:
    exists: False for an empty place.
    lows: the first item below each.
    highs: one past the last.
    nodes: which nodes of the trie; of no meaning where there is one item.
    tokens: that led there.
    log_probs: of the prefixes, in nats.
    priors: what speaks for the items below.
  """

  exists: Bool[Array, "batch ways"]
  lows: Int[Array, "batch ways"]
  highs: Int[Array, "batch ways"]
  nodes: Int[Array, "batch ways"]
  tokens: Int[Array, "batch ways"]
  log_probs: Float[Array, "batch ways"]
  priors: Float[Array, "batch ways"]

  @property
  def decided(self) -> Bool[Array, "batch ways"]:
    """Whether there is one item left, and only its title to spell."""
    return self.highs - self.lows == 1

  def take(self, index: Int[Array, "batch chosen"]) -> "Ways":
    """Way `index[b, i]` of row b in place i."""
    return Ways(*(take(x, index) for x in self))


class Children(NamedTuple):
  """Where ways go on to, those of one way next to each other.

  Attributes:
    ways: the children; they exist where an allowed item is below.
    parents: of each, by its place.
    ends: whether a title ends there.
    first: place of the first child of each way, which is its end if it has one;
      where there is no child, that of another way's.
  """

  ways: Ways
  parents: Int[Array, "batch children"]
  ends: Bool[Array, "batch children"]
  first: Int[Array, "batch ways"]


def take(x: Array, index: Int[Array, "batch n"]) -> Array:
  """x[b, index[b, i]]."""
  return jax.vmap(lambda row, i: row[i])(x, index)


def order_by(
  keys: Float[Array, "batch n"], exists: Bool[Array, "batch n"]
) -> Float[Array, "batch n"]:
  """Keys for `top_k`: whatever exists is above all that does not.

  Also what has the probability 0, or one that is no number.
  """
  return jnp.where(exists, jnp.where(keys > _LOWEST, keys, _LOWEST), -jnp.inf)
