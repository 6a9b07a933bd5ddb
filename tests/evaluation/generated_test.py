"""Lists that a model wrote: ranks, and what is wrong with them."""

import numpy as np
import pytest

from instructrec.evaluation import generated, metrics

_INVALID, _EMPTY = generated.INVALID, generated.EMPTY
_LISTS = np.array(
  [
    [3, 1, 4, 0],  # The target second.
    [2, 2, 1, 2],  # One item three times; the target behind it.
    [_INVALID, 1, _INVALID, 5],  # Two texts that are no titles.
    [0, 1, _EMPTY, _EMPTY],  # Fewer than asked for, and no target.
    [_EMPTY] * 4,
  ]
)
_TARGETS = np.array([1, 1, 5, 4, 2])
_HISTORY = [[3, 4], [2], [0], [0, 1], []]


@pytest.fixture(name="written")
def written_fixture():
  return generated.Written(_LISTS)


def test_every_place_counts_also_what_repeats_and_what_is_no_title(written):
  ranks = written.ranks(_TARGETS, num_items=6)
  assert ranks.greater.tolist() == [1, 2, 3, 5, 5]
  found = metrics.from_ranks(
    ranks.greater, ranks.equal, ["HR@2", "HR@4", "NDCG@4"]
  )
  assert found["HR@2"].tolist() == [1, 0, 0, 0, 0]
  assert found["HR@4"].tolist() == [1, 1, 1, 0, 0]
  np.testing.assert_allclose(
    found["NDCG@4"], [1 / np.log2(3), 0.5, 1 / np.log2(5), 0, 0]
  )


def test_shares_of_what_is_wrong(written):
  rates = written.rates(_HISTORY)
  assert {name: row.tolist() for name, row in rates.items()} == {
    "invalid": [0, 0, 0.5, 0, 0],
    "repeated": [0, 0.5, 0, 0, 0],
    "in history": [0.5, 0.75, 0, 0.5, 0],
    "short": [0, 0, 0, 1, 1],
  }


def test_recall_is_of_the_others_items_each_once(written):
  exact = generated.Written(
    np.array(
      [[1, 3, 0, 5], [2, 1, 0, 5], [5, 1, 2, 3], [0, 1, 2, 3], [_EMPTY] * 4]
    )
  )
  np.testing.assert_allclose(written.recall(exact), [0.75, 0.5, 0.5, 0.5, 1.0])
  np.testing.assert_allclose(written.recall(written), 1.0)


def test_a_target_that_is_written_twice_has_the_first_place():
  written = generated.Written(np.array([[0, 2, 2]]))
  assert written.ranks(np.array([2]), num_items=3).greater.tolist() == [1]


def test_the_table_names_methods_and_shares(written):
  lines = "\n".join(
    generated.section(
      "toys", {"beam": written}, _HISTORY, exact={"beam": written}
    )
  )
  assert "## Written lists: toys" in lines
  (row,) = (line for line in lines.splitlines() if line.startswith("| beam"))
  cells = [cell.split()[0] for cell in row.strip("| ").split(" | ")[1:]]
  assert cells == ["0.1000", "0.1000", "0.3500", "0.4000", "1.0000"]
