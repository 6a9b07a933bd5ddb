"""Lists of a teacher: the good ones obey, the others are worse."""

import numpy as np

from instructrec.alignment import rewards, taught_lists
from instructrec.evaluation import control
from instructrec.evaluation.control import Direction
from instructrec.instructions import title_list
from instructrec.models.generation import catalog_trie, list_policy

EOS, SEPARATORS = 1, (11, 10)
TITLES = [[4, 1], [4, 5, 1], [6, 7, 1], [6, 8, 8, 1], [9, 1], [8, 1]]
# Items 1, 3 and 5 have it; of three, two are wanted, none, at most one, all.
BEST = np.array([[5, 2, 3, 4, 1, 6]] * 4 + [[5, 2, 0, 0, 0, 0]], np.int32)
HAS = np.isin(BEST, (1, 3, 5))
K = np.array([3, 3, 3, 2, 3], np.int32)
WISH = control.Wish(
  np.array(
    [
      Direction.ABOUT,
      Direction.UNWANTED,
      Direction.AT_MOST,
      Direction.WANTED,
      Direction.WANTED,
    ]
  ),
  np.array([2, 0, 1, 0, 0]),
  np.full(5, 3),
  np.full(5, 3),
)
LISTS = np.array(
  [
    [[5, 2, 3], [5, 2, 4], [6, 1, 3], [3, 2, 5]],
    [[2, 4, 6], [5, 3, 1], [6, 4, 2], [6, 4, 2]],
    [[5, 2, 4], [5, 2, 3], [6, 1, 4], [4, 2, 5]],
    [[5, 3, 0], [2, 4, 0], [1, 3, 0], [3, 5, 0]],
    # The teacher has too few.
    [[0, 0, 0]] * 4,
  ]
)


def test_the_lists_by_hand():
  found = taught_lists.items(BEST, HAS, K, WISH, 3)
  np.testing.assert_array_equal(found, LISTS)


def test_the_first_list_is_worth_the_most():
  items = LISTS[:4] - 1
  items = np.where(items < 0, -2, items)
  ranks = np.argmax(BEST[:4, None, None] == LISTS[:4, ..., None], axis=-1)
  found = rewards.rewards(
    rewards.Shown(items, np.isin(LISTS[:4], (1, 3, 5)), ranks),
    rewards.Asked(
      K[:4, None],
      np.full((4, 1), -1),
      np.full((4, 1, 1), -1),
      control.Wish(*(x[:4, None] for x in WISH)),
    ),
  ).lists
  assert (found[:, :1] > found[:, 1:]).all(), found


def test_tokens_are_those_of_titles_in_their_order():
  trie = catalog_trie.CatalogTrie.build(TITLES, eos_id=EOS, vocab_size=12)
  policy = list_policy.ListPolicy(separator_ids=SEPARATORS, max_items=3)
  found = taught_lists.tokens(LISTS[:, :2], trie, policy)
  assert found.shape == (5, 2, policy.length(trie))
  for row, lists in enumerate(LISTS[:, :2]):
    for place, items in enumerate(lists):
      expected = title_list.join_tokens(
        [TITLES[item - 1] for item in items[items > 0]],
        separator_ids=SEPARATORS,
        eos_id=EOS,
      )
      expected *= bool((items > 0).any())
      expected += [0] * (found.shape[-1] - len(expected))
      assert found[row, place].tolist() == expected
