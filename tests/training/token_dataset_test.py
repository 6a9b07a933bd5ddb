import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.training import ragged as ragged_lib
from instructrec.training import token_dataset


def make(rows, targets, lists=None, name="toy/train"):
  def ragged(values):
    offsets = np.cumsum([0, *map(len, values)])
    return ragged_lib.Ragged(
      np.array([t for row in values for t in row], np.int32), offsets
    )

  return token_dataset.TokenDataset(
    name=name,
    inputs=ragged(rows),
    targets=ragged(targets),
    lists=lists,
    columns=pl.DataFrame({"request_id": [str(i) for i in range(len(rows))]}),
    meta={"fingerprint": "f"},
  )


def test_pad_gathers_rows_and_cuts_with_eos_at_the_end():
  data = make([[5, 6, 1], [7, 1], [2, 3, 4, 8, 1]], [[1]] * 3)
  padded = data.inputs.pad(np.array([2, 0, 1]), 4)
  np.testing.assert_array_equal(
    padded, [[2, 3, 4, 1], [5, 6, 1, 0], [7, 1, 0, 0]]
  )
  assert padded.dtype == np.int32


def test_rows_are_taken_in_any_order_and_however_often():
  rows = [[5, 6, 1], [], [7, 1], [8, 9, 10, 1]]
  offsets = np.concatenate([[0], [len(row) for row in rows]]).cumsum()
  tokens = np.array([t for row in rows for t in row], np.int32)
  ragged = ragged_lib.Ragged(tokens, offsets)
  for wanted in ([3, 0, 3, 1], [1], [], [2, 1, 1, 0]):
    found = ragged.take(np.array(wanted, np.int64))
    assert found.lengths.tolist() == [len(rows[i]) for i in wanted]
    assert found.tokens.tolist() == [t for i in wanted for t in rows[i]]


def test_save_and_load_give_the_same_data(tmp_path):
  lists = np.array([0, 2, 3])
  data = make([[5, 1], [6, 7, 1]], [[8, 1], [9, 1], [3, 4, 1]], lists)
  data.save(tmp_path)
  again = token_dataset.TokenDataset.load(tmp_path)
  assert again.name == "toy/train"
  np.testing.assert_array_equal(again.inputs.tokens, data.inputs.tokens)
  np.testing.assert_array_equal(again.targets.offsets, data.targets.offsets)
  np.testing.assert_array_equal(again.num_candidates, [2, 1])
  assert again.columns.equals(data.columns)
  assert again.meta["fingerprint"] == "f"


def test_single_targets_have_no_candidates():
  with pytest.raises(ValueError, match="end in _rerank"):
    _ = make([[1]], [[1]]).num_candidates


def test_another_format_version_is_refused(tmp_path):
  make([[1]], [[1]]).save(tmp_path)
  meta = json.loads((tmp_path / "meta.json").read_text())
  (tmp_path / "meta.json").write_text(
    json.dumps({**meta, "format_version": 99})
  )
  checksums.write(tmp_path)
  with pytest.raises(ValueError, match="has format_version 99, expected 3"):
    token_dataset.TokenDataset.load(tmp_path)


def test_examples_are_taken_with_their_lists():
  data = make(
    [[5, 1], [6, 1], [7, 1]],
    [[8, 1], [9, 1], [3, 1], [4, 1], [2, 1]],
    np.array([0, 2, 3, 5]),
  )
  found = data.taken(np.array([2, 0]))
  assert found.columns["request_id"].to_list() == ["2", "0"]
  np.testing.assert_array_equal(found.lists, [0, 2, 4])
  np.testing.assert_array_equal(
    found.pad_lists(np.array([0, 1]), 2, 2),
    [[[4, 1], [2, 1]], [[8, 1], [9, 1]]],
  )


def with_forms(forms):
  data = make([[5, 1], [6, 1], [7, 1]], [[8, 1], [9, 1], [3, 1]])
  return dataclasses.replace(data, columns=pl.DataFrame({"task_form": forms}))


def test_examples_of_some_forms():
  found = with_forms(["T2", "T3", "T2"]).of_forms(("T2",))
  assert len(found) == 2
  np.testing.assert_array_equal(
    found.inputs.pad(np.arange(2), 2), [[5, 1], [7, 1]]
  )
  with pytest.raises(ValueError, match=r"forms \['T3'\], none of \['T2'\]"):
    with_forms(["T3"] * 3).of_forms(("T2",))


def test_examples_with_short_responses():
  data = make([[5, 1], [6, 1], [7, 1]], [[8, 1], [9, 9, 9, 1], [3, 3, 1]])
  found = data.of_length(3)
  np.testing.assert_array_equal(
    found.targets.pad(np.arange(2), 3), [[8, 1, 0], [3, 3, 1]]
  )
  np.testing.assert_array_equal(
    found.inputs.pad(np.arange(2), 2), [[5, 1], [7, 1]]
  )
  assert data.of_length(4) is data
  with pytest.raises(ValueError, match="of 2 tokens and more, none of 1 or"):
    data.of_length(1)


def test_wishes_are_exchanged_one_an_example():
  data = make([[5, 1], [6, 1]], [[8, 1], [9, 1]])
  prompts = ragged_lib.Ragged.of([[3, 1], [4, 4, 1]])
  found = data.with_wishes(prompts, ["a", ""])
  assert found.columns["wish_text"].to_list() == ["a", ""]
  assert found.prompts is prompts
  with pytest.raises(ValueError, match="1 prompts and 1 wishes"):
    data.with_wishes(ragged_lib.Ragged.of([[1]]), ["a"])
