import collections

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.models import tokenizer
from instructrec.training import batches, loop, token_dataset
from instructrec.training import ragged as ragged_lib


def dataset(name, count, seed=0, longest=9):
  rng = np.random.default_rng(seed)

  def ragged():
    lengths = rng.integers(1, longest + 1, count)
    tokens = rng.integers(2, 100, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], lengths.cumsum()])
    tokens[offsets[1:] - 1] = tokenizer.EOS_ID
    return ragged_lib.Ragged(tokens, offsets)

  return token_dataset.TokenDataset(
    name, ragged(), ragged(), None, pl.DataFrame(), {}
  )


def stream(*, sizes=(300, 50), rates=(3.0, 1.0), **changes):
  names = [f"task{i}" for i in range(len(sizes))]
  settings_ = {
    "datasets": {
      n: dataset(n, s, i)
      for i, (n, s) in enumerate(zip(names, sizes, strict=True))
    },
    "rates": (
      rates if isinstance(rates, dict) else dict(zip(names, rates, strict=True))
    ),
    "batch_size": 8,
    "inputs_length": 12,
    "targets_length": 12,
    "seed": 3,
    **changes,
  }
  return batches.BatchStream(**settings_)


def assert_same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("pack", [False, True])
def test_a_batch_is_a_function_of_seed_and_step(pack, joined):
  forwards = stream(pack=pack, joined=joined)
  expected = [forwards.batch(step) for step in range(30)]
  # A fresh stream that jumps straight to a step gives the same batch.
  for step in (29, 7, 0):
    found = stream(pack=pack, joined=joined).batch(step)
    assert_same(found, expected[step])
  other = stream(pack=pack, joined=joined, seed=4).batch(7)
  assert not np.array_equal(
    other["decoder_input_tokens"], expected[7]["decoder_input_tokens"]
  )


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [6, 7], [0, 3, 5], [4]])
def test_some_rows_of_a_batch_are_those_of_the_whole(pack, rows, joined):
  whole = stream(pack=pack, joined=joined).batch(5)
  part = stream(pack=pack, joined=joined).batch(5, np.array(rows))
  assert_same(part, {name: array[rows] for name, array in whole.items()})


def test_each_epoch_of_a_task_has_every_example_once():
  one = stream(sizes=(40,), rates=(1.0,), batch_size=8)
  drawn = [e for s in range(15) for row in one.examples(s) for _, e in row]
  for epoch in range(3):
    assert sorted(drawn[epoch * 40 : (epoch + 1) * 40]) == list(range(40))
  assert drawn[:40] != drawn[40:80]


def test_rates_are_exact_over_a_block():
  mixed = stream(batch_size=4096)
  counts = collections.Counter(row[0][0] for row in mixed.examples(2))
  assert counts == {"task0": 3072, "task1": 1024}


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
  rates=st.lists(st.floats(0.01, 10), min_size=1, max_size=5),
)
def test_apportioned_counts_fill_the_block(rates):
  made = stream(sizes=(5,) * len(rates), rates=rates)
  counts = made._order.block_counts
  exact = np.array(rates) / sum(rates) * counts.sum()
  assert counts.sum() == 4096
  assert np.abs(counts - exact).max() < 1


