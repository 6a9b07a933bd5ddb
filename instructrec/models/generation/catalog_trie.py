"""All titles of a catalogue as tables that a decoder on the device can ask.

Items stand in the order of their titles' tokens, an end before everything
else: the leaves. The items that begin with a prefix are then neighbours, so
that a node is an interval of leaves, and what is wanted of the items below it
(how many of them are allowed, what speaks for them) is a sum over an interval.
Only nodes that several items share have children in a table; below them a title
says by itself how it goes on.

Tables are arguments of a compiled program, and their sizes are rounded up: a
catalogue that has changed a little runs in the program of the one before.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

_SHOWN = 3
"""Groups of items that an error names."""


class SharedTitlesError(ValueError):
  """Several items have one title, so that no title says which is meant.

  Attributes:
    groups: numbers of the items of each such title, from 1.
    rate: share of all items that they are.
  """

  def __init__(
    self, groups: Sequence[Sequence[int]], total: int, names: Sequence[str]
  ):
    count = sum(map(len, groups))
    self.groups = tuple(tuple(group) for group in groups)
    self.rate = count / total
    shown = "; ".join(
      " and ".join(_name(item, names) for item in group[:2])
      for group in self.groups[:_SHOWN]
    )
    super().__init__(
      f"{count:,} of {total:,} items ({self.rate:.2%}) have the same tokens as "
      f"another one, which a generated title cannot tell apart: {shown}. Call "
      "one of each otherwise, or prepare the catalogue with `instructrec "
      "prepare --vocabulary=...`, which puts brand, year or a number behind "
      "such titles"
    )


@flax.struct.dataclass
class CatalogTrie:
  """The titles of a catalogue, sorted.

  Items have numbers from 1, in the order in which they were given; 0 is none,
  as in batches (`models.protocol`). Every array is padded beyond what is said.

  Attributes:
    num_items: how many there are.
    leaf_items: number of the item at each leaf; 0 where padded.
    item_leaves: leaf of item i + 1.
    title_starts: the title at leaf i is
      `title_tokens[title_starts[i]:title_starts[i + 1]]`.
    title_tokens: with the end token.
    edge_starts: the children of node n are the edges
      `edge_starts[n] .. edge_starts[n + 1] - 1`, an end first. Node 0 is the
      empty prefix.
    edge_tokens: the token that leads to a child.
    edge_lows: the first leaf below it; the last is the one before the next
      child's first, or the parent's last.
    edge_nodes: the child; -1 where it has one leaf.
    eos_id: the end token.
    vocab_size: tokens there are.
    max_length: no title has more tokens; rounded up.
    widths: children of any 2**i nodes of one depth at most; rounded up.
  """

  num_items: Int[Array, ""]
  leaf_items: Int[Array, " leaves"]
  item_leaves: Int[Array, " leaves"]
  title_starts: Int[Array, " leaves_plus_1"]
  title_tokens: Int[Array, " tokens"]
  edge_starts: Int[Array, " nodes_plus_1"]
  edge_tokens: Int[Array, " edges"]
  edge_lows: Int[Array, " edges"]
  edge_nodes: Int[Array, " edges"]
  eos_id: int = flax.struct.field(pytree_node=False)
  vocab_size: int = flax.struct.field(pytree_node=False)
  max_length: int = flax.struct.field(pytree_node=False)
  widths: tuple[int, ...] = flax.struct.field(pytree_node=False)

  @classmethod
  def build(
    cls,
    titles: Sequence[Sequence[int]],
    *,
    eos_id: int,
    vocab_size: int,
    most_tokens: int | None = None,
    names: Sequence[str] = (),
  ) -> "CatalogTrie":
    """Sorts titles and makes the tables, on the host.

    Args:
      titles: tokens of each item's title as the network was trained to write
        it, the end token last. Item i + 1 is `titles[i]`.
      eos_id: the end token.
      vocab_size: token ids that the network knows.
      most_tokens: of a title, the end token included, as far as the network was
        trained; None for any number.
      names: of the items, for errors.

    Returns:
      The tables, as NumPy arrays; `jax.device_put` moves them.

    Raises:
      SharedTitlesError: where several items have the same tokens.
      ValueError: where there is no title, or one is none: empty, too long,
        without the end token at its end, or with tokens that the network
        lacks.
    """
    lengths = np.fromiter(map(len, titles), np.int64, len(titles))
    tokens = np.fromiter(
      itertools.chain.from_iterable(titles), np.int64, int(lengths.sum())
    )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    _check(tokens, starts, eos_id, vocab_size, names)
    if most_tokens is not None and lengths.max() > most_tokens:
      longest = int(np.argmax(lengths))
      raise ValueError(
        f"{_name(longest + 1, names)} has a title of {lengths[longest]} "
        f"tokens, one of {int((lengths > most_tokens).sum()):,} longer than "
        f"the {most_tokens} that the model was trained to write; shorten them, "
        "or train with a larger TARGETS_LENGTH"
      )
    order, levels = _sort(tokens, starts, eos_id)
    shared = [low for level in levels for low in level.shared(eos_id)]
    if shared:
      groups = [np.sort(order[low:high]) + 1 for low, high in shared]
      raise SharedTitlesError(
        [group.tolist() for group in groups], len(titles), names
      )
    return cls(
      **_tables(tokens, starts, order, levels, vocab_size),
      eos_id=eos_id,
      vocab_size=vocab_size,
      max_length=int(-(-lengths.max() // 8) * 8),
      widths=_widths(levels, len(titles)),
    )

  @property
  def capacity(self) -> int:
    """Leaves that the tables have room for."""
    return self.leaf_items.shape[0]

  @property
  def num_bytes(self) -> int:
    """Of all tables."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(self))

  def summary(self) -> dict[str, Any]:
    """Figures for a manifest."""
    return {
      "items": int(self.num_items),
      "items_with_shared_titles": 0,  # `build` refuses them.
      "longest_title": int(np.diff(self.title_starts).max()),
      "bytes_per_item": round(self.num_bytes / int(self.num_items), 1),
    }

  def sequences(
    self, items: Int[Array, "*dims"]
  ) -> Int[Array, "*dims max_length"]:
    """Titles of items as tokens with the end token, then 0.

    Args:
      items: their numbers; 0 has no tokens.
    """
    leaves = jnp.asarray(self.item_leaves)[jnp.maximum(items - 1, 0)]
    tokens = self.tokens_at(leaves, 0, self.max_length)
    return jnp.where(items[..., None] > 0, tokens, 0)

  def title_lengths(self, leaves: Int[Array, "*dims"]) -> Int[Array, "*dims"]:
    """Tokens of titles, the end token included."""
    return self.title_starts[leaves + 1] - self.title_starts[leaves]

  def width(self, nodes: int) -> int:
    """Children of so many nodes of one depth at most; rounded up."""
    return self.widths[min((nodes - 1).bit_length(), len(self.widths) - 1)]

  def tokens_at(
    self, leaves: Int[Array, "*dims"], first: int | Array, count: int
  ) -> Int[Array, "*dims count"]:
    """Tokens `first` .. `first + count - 1` of titles, 0 behind their ends.

    Args:
      leaves: of the titles.
      first: one number for all, or [*dims].
      count: how many.
    """
    starts = jnp.asarray(self.title_starts)
    places = starts[leaves][..., None] + jnp.arange(count)
    places += jnp.asarray(first)[..., None]
    inside = places < starts[leaves + 1][..., None]
    tokens = jnp.asarray(self.title_tokens)[places].astype(jnp.int32)
    return jnp.where(inside, tokens, 0)


