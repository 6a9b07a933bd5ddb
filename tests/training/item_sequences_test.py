"""Users' sequences of items, out of the rows of several tasks."""

import numpy as np
import polars as pl
import pytest

from instructrec.training import ragged as ragged_lib
from instructrec.training import sequences, token_dataset


def ragged(rows):
  lengths = [len(row) for row in rows]
  flat = np.array([x for row in rows for x in row], np.int32)
  return ragged_lib.Ragged(flat, np.concatenate([[0], lengths]).cumsum())


def dataset(rows):
  """Rows of (user, place, history, target)."""
  texts = ragged([[5, 1]] * len(rows))
  return token_dataset.TokenDataset(
    "some",
    texts,
    texts,
    None,
    pl.DataFrame(
      {
        "user_id": [user for user, *_ in rows],
        "request_id": [f"train-{user}-{place}" for user, place, *_ in rows],
      }
    ),
    {},
    prompts=texts,
    history=ragged([history for *_, history, _ in rows]),
    target_items=np.array([target for *_, target in rows], np.int32),
  )


def test_a_user_has_the_longest_sequence_and_of_those_the_newest():
  first = dataset(
    [
      ("b", 2, [1, 2], 3),
      ("b", 12, [3, 4], 5),
      ("a", 3, [7, 8, 9], 0),
      ("c", 1, [], 6),
    ]
  )
  second = dataset(
    [
      ("b", 9, [2, 3], 4),
      ("a", 2, [7, 8], 9),
      ("a", 1, [7], 8),
      ("d", 4, [1, 2, 3, 4], 5),
    ]
  )
  for given in ([first, second], [second, first]):
    found = sequences.item_sequences(given)
    assert [sequence.tolist() for sequence in found][1:] == [
      [3, 4, 5],
      [1, 2, 3, 4, 5],
    ]
    assert found[0].tolist() == [7, 8, 9]
    assert all(sequence.dtype == np.int32 for sequence in found)


def test_rows_without_items_are_named():
  texts = ragged([[5, 1]])
  old = token_dataset.TokenDataset(
    "old", texts, texts, None, pl.DataFrame(), {}
  )
  with pytest.raises(ValueError, match="old has no prompts, histories"):
    sequences.item_sequences([old])
