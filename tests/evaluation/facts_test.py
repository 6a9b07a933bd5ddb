import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import facts


def facts_of(candidates, targets=("b", "z")):
  return facts.Facts.of(
    targets=targets,
    candidates=candidates,
    target_counts=np.array([4, 0]),
    history_lengths=np.array([2, 0]),
  )


KNOWN = facts_of([["a", "b", "c"], ["z", "a"]])
WHOLE = facts_of(None)
LENGTHS = np.array([3, 2])


def test_positions_are_those_of_the_targets():
  assert KNOWN.positions.tolist() == [1, 0]
  KNOWN.check("g", LENGTHS)
  WHOLE.check("g", np.array([9, 9]))
  assert WHOLE.positions is None


def test_columns_know_a_set_of_candidates_by_its_ids_alone():
  turned = facts_of([["c", "b", "a"], ["z", "b"]]).columns()
  columns = KNOWN.columns()
  assert columns["candidates"][0] == turned["candidates"][0]
  assert columns["candidates"][1] != turned["candidates"][1]
  assert columns["target_position"].to_list() == [1, 0]
  assert turned["target_position"].to_list() == [1, 0]
  whole = WHOLE.columns()
  assert whole["candidates"].to_list() == [None, None]
  assert whole["target_position"].to_list() == [None, None]
  assert whole["target_count"].to_list() == [4, 0]


def test_a_list_may_lack_the_target():
  known = facts_of([["a", "b", "c"], ["z", "a"]], targets=["b", "q"])
  known.check("g", LENGTHS)
  assert known.positions.tolist() == [1, -1]
  assert known.columns()["target_position"].to_list() == [1, None]


def test_blocks_of_requests_are_put_together_and_taken_apart():
  both = facts.concatenate([KNOWN, KNOWN])
  both.check("g", np.tile(LENGTHS, 2))
  assert both.positions.tolist() == [1, 0, 1, 0]
  last = both.take(np.array([False, False, True, True]))
  for name, column in KNOWN.columns().items():
    assert last.columns()[name].to_list() == column.to_list()
  assert facts.concatenate([WHOLE, WHOLE]).lists is None
  assert WHOLE.take(np.array([True, False])).targets == ["b"]
  with pytest.raises(ValueError, match="1 of 2 parts have candidate lists"):
    facts.concatenate([KNOWN, WHOLE])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"targets": ["b"]}, "g: targets are of 1 requests, expected 2"),
    ({"target_counts": np.zeros(3, int)}, "target_counts are of 3"),
    ({"lists": KNOWN.lists.take(np.array([True, False]))}, "lists are of 1"),
    (
      {"lists": facts_of([["a", "b", "c"], ["z"]]).lists},
      "g: request 1 has 1 candidates, expected 2",
    ),
  ],
)
def test_facts_of_other_requests_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(KNOWN, **changes).check("g", LENGTHS)


def test_no_list_names_an_item_twice():
  with pytest.raises(ValueError, match="request 1 has the 2 candidates"):
    facts_of([["a", "b"], ["z", "z"]])
