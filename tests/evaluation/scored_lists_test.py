"""Lists on disk are the lists that were put there."""

import numpy as np
import pytest

from instructrec.evaluation import scored_lists


def part(first, lengths, methods=("a", "target")):
  rng = np.random.default_rng(first)
  lengths = np.asarray(lengths)
  return scored_lists.ScoredLists(
    request_ids=[f"r{first + i}" for i in range(len(lengths))],
    targets=["i0"] * len(lengths),
    candidates=[[f"i{j}" for j in range(length)] for length in lengths],
    scores={
      name: rng.normal(size=(len(lengths), lengths.max())) for name in methods
    },
  )


def assert_same(found, expected):
  assert found.request_ids == expected.request_ids
  assert found.targets == expected.targets
  assert found.candidates == expected.candidates
  assert list(found.scores) == list(expected.scores)
  for name, values in expected.scores.items():
    np.testing.assert_array_equal(found.scores[name], values)


PARTS = [part(0, [3, 2]), part(2, [5, 1, 4]), part(5, [2])]


def test_a_spool_gives_back_what_it_got_as_often_as_it_is_asked():
  spool = scored_lists.Spool()
  for one in PARTS:
    spool.append(one)
  for _ in range(2):
    for found, expected in zip(spool, PARTS, strict=True):
      assert_same(found, expected)


def test_a_spool_can_be_read_while_it_grows():
  spool = scored_lists.Spool()
  spool.append(PARTS[0])
  reading = iter(spool)
  assert_same(next(reading), PARTS[0])
  spool.append(PARTS[1])
  assert [len(found.request_ids) for found in spool] == [2, 3]


def test_a_selection_has_the_chosen_requests_alone():
  rows = np.array([True, False, False, True, True, False])
  first, second = scored_lists.Selection(PARTS, rows)
  assert first.request_ids == ["r0"]
  assert second.request_ids == ["r3", "r4"]
  assert second.candidates == PARTS[1].candidates[1:]
  # No wider than the longest list that is left.
  for name, values in PARTS[1].scores.items():
    np.testing.assert_array_equal(second.scores[name], values[1:, :4])


def test_all_lists_are_scored_by_the_same_methods():
  spool = scored_lists.Spool()
  spool.append(PARTS[0])
  with pytest.raises(ValueError, match=r"expected .* as those before"):
    spool.append(part(2, [3], methods=("a",)))