def _name(item: int, names: Sequence[str]) -> str:
  return repr(names[item - 1]) if names else f"item {item}"


def _check(
  tokens: Int[np.ndarray, " tokens"],
  starts: Int[np.ndarray, " items_plus_1"],
  eos_id: int,
  vocab_size: int,
  names: Sequence[str],
) -> None:
  """Raises ValueError, naming an item, unless all titles are titles."""
  if len(starts) == 1:
    raise ValueError("the catalogue has no titles; expected at least one")
  lengths = np.diff(starts)
  (empty,) = np.nonzero(
    (lengths == 0) | ((lengths == 1) & (tokens[starts[1:] - 1] == eos_id))
  )
  if len(empty):
    raise ValueError(
      f"{_name(int(empty[0]) + 1, names)} has a title without tokens, one of "
      f"{len(empty):,}; expected tokens and the end token {eos_id}"
    )
  last = np.zeros(len(tokens), bool)
  last[starts[1:] - 1] = True
  wrong = ((tokens == eos_id) != last) | (tokens < 1) | (tokens >= vocab_size)
  if wrong.any():
    place = int(np.argmax(wrong))
    item = int(np.searchsorted(starts, place, side="right"))
    title = tokens[starts[item - 1] : starts[item]].tolist()
    raise ValueError(
      f"{_name(item, names)} has the title {title}; expected tokens in "
      f"[1, {vocab_size}) and the end token {eos_id} at the end alone. Titles "
      "of another vocabulary, or cut ones?"
    )


class _Level:
  """The edges out of all nodes of one depth, in order.

  Attributes:
    tokens: that lead to the children.
    lows: first leaf below each child.
    sizes: leaves below it.
    starts: the first edge of each node.
  """

  def __init__(
    self, tokens: np.ndarray, lows: np.ndarray, sizes: np.ndarray,
    starts: np.ndarray,
  ):  # fmt: skip
    self.tokens, self.lows, self.sizes = tokens, lows, sizes
    self.starts = starts

  @property
  def widths(self) -> Int[np.ndarray, " nodes"]:
    """Children of each node."""
    return np.diff(self.starts, append=len(self.tokens))

  def shared(self, eos_id: int) -> list[tuple[int, int]]:
    """Intervals of several leaves behind one end."""
    where = (self.tokens == eos_id) & (self.sizes > 1)
    lows = self.lows[where]
    return list(
      zip(lows.tolist(), (lows + self.sizes[where]).tolist(), strict=True)
    )


