"""Lengths of the features of `_items` tasks."""

import pytest

from instructrec.training import data_config


def test_lengths_are_those_of_the_arrays():
  sizes = {"history_length": 5, "title_length": 4, "num_drawn": 7}
  found = data_config.feature_lengths(inputs=60, targets=24, **sizes)
  assert found == {
    "inputs": 60,
    "targets": 24,
    "history": (5, 4),
    "choices": (8, 4),
  }
  shapes = data_config.DataConfig(
    mixture="some", inputs_length=60, targets_length=24, batch_size=1, **sizes
  ).shapes(1)
  assert shapes["history_tokens"][1:] == found["history"]
  assert shapes["choice_tokens"][1:] == found["choices"]


def test_what_is_not_asked_for_has_no_length():
  plain = {"inputs": 60, "targets": 24}
  assert data_config.feature_lengths(**plain) == plain
  assert data_config.feature_lengths(**plain, num_drawn=2) == {
    **plain,
    "choices": (3, 24),
  }


def test_lists_are_whole():
  found = data_config.feature_lengths(
    inputs=60, targets=24, title_length=4, num_drawn=7, num_candidates=10
  )
  assert found == {"inputs": 60, "targets": (10, 24), "choices": (10, 4)}


@pytest.mark.parametrize("value", [None, "64", -1])
def test_a_length_that_is_no_number_is_named(value):
  with pytest.raises(ValueError, match=f"targets_length is {value}, expected"):
    data_config.DataConfig(mixture="some", batch_size=1, targets_length=value)


def test_what_is_longer_is_left_out_where_a_length_is_given():
  sizes = {"mixture": "some", "batch_size": 1, "leave_out_longer": True}
  assert data_config.DataConfig(targets_length=8, **sizes).leave_out_longer
  with pytest.raises(ValueError, match="set targets_length"):
    data_config.DataConfig(**sizes)