def test_packed_rows_hold_whole_examples_and_lose_none():
  packed = stream(pack=True, batch_size=64)
  plain = stream(pack=False)
  rows = packed._order.block_rows(0)
  assert sorted(p for row in rows for p in row) == list(range(4096))
  assert len(rows) < 0.75 * 4096
  batch = packed.batch(0)
  for row, pairs in enumerate(packed.examples(0)):
    for segment, (name, example) in enumerate(pairs, start=1):
      for side, source, tokens in (
        ("encoder", "encoder_input_tokens", "inputs"),
        ("decoder", "decoder_target_tokens", "targets"),
      ):
        where = batch[f"{side}_segment_ids"][row] == segment
        ragged = getattr(plain.datasets[name], tokens)
        np.testing.assert_array_equal(
          batch[source][row][where],
          ragged.tokens[ragged.offsets[example] : ragged.offsets[example + 1]],
        )
        np.testing.assert_array_equal(
          batch[f"{side}_positions"][row][where], np.arange(where.sum())
        )
  # Decoder inputs start anew in each segment.
  starts = (batch["decoder_positions"] == 0) & (
    batch["decoder_segment_ids"] > 0
  )
  assert (batch["decoder_input_tokens"][starts] == 0).all()


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("only", [False, True])
def test_joined_rows_spell_prompt_and_answer(pack, only):
  joined = stream(
    joined=True, pack=pack, loss_on_targets_only=only, batch_size=64
  )
  batch = joined.batch(0)
  assert {array.shape for array in batch.values()} == {(64, 24)}
  segments = batch.get("decoder_segment_ids")
  for row, pairs in enumerate(joined.examples(0)):
    assert pack or len(pairs) == 1
    for segment, (name, example) in enumerate(pairs, start=1):
      where = batch["decoder_target_tokens"][row] > 0
      if segments is not None:
        where = segments[row] == segment
      parts = [
        ragged.tokens[ragged.offsets[example] : ragged.offsets[example + 1]]
        for ragged in (
          joined.datasets[name].inputs,
          joined.datasets[name].targets,
        )
      ]
      whole = np.concatenate(parts)
      inputs, targets, weights = (
        batch[f"decoder_{part}"][row][where]
        for part in ("input_tokens", "target_tokens", "loss_weights")
      )
      np.testing.assert_array_equal(inputs, whole[:-1])
      np.testing.assert_array_equal(targets, whole[1:])
      learnt = np.arange(1, len(whole)) >= len(parts[0])
      np.testing.assert_array_equal(weights, learnt if only else learnt | True)
  # As many tokens as there are, and padding has no weight.
  assert not batch["decoder_loss_weights"][
    batch["decoder_target_tokens"] == 0
  ].any()


def test_packed_rows_of_one_sequence_are_fuller():
  """An answer may use the room that its prompt leaves."""
  apart, joined = (stream(pack=True, joined=j) for j in (False, True))
  assert len(joined._order.block_rows(0)) < len(apart._order.block_rows(0))
  rows = joined._order.block_rows(0)
  assert sorted(p for row in rows for p in row) == list(range(4096))

  def tokens(name, example):
    data = joined.datasets[name]
    return data.inputs.lengths[example] + data.targets.lengths[example] - 1

  packed = map(joined._order.row, range(len(rows)))
  assert max(sum(tokens(*pair) for pair in row) for row in packed) <= 24


def test_prompts_are_learnt_in_joined_rows_only():
  with pytest.raises(ValueError, match="loss_on_targets_only is False, but"):
    stream(loss_on_targets_only=False)


def test_longer_targets_are_cut():
  made = stream(targets_length=4)
  assert made.batch(0)["decoder_target_tokens"].shape == (8, 4)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rates": {"task0": 1.0}}, "one rate a task"),
    ({"rates": {"task0": 1.0, "task1": 0.0}}, "rate of task1 is 0"),
    (
      {"rates": {"task0": 1.0, "task1": 1e-5}},
      "rate of task1 is 1.0e-05 .* never be trained on",
    ),
  ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    stream(**changes)


def test_list_batches_keep_candidates_apart_and_pad_short_lists():
  data = dataset("lists", 5)
  lists = token_dataset.TokenDataset(
    "lists/test",
    ragged_lib.Ragged(data.inputs.tokens, data.inputs.offsets[:3]),
    data.targets,
    np.array([0, 2, 5]),
    pl.DataFrame(),
    {},
  )
  batch = batches.list_batch(
    lists,
    np.array([1, 0]),
    inputs_length=10,
    targets_length=9,
    num_candidates=3,
  )
  assert batch["decoder_target_tokens"].shape == (2, 3, 9)
  expected = data.targets.pad(np.array([2, 3, 4]), 9)
  np.testing.assert_array_equal(batch["decoder_target_tokens"][0], expected)
  assert batch["decoder_loss_weights"][1, 2].sum() == 0
  np.testing.assert_array_equal(
    batch["decoder_input_tokens"][..., 1:],
    batch["decoder_target_tokens"][..., :-1],
  )
  with pytest.raises(ValueError, match="a list of 3 candidates"):
    batches.list_batch(
      lists,
      np.array([1]),
      inputs_length=10,
      targets_length=9,
      num_candidates=2,
    )


def test_what_is_made_ahead_comes_in_order():
  made = []

  def make(step):
    made.append(step)
    return 10 * step

  found = loop.ahead(make, range(3, 7))
  assert next(found) == 30
  assert list(found) == [40, 50, 60]
  assert made == [3, 4, 5, 6]
  assert list(loop.ahead(make, range(2, 2))) == []


def test_what_cannot_be_made_is_an_error_where_it_is_needed():
  found = loop.ahead(lambda step: 1 // (2 - step), range(1, 4))
  assert next(found) == 1
  with pytest.raises(ZeroDivisionError):
    next(found)
