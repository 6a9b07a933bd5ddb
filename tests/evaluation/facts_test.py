import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import facts

KNOWN = facts.Facts(
  targets=["b", "z"],
  candidates=[["a", "b", "c"], ["z", "a"]],
  target_counts=np.array([4, 0]),
  history_lengths=np.array([2, 0]),
)
LENGTHS = np.array([3, 2])


def test_positions_are_those_of_the_targets():
  assert KNOWN.positions.tolist() == [1, 0]
  KNOWN.check("g", LENGTHS)
  whole = dataclasses.replace(KNOWN, candidates=None)
  whole.check("g", np.array([9, 9]))
  assert whole.positions is None


def test_columns_know_a_set_of_candidates_by_its_ids_alone():
  turned = dataclasses.replace(
    KNOWN, candidates=[["c", "b", "a"], ["z", "b"]]
  ).columns()
  columns = KNOWN.columns()
  assert columns["candidates"][0] == turned["candidates"][0]
  assert columns["candidates"][1] != turned["candidates"][1]
  assert columns["target_position"].to_list() == [1, 0]
  assert turned["target_position"].to_list() == [1, 0]
  whole = dataclasses.replace(KNOWN, candidates=None).columns()
  assert whole["candidates"].to_list() == [None, None]
  assert whole["target_position"].to_list() == [None, None]
  assert whole["target_count"].to_list() == [4, 0]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"targets": ["b"]}, "g: targets are of 1 requests, expected 2"),
    ({"target_counts": np.zeros(3, int)}, "target_counts are of 3"),
    ({"candidates": [["a", "b"], ["z", "a"]]}, "request 0 has the 2 cand"),
    ({"candidates": [["a", "b", "b"], ["z", "a"]]}, "expected 3 different"),
    ({"targets": ["b", "q"]}, "the target 'q' of request 1 is not among"),
  ],
)
def test_facts_of_other_requests_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(KNOWN, **changes).check("g", LENGTHS)
