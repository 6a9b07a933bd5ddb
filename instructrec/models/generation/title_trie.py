"""All titles of a catalogue as one trie of their tokens, in NumPy."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from instructrec.models import prefix_tree


@dataclasses.dataclass(frozen=True, eq=False)
class TitleTrie:
  """The prefixes of titles; the empty one is node 0.

  Attributes:
    tokens: last token of each prefix; 0 for the empty one.
    depths: its length, in tokens.
    leaves: the node of each item's whole title. Items with one title share
      it; it may have children, where a title is the beginning of another.
    child_starts: the children of node n are
      `children[child_starts[n]:child_starts[n + 1]]`.
    children: nodes, in the order of their parents.
    longest: tokens of the longest title that begins with the prefix.
  """

  tokens: Int[np.ndarray, " nodes"]
  depths: Int[np.ndarray, " nodes"]
  leaves: Int[np.ndarray, " items"]
  child_starts: Int[np.ndarray, " nodes_plus_1"]
  children: Int[np.ndarray, " edges"]
  longest: Int[np.ndarray, " nodes"]

  def __len__(self) -> int:
    return len(self.tokens)

  @functools.cached_property
  def max_depth(self) -> int:
    """Tokens of the longest title."""
    return int(self.longest[0])

  @classmethod
  def build(cls, titles: Sequence[Sequence[int]]) -> "TitleTrie":
    """Makes the trie.

    Args:
      titles: the tokens of each item's title, as the model was trained on
        them; none is empty.

    Returns:
      The trie.

    Raises:
      ValueError: where there is no title, or an empty one.
    """
    lengths = np.array([len(title) for title in titles], np.int64)
    if not len(titles) or not lengths.all():
      raise ValueError(
        f"{len(titles)} titles, {int((lengths == 0).sum())} of them without "
        "tokens; expected at least one title and tokens in each"
      )
    width = lengths.max() + 1
    where = np.arange(width) <= lengths[:, None]
    rows = np.zeros((len(titles), width), np.int64)
    # All begin with the start token, which makes one tree of them.
    rows[where & (np.arange(width) > 0)] = np.concatenate(
      [np.asarray(title) for title in titles]
    )
    tree = prefix_tree.build(rows, where)
    leaves = tree.nodes[np.arange(len(titles)), lengths]
    longest = np.zeros(len(tree), np.int64)
    ancestors = tree.nodes[where]
    np.maximum.at(longest, ancestors, np.repeat(lengths, lengths + 1))
    children = np.argsort(tree.parents, kind="stable")[1:]
    return cls(
      tokens=tree.values.astype(np.int32),
      depths=tree.depths,
      leaves=leaves,
      child_starts=np.searchsorted(
        tree.parents[children], np.arange(len(tree) + 1)
      ),
      children=children,
      longest=longest,
    )

  def expand(
    self, nodes: Int[np.ndarray, " nodes"]
  ) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, " found"]]:
    """All children of some nodes.

    Args:
      nodes: which ones.

    Returns:
      The children, and for each the place of its parent in `nodes`.
    """
    starts = self.child_starts[nodes]
    counts = self.child_starts[nodes + 1] - starts
    parents = np.repeat(np.arange(len(nodes)), counts)
    within = np.arange(counts.sum()) - np.repeat(
      np.cumsum(counts) - counts, counts
    )
    return self.children[starts[parents] + within], parents
