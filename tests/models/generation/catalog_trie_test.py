"""The tables of a catalogue: every prefix is the interval of its items."""

import re

import jax
import numpy as np
import pytest

from instructrec.models.generation import catalog_trie

CATALOGS = {
  # Titles that begin others, in no order.
  "prefixes": [
    [4, 9, 1],
    [30, 1],
    [4, 9, 8, 1],
    [4, 1],
    [7, 7, 7, 7, 1],
    [7, 7, 7, 3, 1],
    [4, 9, 8, 5, 2, 1],
  ],
  "alone": [[5, 4, 3, 1]],
  "two": [[2, 1], [3, 1]],
}


def build(titles, vocab_size=31, **settings):
  return catalog_trie.CatalogTrie.build(
    titles, eos_id=1, vocab_size=vocab_size, **settings
  )


def nodes(trie):
  """The tables read one by one: items below each prefix, and its children."""
  found = {}

  def visit(node, prefix, low, high):
    items = np.asarray(trie.leaf_items)[low:high]
    found[prefix] = (frozenset(items.tolist()), node)
    if node < 0:
      return
    first, last = trie.edge_starts[node], trie.edge_starts[node + 1]
    lows = [*trie.edge_lows[first:last].tolist(), high]
    for edge in range(first, last):
      token, place = int(trie.edge_tokens[edge]), edge - first
      child = int(trie.edge_nodes[edge])
      visit(child, (*prefix, token), lows[place], lows[place + 1])

  visit(0, (), 0, int(trie.num_items))
  return found


@pytest.mark.parametrize("name", [*CATALOGS, "drawn"])
def test_every_prefix_is_the_interval_of_its_items(name, catalogs):
  titles = CATALOGS.get(name) or catalogs.titles(300)
  found = nodes(build(titles))
  expected = {}
  for item, title in enumerate(titles, start=1):
    for length in range(len(title) + 1):
      expected.setdefault(tuple(title[:length]), set()).add(item)
  for prefix, items in expected.items():
    # Below a node with one item the title goes on by itself.
    if prefix and len(expected[prefix[:-1]]) == 1:
      assert prefix not in found
      continue
    below, node = found.pop(prefix)
    assert below == items, prefix
    assert (node >= 0) == (len(items) > 1 or not prefix), prefix
  assert not found


@pytest.mark.parametrize("name", [*CATALOGS, "drawn"])
def test_titles_come_back_as_they_were_given(name, catalogs):
  titles = CATALOGS.get(name) or catalogs.titles(300)
  trie = build(titles)
  numbers = np.arange(len(titles) + 1)
  rows = np.asarray(jax.jit(lambda t, n: t.sequences(n))(trie, numbers))
  assert rows.shape == (len(numbers), trie.max_length)
  assert trie.max_length % 8 == 0
  assert not rows[0].any()
  for title, row in zip(titles, rows[1:], strict=True):
    assert row[row > 0].tolist() == title
  leaves = np.asarray(trie.item_leaves)[: len(titles)]
  np.testing.assert_array_equal(
    trie.title_lengths(leaves), [len(title) for title in titles]
  )
  assert np.asarray(trie.leaf_items)[leaves].tolist() == [*numbers[1:]]


def test_no_nodes_of_one_depth_have_more_children_than_is_said(catalogs):
  """Compiled programs have room for so many."""
  trie = build(catalogs.titles(300))
  children = {}
  found = nodes(trie)
  for prefix in found:
    if prefix:
      depth = children.setdefault(len(prefix) - 1, {})
      depth[prefix[:-1]] = depth.get(prefix[:-1], 0) + 1
  for count in (1, 2, 3, 8, 300):
    most = max(
      sum(sorted(depth.values())[::-1][:count]) for depth in children.values()
    )
    assert most <= trie.width(count) <= max(8, 4 * most)


def shapes(trie):
  return jax.tree.map(np.shape, trie)


def test_sizes_are_rounded_up_so_that_few_more_items_change_none(catalogs):
  """What is compiled for one catalogue serves the next."""
  titles = catalogs.titles(700)
  known = build(titles[:610])
  # Shapes, and what is no table: all that a program knows of a catalogue.
  assert shapes(build(titles[:613])) == shapes(known)
  assert shapes(build(titles)) != shapes(known)
  assert known.leaf_items.shape == (640,)
  assert known.title_starts.shape == (641,)
  for size in (1, 7, 8, 9, 100, 1000, 12345, 10**6 + 1):
    rounded = catalog_trie._rounded(size)
    assert size <= rounded <= max(8, size * 9 / 8)
    # Few sizes are left of all there could be.
    assert len(f"{rounded:b}".rstrip("0")) <= 4


def test_shared_titles_are_told_with_their_items_and_their_share():
  titles = [[5, 1], [6, 1], [5, 1], [7, 1], [6, 1], [5, 1]]
  with pytest.raises(catalog_trie.SharedTitlesError) as found:
    build(titles, names=["Ball", "Bat", "ball", "Net", "bat", "BALL"])
  assert found.value.groups == ((1, 3, 6), (2, 5))
  assert found.value.rate == pytest.approx(5 / 6)
  assert "5 of 6 items (83.33%)" in str(found.value)
  assert "'Ball' and 'ball'; 'Bat' and 'bat'" in str(found.value)
  # A title that goes on is another one.
  assert build([[5, 1], [5, 5, 1]]).summary()["items_with_shared_titles"] == 0


@pytest.mark.parametrize(
  ("titles", "settings", "message"),
  [
    ([], {}, "the catalogue has no titles; expected at least one"),
    ([[5, 1], []], {}, "'B' has a title without tokens, one of 1"),
    ([[5, 1], [1], [1]], {}, "'B' has a title without tokens, one of 2"),
    ([[5, 1], [5]], {}, "'B' has the title [5]; expected tokens in [1, 31)"),
    ([[5, 1], [5, 1, 1]], {}, "'B' has the title [5, 1, 1]; expected"),
    ([[5, 1], [0, 1]], {}, "'B' has the title [0, 1]; expected"),
    ([[5, 1], [31, 1]], {}, "Titles of another vocabulary, or cut ones?"),
    (
      [[5, 1], [5, 6, 7, 1], [5, 6, 1]],
      {"most_tokens": 2},
      "'B' has a title of 4 tokens, one of 2 longer than the 2 that the model "
      "was trained to write; shorten them, or train with a larger "
      "TARGETS_LENGTH",
    ),
  ],
)
def test_what_is_no_catalogue_is_named(titles, settings, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    build(titles, names=["A", "B", "C"], **settings)
  if titles and "most_tokens" not in settings and "another" not in message:
    # Without names, by number.
    with pytest.raises(ValueError, match="item 2 has"):
      build(titles)


def test_figures_of_a_manifest():
  trie = build(CATALOGS["prefixes"])
  found = trie.summary()
  assert found["items"] == 7
  assert found["longest_title"] == 6
  assert found["bytes_per_item"] == round(trie.num_bytes / 7, 1)
  # Small tokens take two bytes, others four.
  assert trie.title_tokens.dtype == np.uint16
  assert build([[2**16, 1]], 2**17).title_tokens.dtype == np.int32