def _sort(
  tokens: Int[np.ndarray, " tokens"],
  starts: Int[np.ndarray, " items_plus_1"],
  eos_id: int,
) -> tuple[Int[np.ndarray, " items"], list[_Level]]:
  """Sorts titles by one token after the other, as far as they are alike.

  Returns:
    The title at each leaf, and the edges of each depth.
  """
  order = np.arange(len(starts) - 1)
  # An end comes before its continuations.
  rank = np.where(tokens == eos_id, 0, tokens)
  base = int(rank.max()) + 1
  # Places whose title is not alone yet, and the node that each is at.
  places = np.arange(len(order) if len(order) > 1 else 0)
  nodes = np.zeros(len(places), np.int64)
  levels = []
  depth = 0
  while len(places):
    keys = nodes * base + rank[starts[order[places]] + depth]
    sorted_by = np.argsort(keys, kind="stable")
    order[places] = order[places][sorted_by]
    keys = keys[sorted_by]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    sizes = np.diff(first, append=len(keys))
    parents, found = keys[first] // base, keys[first] % base
    levels.append(
      _Level(
        tokens=np.where(found == 0, eos_id, found),
        lows=places[first],
        sizes=sizes,
        starts=np.flatnonzero(np.diff(parents, prepend=-1)),
      )
    )
    # Nothing follows an end: several titles that end together are the same.
    inner = (sizes > 1) & (found != 0)
    places = places[np.repeat(inner, sizes)]
    nodes = np.repeat(np.arange(inner.sum()), sizes[inner])
    depth += 1
  return order, levels


def _tables(
  tokens: Int[np.ndarray, " tokens"],
  starts: Int[np.ndarray, " items_plus_1"],
  order: Int[np.ndarray, " items"],
  levels: Sequence[_Level],
  vocab_size: int,
) -> dict[str, Any]:
  """The arrays of a trie."""
  count = len(order)
  lengths = np.diff(starts)[order]
  title_starts = np.concatenate([[0], np.cumsum(lengths)])
  within = np.arange(len(tokens)) - np.repeat(title_starts[:-1], lengths)
  titles = tokens[np.repeat(starts[:-1][order], lengths) + within]
  leaves = np.empty(count, np.int64)
  leaves[order] = np.arange(count)

  def joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts])

  sizes = joined([level.sizes for level in levels])
  # Nodes are numbered as their edges come; the empty prefix is node 0.
  nodes = np.where(sizes > 1, np.cumsum(sizes > 1), -1)
  edges = np.cumsum([0, *(len(level.tokens) for level in levels)])
  edge_starts = joined(
    [level.starts + edge for level, edge in zip(levels, edges, strict=False)]
    + [edges[-1:]]
  )
  token_type = np.uint16 if vocab_size <= 2**16 else np.int32
  return {
    "num_items": np.asarray(count, np.int32),
    "leaf_items": _padded(order + 1, 0, np.int32),
    "item_leaves": _padded(leaves, 0, np.int32),
    "title_starts": _padded(title_starts, len(tokens), np.int32, more=1),
    "title_tokens": _padded(titles, 0, token_type),
    "edge_starts": _padded(edge_starts, len(sizes), np.int32, more=1),
    "edge_tokens": _padded(
      joined([level.tokens for level in levels]), 0, token_type
    ),
    "edge_lows": _padded(
      joined([level.lows for level in levels]), count, np.int32
    ),
    "edge_nodes": _padded(nodes, -1, np.int32),
  }


def _rounded(size: int) -> int:
  """A size with at most four significant bits, at least `size` and 8."""
  step = 2 ** max((size - 1).bit_length() - 4, 0)
  return max(-(-size // step) * step, 8)


def _padded(
  values: np.ndarray, fill: int, dtype: Any, more: int = 0
) -> np.ndarray:
  """Values, rounded up in number, and `more` after that."""
  size = _rounded(len(values) - more) + more
  table = np.full(size, fill, dtype)
  table[: len(values)] = values
  return table


def _widths(levels: Sequence[_Level], num_items: int) -> tuple[int, ...]:
  """See `CatalogTrie.widths`."""
  # As many as the rounded number of items has: see `_rounded`.
  most = [8] * (_rounded(num_items).bit_length() + 1)
  for level in levels:
    widths = np.cumsum(np.sort(level.widths)[::-1])
    for i in range(len(most)):
      most[i] = max(most[i], int(widths[min(2**i, len(widths)) - 1]))
  return tuple(1 << (width - 1).bit_length() for width in most)
