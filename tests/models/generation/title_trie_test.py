"""Properties of the trie of titles."""

import numpy as np
import pytest

from instructrec.models.generation import title_trie

TITLES = [[4, 9, 1], [4, 1], [4, 9, 1], [8, 3, 3, 1], [4, 9]]


def test_walks_spell_the_titles():
  trie = title_trie.TitleTrie.build(TITLES)
  spelled = {0: ()}
  frontier = np.array([0])
  while len(frontier):
    children, owner = trie.expand(frontier)
    for child, parent in zip(children, frontier[owner], strict=True):
      spelled[child] = (*spelled[parent], int(trie.tokens[child]))
      assert trie.depths[child] == len(spelled[child])
    frontier = children
  prefixes = {tuple(t[:n]) for t in TITLES for n in range(len(t) + 1)}
  assert len(trie) == len(spelled) == len(prefixes)
  assert set(spelled.values()) == prefixes
  assert [spelled[leaf] for leaf in trie.leaves] == [tuple(t) for t in TITLES]
  for node, prefix in spelled.items():
    assert trie.longest[node] == max(
      len(t) for t in TITLES if tuple(t[: len(prefix)]) == prefix
    )


@pytest.mark.parametrize("titles", [[], [[4, 1], []]])
def test_empty_titles_are_named(titles):
  with pytest.raises(ValueError, match="expected at least one title"):
    title_trie.TitleTrie.build(titles)
