"""What a request says of items, as sums over intervals of a trie's leaves.

Neither a filter nor a prior changes the trie: the items below a prefix are an
interval of leaves (`catalog_trie`), so that it is enough to know how many of
any interval are allowed, and what speaks for them together.
"""

from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import catalog_trie


@flax.struct.dataclass
class Conditions:
  """What requests say of items, whatever decodes.

  What is said of all items has as many columns as there are or, in order to be
  compiled once for any number, `CatalogTrie.capacity`.

  Attributes:
    allowed: which items may come back, by number less one; None for all.
    excluded: numbers of items, from 1, that may not come back, such as those of
      histories; 0 is none.
    item_scores: what speaks for each item beside its title, by number less one;
      None for nothing. It is added to an item's score; prefixes are led by the
      logarithm of the sum of its exponentials over the items below them.
    item_weight: 0 or more; what a unit of `item_scores` counts, in nats.
  """

  allowed: Bool[Array, "batch items"] | None = None
  excluded: Int[Array, "batch excluded"] | None = None
  item_scores: Float[Array, "batch items"] | None = None
  item_weight: float | Float[Array, ""] = 1.0

  def without(self, items: Int[Array, "batch more"] | None) -> "Conditions":
    """The same, with more excluded.

    Args:
      items: their numbers; None for no more.
    """
    if items is None:
      return self
    parts = [items] if self.excluded is None else [self.excluded, items]
    return self.replace(  # type: ignore[attr-defined]
      excluded=jnp.concatenate([jnp.asarray(part) for part in parts], axis=1)
    )


ANYTHING = Conditions()
"""Says nothing of items."""


class Filter(Protocol):
  """Which leaves may be reached."""

  def narrow(
    self, lows: Int[Array, "rows nodes"], highs: Int[Array, "rows nodes"]
  ) -> tuple[Array, Array, Array]:
    """How many leaves of each interval may be, and the part they lie in."""


class Weights(Protocol):
  """What speaks for leaves."""

  def over(
    self, lows: Int[Array, "rows nodes"], highs: Int[Array, "rows nodes"]
  ) -> Float[Array, "rows nodes"]:
    """The log weight of all leaves of each interval that may be reached."""


@flax.struct.dataclass
class Allowed:
  """Which leaves may be returned.

  Attributes:
    before: how many of the leaves before each are allowed; None where all of
      the catalogue are, but for `excluded`.
    excluded: leaves that may not be returned, each once; -1 is none.
  """

  before: Int[Array, "batch leaves_plus_1"] | None
  excluded: Int[Array, "batch excluded"] | None

  @classmethod
  def of(
    cls, trie: catalog_trie.CatalogTrie, conditions: Conditions
  ) -> "Allowed":
    """A filter of items as one of leaves.

    Args:
      trie: the catalogue.
      conditions: what requests say; items past the end are not allowed.
    """
    allowed, excluded = conditions.allowed, conditions.excluded
    leaves = None
    if excluded is not None:
      leaves = _distinct(leaves_of(trie, excluded))
    if allowed is None:
      return cls(before=None, excluded=leaves)
    where = by_leaf(trie, allowed, False)
    if leaves is not None:
      where = put(where, leaves, False)  # Both at once are one filter.
    return cls(before=counts_before(where), excluded=None)

  def _inside(
    self, lows: Int[Array, "batch nodes"], highs: Int[Array, "batch nodes"]
  ) -> Bool[Array, "batch nodes excluded"]:
    assert self.excluded is not None
    leaves = self.excluded[:, None, :]
    return (leaves >= lows[..., None]) & (leaves < highs[..., None])

  def count(
    self, lows: Int[Array, "batch nodes"], highs: Int[Array, "batch nodes"]
  ) -> Int[Array, "batch nodes"]:
    """How many leaves of each interval may be returned."""
    if self.before is not None:
      return _take(self.before, highs) - _take(self.before, lows)
    count = highs - lows
    if self.excluded is not None:
      count -= self._inside(lows, highs).sum(-1)
    return count

  def narrow(
    self, lows: Int[Array, "batch nodes"], highs: Int[Array, "batch nodes"]
  ) -> tuple[Array, Array, Array]:
    """How many leaves of each interval may be returned, and the interval.

    Where there is one, the interval is that leaf.
    """
    count = self.count(lows, highs)
    lows = jnp.where(count == 1, self.only(lows, highs), lows)
    return count, lows, jnp.where(count == 1, lows + 1, highs)

  def only(
    self, lows: Int[Array, "batch nodes"], highs: Int[Array, "batch nodes"]
  ) -> Int[Array, "batch nodes"]:
    """The one leaf of each interval of which `count` is 1."""
    if self.before is not None:
      wanted = _take(self.before, lows) + 1
      found = jax.vmap(jnp.searchsorted)(self.before, wanted) - 1
      return found.astype(jnp.int32)
    if self.excluded is None:
      return lows
    # Such an interval is short: what is left of the sum of its leaves.
    inside = self._inside(lows, highs)
    size = highs - lows
    beyond = self.excluded[:, None, :] - lows[..., None]
    missing = jnp.where(inside, beyond, 0).sum(-1)
    return lows + size * (size - 1) // 2 - missing


