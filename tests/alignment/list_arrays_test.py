"""What batches say of lists is what their rows say."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from instructrec.alignment import list_arrays
from instructrec.data.catalog import Catalog
from instructrec.evaluation.control import Direction
from instructrec.training import batches, ragged, token_dataset

# Of 24 items every second is a game.
ITEMS = Catalog(
  pl.DataFrame(
    {
      "item_id": [f"i{i}" for i in range(24)],
      "title": [f"Thing number {chr(97 + i)}" for i in range(24)],
      "categories": [["Games"] if i % 2 == 0 else ["Kites"] for i in range(24)],
    }
  )
)


def _tokens(rows):
  offsets = np.concatenate([[0], [len(row) for row in rows]]).cumsum()
  return ragged.Ragged(np.concatenate(rows).astype(np.int32), offsets)


def _dataset(name, rows):
  """Rows of (constraints, k, history, next, teacher), items by place."""
  asked, k, history, wanted, teacher = zip(*rows, strict=True)
  texts = _tokens([[5 + i, 1] for i in range(len(rows))])
  return token_dataset.TokenDataset(
    name=name,
    inputs=texts,
    targets=texts,
    lists=None,
    columns=pl.DataFrame(
      {
        "constraints": pl.Series([*asked], dtype=pl.List(pl.String)),
        "k": [*k],
        "history_ids": [[f"i{i}" for i in row] for row in history],
        "next_id": [f"i{i}" for i in wanted],
        "teacher_ids": [[f"i{i}" for i in row] for row in teacher],
      }
    ),
    meta={},
  )


WANTED = _dataset(
  "wanted",
  [
    (["wanted category:games"], 3, [0, 1, 2], 5, [5, 4, 7]),
    (["unwanted category:games"], 10, [3], 6, [8, 9]),
  ],
)
PLAIN = _dataset("plain", [([], 2, [23], 0, [1])])
SHARE = _dataset(
  "share", [(["at_most 30% category:games"], 10, [4, 6], 7, [0, 2])]
)
DATASETS = {"wanted": WANTED, "plain": PLAIN, "share": SHARE}


@pytest.fixture(scope="module", name="source")
def source_fixture():
  return list_arrays.ListArrays.of(ITEMS, DATASETS, 10)


def test_the_arrays_are_those_of_the_rows(source):
  found = source(WANTED, np.array([1, 0]))
  # Numbers count from 1; the longest history and list of all tasks are three.
  assert found["list_history"].tolist() == [[4, 0, 0], [1, 2, 3]]
  assert found["list_teacher"].tolist() == [[9, 10, 0], [6, 5, 8]]
  assert found["list_targets"].tolist() == [7, 6]
  assert found["list_sizes"].tolist() == [10, 3]
  # Twelve games; a history has none and a kite, the other two and a kite.
  assert found["list_wishes"].tolist() == [
    [Direction.UNWANTED, 0, 12, 11],
    [Direction.WANTED, 0, 10, 11],
  ]
  games = np.arange(24) % 2 == 0
  np.testing.assert_array_equal(found["list_has"], [games, games])
  assert source(SHARE, np.array([0]))["list_wishes"].tolist() == [
    [Direction.AT_MOST, 3, 10, 12]
  ]


def test_batches_have_them_beside_the_tokens_of_their_rows(source):
  stream = batches.BatchStream(
    datasets=DATASETS,
    rates=dict.fromkeys(DATASETS, 1.0),
    batch_size=6,
    inputs_length=4,
    targets_length=4,
    seed=0,
    lists=source,
  )
  seen, keys = set(), set()
  for step in range(2):
    batch = stream.batch(step)
    keys |= set(map(tuple, batch["list_keys"].tolist()))
    some = np.array([4, 1])
    part = stream.batch(step, some)
    for name, array in batch.items():
      np.testing.assert_array_equal(part[name], array[some])
    for row, ((name, example),) in enumerate(stream.examples(step)):
      expected = source(DATASETS[name], np.array([example]))
      for key, (value,) in expected.items():
        np.testing.assert_array_equal(batch[key][row], value)
      assert batch["encoder_input_tokens"][row, 0] == 5 + example
      seen.add(name)
  assert seen == set(DATASETS)
  # One a row and step, in whichever process.
  assert len(keys) == 12
  assert stream.identity["lists"] == source.identity
  with pytest.raises(ValueError, match="cannot hold items"):
    dataclasses.replace(stream, pack=True)


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ([([], 0, [1], 2, [3])], "asks for 0 to 0 titles, expected 1 to 10"),
    ([([], 12, [1], 2, [3])], "asks for 12 to 12 titles"),
    ([([], 3, [1], 2, [])], "is about no user"),
  ],
)
def test_rows_that_no_list_can_be_drawn_for_are_refused(rows, message):
  with pytest.raises(ValueError, match=message):
    list_arrays.ListArrays.of(ITEMS, {"odd": _dataset("odd", rows)}, 10)


def test_rows_that_are_longer_than_the_widths_are_refused(source):
  narrow = dataclasses.replace(source, history_length=2)
  with pytest.raises(ValueError, match=r"has 3 items, .* room for 2"):
    narrow(WANTED, np.array([0]))


def test_rows_of_other_tasks_are_refused():
  other = dataclasses.replace(PLAIN, columns=PLAIN.columns.drop("teacher_ids"))
  with pytest.raises(ValueError, match="other lacks teacher_ids"):
    list_arrays.ListArrays.of(ITEMS, {"other": other}, 10)
