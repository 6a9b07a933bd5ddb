"""Token rows as a tree of their prefixes, in NumPy.

Titles that begin alike share nodes, so that what a decoder computes for a
prefix is computed once; and padding has no node at all.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True)
class PrefixTree:
  """The distinct prefixes of some rows, parents before children.

  Nodes stand in the order of a depth-first walk, so the descendants of node i
  are exactly the nodes i + 1 .. ends[i] - 1. Rows that differ in their first
  element lie in different trees of the forest.

  Attributes:
    nodes: node of the prefix `rows[i, : t + 1]`; -1 where padded.
    values: last element of each node's prefix.
    depths: length of that prefix less one; 0 for roots.
    parents: the prefix without its last element; -1 for roots.
    ends: one past the last descendant.
  """

  nodes: Int[np.ndarray, "rows length"]
  values: Int[np.ndarray, " nodes"]
  depths: Int[np.ndarray, " nodes"]
  parents: Int[np.ndarray, " nodes"]
  ends: Int[np.ndarray, " nodes"]

  def __len__(self) -> int:
    return len(self.values)


def build(
  rows: Int[np.ndarray, "rows length"],
  where: Bool[np.ndarray, "rows length"],
) -> PrefixTree:
  """Merges rows that begin alike.

  Args:
    rows: the elements.
    where: False where a row is padded, which is at its end.

  Returns:
    The tree; one node where a prefix occurs any number of times.
  """
  lengths = where.sum(axis=1)
  # Below every element, so that a row comes before its continuations.
  padded = np.where(where, rows, -1)
  order = np.lexsort(padded.T[::-1])
  ordered, lengths = padded[order], lengths[order]
  # In this order, rows with a common prefix are neighbours.
  same = ordered[1:] == ordered[:-1]
  common = np.cumprod(same, axis=1, dtype=bool) & where[order][1:]
  new = where[order].copy()
  new[1:] &= ~common
  ids = np.cumsum(new).reshape(new.shape) - 1
  nodes = np.maximum.accumulate(np.where(new, ids, -1), axis=0)
  nodes[~where[order]] = -1

  row, depth = np.nonzero(new)
  ends = np.zeros(len(row), np.int64)
  (full,) = np.nonzero(lengths)
  deepest = np.zeros(len(order), np.int64)
  deepest[full] = nodes[full, lengths[full] - 1]
  at_row, _ = np.nonzero(nodes >= 0)
  np.maximum.at(ends, nodes[nodes >= 0], deepest[at_row] + 1)
  unsorted = np.empty_like(nodes)
  unsorted[order] = nodes
  return PrefixTree(
    nodes=unsorted,
    values=ordered[row, depth],
    depths=depth,
    parents=np.where(depth > 0, nodes[row, depth - 1], -1),
    ends=ends,
  )
