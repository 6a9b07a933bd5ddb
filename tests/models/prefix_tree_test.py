"""Properties of prefix trees, against the plain definition."""

import numpy as np
import pytest

from instructrec.models import prefix_tree

ROWS = [[7, 2, 9], [7, 2], [7, 3], [], [5], [7, 2, 9], [7, 2, 9, 4]]


def pad(rows, length=5):
  padded = np.zeros((len(rows), length), np.int64)
  where = np.zeros((len(rows), length), bool)
  for i, row in enumerate(rows):
    padded[i, : len(row)], where[i, : len(row)] = row, True
  return padded, where


def random_rows(seed):
  rng = np.random.default_rng(seed)
  return [
    rng.integers(0, 3, rng.integers(0, 5)).tolist()
    for _ in range(rng.integers(1, 30))
  ]


@pytest.mark.parametrize("rows", [ROWS, [[]], *map(random_rows, range(20))])
def test_nodes_are_the_distinct_prefixes(rows):
  tree = prefix_tree.build(*pad(rows))
  prefix_of = {}
  for row, nodes in zip(rows, tree.nodes, strict=True):
    assert (nodes[len(row) :] == -1).all()
    for t in range(len(row)):
      prefix = tuple(row[: t + 1])
      node = int(nodes[t])
      assert prefix_of.setdefault(node, prefix) == prefix
      assert tree.values[node] == row[t]
      assert tree.depths[node] == t
      assert tree.parents[node] == (nodes[t - 1] if t else -1)
  assert len(tree) == len(prefix_of) == len(set(prefix_of.values()))
  for node, prefix in prefix_of.items():
    under = {
      other
      for other, longer in prefix_of.items()
      if longer[: len(prefix)] == prefix
    }
    assert under == set(range(node, tree.ends[node]))