@flax.struct.dataclass
class Prior:
  """What speaks for items beside their titles: log weights, in nats.

  That of an interval is the logarithm of the sum of its items' weights, and so
  at least that of each. It is put together from a binary tree over the leaves:
  differences of running sums would lose whatever is small beside what comes
  before it.

  Attributes:
    tree: node 1 is the root, the children of node i are 2 i and 2 i + 1; the
      leaves come last.
  """

  tree: Float[Array, "batch tree"]

  @classmethod
  def of(
    cls,
    trie: catalog_trie.CatalogTrie,
    scores: Float[Array, "batch items"],
    weight: float | Float[Array, ""],
    allowed: Allowed,
  ) -> "Prior":
    """Log weights of allowed items.

    Args:
      trie: the catalogue.
      scores: by item, number less one.
      weight: what a unit of them counts, in nats; 0 or more.
      allowed: the others weigh nothing.
    """
    level = by_leaf(trie, scores.astype(jnp.float32) * weight, -jnp.inf)
    if allowed.before is not None:
      level = jnp.where(jnp.diff(allowed.before) > 0, level, -jnp.inf)
    if allowed.excluded is not None:
      level = put(level, allowed.excluded, -jnp.inf)
    return cls.of_leaves(level)

  @classmethod
  def of_leaves(cls, level: Float[Array, "batch leaves"]) -> "Prior":
    """As `of`, from the log weight of each leaf; -inf is nothing."""
    count = level.shape[1]
    size = 1 << (count - 1).bit_length()
    level = jnp.pad(
      level, ((0, 0), (0, size - count)), constant_values=-jnp.inf
    )
    levels = [level]
    while level.shape[1] > 1:
      level = jnp.logaddexp(level[:, ::2], level[:, 1::2])
      levels.append(level)
    # Nothing is node 0.
    levels.append(jnp.full_like(level, -jnp.inf))
    return cls(tree=jnp.concatenate(levels[::-1], axis=1))

  def without(self, leaves: Int[Array, " batch"]) -> "Prior":
    """The same where one leaf of each row weighs nothing; -1 is none."""
    tree = self.tree
    rows, half = jnp.arange(len(tree)), tree.shape[1] // 2
    node = jnp.where(leaves < 0, 0, leaves + half)  # Nothing is node 0.
    tree = tree.at[rows, node].set(-jnp.inf)
    while half > 1:
      node, half = node // 2, half // 2
      below = [_take(tree, 2 * node[:, None] + side)[:, 0] for side in (0, 1)]
      both = jnp.where(node > 0, jnp.logaddexp(*below), -jnp.inf)
      tree = tree.at[rows, node].set(both)
    return Prior(tree=tree)

  def at(
    self, leaves: Int[Array, "batch nodes"]
  ) -> Float[Array, "batch nodes"]:
    """The log weight of single leaves, exactly."""
    return _take(self.tree, self.tree.shape[1] // 2 + leaves)

  def over(
    self, lows: Int[Array, "batch nodes"], highs: Int[Array, "batch nodes"]
  ) -> Float[Array, "batch nodes"]:
    """The log weight of all leaves of each interval."""
    half = self.tree.shape[1] // 2
    low, high = lows + half, highs + half
    nodes = []
    while half:
      # What of the interval no node of the next level covers; node 0 is none.
      open_ = low < high
      nodes.append(jnp.where(open_ & (low % 2 == 1), low, 0))
      nodes.append(jnp.where(open_ & (high % 2 == 1), high - 1, 0))
      low, high, half = (low + 1) // 2, high // 2, half // 2
    found = jax.vmap(lambda tree, nodes: tree[nodes])(
      self.tree, jnp.stack(nodes, axis=-1)
    )
    return jax.nn.logsumexp(found, axis=-1)


def by_leaf(
  trie: catalog_trie.CatalogTrie,
  values: Array,
  fill: float | bool,
) -> Array:
  """What is said of items [batch, items], in the order of leaves.

  Args:
    trie: the catalogue.
    values: by item, number less one; at most `trie.capacity`.
    fill: for leaves without an item, and items past the end.

  Raises:
    ValueError: where there are more than the tables have room for.
  """
  missing = trie.capacity - values.shape[1]
  if missing < 0:
    raise ValueError(
      f"something is said of {values.shape[1]} items, but the tables have room "
      f"for {trie.capacity}; expected those of the catalogue, by number"
    )
  values = jnp.pad(values, ((0, 0), (0, missing)), constant_values=fill)
  found = values[:, jnp.maximum(trie.leaf_items - 1, 0)]
  return jnp.where(trie.leaf_items > 0, found, fill)


def leaves_of(
  trie: catalog_trie.CatalogTrie, items: Int[Array, "*dims"]
) -> Int[Array, "*dims"]:
  """Leaves of items by their numbers; -1 for 0, which is none."""
  return jnp.where(items > 0, trie.item_leaves[items - 1], -1)


def counts_before(
  where: Bool[Array, "*dims leaves"],
) -> Int[Array, "*dims leaves_plus_1"]:
  """How many of the leaves before each are among some: sums of intervals."""
  counts = jnp.cumsum(where.astype(jnp.int32), axis=-1)
  return jnp.pad(counts, [(0, 0)] * (where.ndim - 1) + [(1, 0)])


def _distinct(leaves: Int[Array, "batch excluded"]) -> Array:
  """The same leaves, each once; -1 for the rest."""
  ordered = jnp.sort(leaves, axis=1)
  again = jnp.pad(
    ordered[:, 1:] == ordered[:, :-1], ((0, 0), (1, 0)), constant_values=False
  )
  return jnp.where(again, -1, ordered)


def put(rows: Array, leaves: Array, value: float | bool) -> Array:
  """Rows [batch, leaves] with a value at some leaves; -1 is none."""
  places = jnp.where(leaves < 0, rows.shape[1], leaves)
  return rows.at[jnp.arange(len(rows))[:, None], places].set(value, mode="drop")


def _take(rows: Array, index: Int[Array, "batch nodes"]) -> Array:
  """rows[b, index[b, i]]."""
  return jax.vmap(lambda row, i: row[i])(rows, index)
