"""Batches whose rows are alike in length."""

import collections
import dataclasses
import itertools

import copy_run
import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import t5
from instructrec.models.objectives import next_item
from instructrec.training import (
  batches,
  checkpoints,
  data_config,
  distributed,
  item_arrays,
  item_table,
  length_groups,
  ragged,
  runner,
  token_dataset,
  train_step,
)
from instructrec.training import trainer as trainer_lib

NUM_ITEMS, INPUTS, HISTORY, TITLE, DRAWN = 30, 32, 8, 3, 4


def dataset(name, count, seed):
  """Examples of a few tokens and items, and some of many."""
  rng = np.random.default_rng(seed)

  def rows(lengths, most):
    drawn = [rng.integers(3, most, n).tolist() for n in lengths]
    return ragged.Ragged.of(drawn)

  def lengths(most):
    return np.minimum(rng.geometric(3 / most, count), most + 4)

  return token_dataset.TokenDataset(
    name,
    rows(lengths(INPUTS), 60),
    rows(rng.integers(1, 6, count), 60),
    None,
    pl.DataFrame(),
    {"fingerprint": name},
    prompts=rows(lengths(INPUTS), 60),
    history=rows(lengths(HISTORY) - 1, NUM_ITEMS + 1),
    target_items=rng.integers(1, NUM_ITEMS + 1, count).astype(np.int32),
  )


def table():
  return item_table.ItemTable(
    item_ids=tuple(f"i{n}" for n in range(NUM_ITEMS)),
    titles=tuple(f"Item {n}" for n in range(NUM_ITEMS)),
    counts=np.random.default_rng(0).zipf(1.3, NUM_ITEMS).clip(0, 50),
    histories={0: 10, 3: 20, 8: 10},
    fingerprint="sha256:f",
  )


def items():
  tokens = np.random.default_rng(1).integers(2, 60, (NUM_ITEMS + 1, TITLE))
  tokens[0] = 0
  made = table()
  return item_arrays.ItemArrays(
    title_tokens=tokens.astype(np.int32),
    logs=made.logs(made.targets_per_row(HISTORY), DRAWN),
    shares=made.shares,
    history_length=HISTORY,
    num_drawn=DRAWN,
    fingerprint=made.fingerprint,
  )


def stream(**changes):
  return batches.BatchStream(
    **{
      "datasets": {f"task{i}": dataset(f"task{i}", 200, i) for i in range(2)},
      "rates": {"task0": 3.0, "task1": 1.0},
      "batch_size": 8,
      "inputs_length": INPUTS,
      "targets_length": 6,
      "seed": 3,
      "items": items(),
      "grouped": True,
      **changes,
    }
  )


def widths(batch):
  return (
    batch["encoder_input_tokens"].shape[1],
    batch["history_items"].shape[1],
  )


def whole(batch):
  """A batch with the padding that was left out."""
  left = INPUTS - widths(batch)[0], HISTORY - widths(batch)[1]
  found = dict(batch)
  found["encoder_input_tokens"] = np.pad(
    batch["encoder_input_tokens"], ((0, 0), (0, left[0]))
  )
  for part in ("tokens", "items", "logs"):
    array = batch[f"history_{part}"]
    sides = [(0, 0), (left[1], 0), *[(0, 0)] * (array.ndim - 2)]
    found[f"history_{part}"] = np.pad(array, sides)
  return found


def test_parts_are_few_and_end_with_the_whole():
  assert length_groups.parts(64, (0.5, 0.75), 8) == [32, 48, 64]
  assert length_groups.parts(60, (0.5, 0.75), 8) == [32, 48, 60]
  assert length_groups.parts(8, (0.5, 0.75), 8) == [8]
  assert length_groups.parts(16, (0.25,), 1) == [4, 16]
  assert length_groups.parts(0, (0.25,), 1) == [0]


def test_a_window_has_the_rows_that_it_had():
  grouped = stream()
  by_chance = grouped.ungrouped
  for window in range(2):
    steps = range(
      window * length_groups.WINDOW, (window + 1) * length_groups.WINDOW
    )
    found, wanted = (
      collections.Counter(
        pair for step in steps for row in s.examples(step) for pair in row
      )
      for s in (grouped, by_chance)
    )
    assert found == wanted


def test_rows_that_are_alike_share_a_batch():
  """Most batches are narrow, none cuts what the whole width holds."""
  grouped = stream()
  seen = collections.Counter()
  for step in range(length_groups.WINDOW):
    batch = grouped.batch(step)
    seen[widths(batch)] += 1
    for row, ((name, example),) in enumerate(grouped.examples(step)):
      data = grouped.datasets[name]
      tokens = data.prompts.pad(np.array([example]), INPUTS)[0]
      shown = data.history.newest(np.array([example]), HISTORY)[0]
      read = whole(batch)
      np.testing.assert_array_equal(read["encoder_input_tokens"][row], tokens)
      np.testing.assert_array_equal(read["history_items"][row], shown)
  assert set(seen) <= set(itertools.product((16, 24, 32), (2, 8)))
  assert seen[16, 2] > 0.2 * length_groups.WINDOW
  assert sum(n for (text, _), n in seen.items() if text == INPUTS) < 0.5 * 64
  # They are not in the order of their widths.
  firsts = [widths(grouped.batch(step)) for step in range(64)]
  assert firsts != sorted(firsts)


def test_a_batch_is_a_function_of_seed_and_step():
  forwards = stream()
  expected = [forwards.batch(step) for step in range(140)]
  for step in (139, 64, 7):
    found = stream().batch(step)
    assert found.keys() == expected[step].keys()
    for name, array in found.items():
      np.testing.assert_array_equal(array, expected[step][name], name)
    part = stream().batch(step, np.array([6, 1]))
    for name, array in part.items():
      np.testing.assert_array_equal(array, expected[step][name][[6, 1]], name)
  assert stream().examples(3) != stream(seed=4).examples(3)


def test_how_often_items_come_is_that_of_the_batch():
  """A batch of short histories offers few, beside as many drawn ones."""
  grouped = stream()
  shares = np.maximum(grouped.items.shares, 1e-9)
  draws = 0.5 / NUM_ITEMS + 0.5 * shares
  for step in range(12):
    batch = grouped.batch(step)
    rate = 1 + (batch["history_items"] > 0).sum() / 8
    for side in ("history", "choice"):
      numbers = batch[f"{side}_items"]
      logs = batch[f"{side}_logs"]
      known = numbers > 0
      wanted = np.log(rate * shares + DRAWN * draws)[numbers[known] - 1]
      np.testing.assert_allclose(logs[known][:, 1], wanted, rtol=1e-5)
      assert not logs[~known].any()
      np.testing.assert_array_equal(
        logs[..., [0, 2]], grouped.items.logs[numbers][..., [0, 2]]
      )


@pytest.fixture(scope="module")
def model():
  config = dataclasses.replace(
    copy_run.model(dropout=0.0).network_config, title_matching=True
  )
  return ranking_model.NetworkRankingModel(
    t5.T5(config), objective=next_item.NextItem()
  )


def test_padding_that_is_left_out_changes_no_gradient(model):
  grouped = stream()
  params = model.get_initial_variables(jax.random.key(0), grouped.shapes)
  params = params["params"]
  gradients = jax.jit(
    lambda batch: train_step.compute_gradients(model, params, batch, None)
  )
  narrow = [grouped.batch(step) for step in range(12)]
  narrow = [b for b in narrow if widths(b) != (INPUTS, HISTORY)]
  assert len({widths(batch) for batch in narrow}) > 1
  for batch in narrow:
    found, found_metrics = gradients(batch)
    wanted, metrics = gradients(whole(batch))
    copy_run.assert_trees_equal(found, wanted, rtol=1e-4, atol=1e-5)
    for name, metric in metrics.items():
      np.testing.assert_allclose(
        found_metrics[name].compute(), metric.compute(), rtol=1e-5
      )


def test_positions_of_long_and_short_rows_count_alike(model):
  """Divided by what a batch has on average, and not by its own number."""
  grouped = stream()
  config = copy_run.train_config(
    steps=1, model=model, optimizer=optax.sgd(1e-3)
  )
  made = trainer_lib.Trainer.create(config, grouped.shapes)
  trainer = made.for_groups(grouped)
  counted, by_chance = jax.jit(model.loss_divisor), grouped.ungrouped
  counts = [counted(by_chance.batch(step)) for step in range(128)]
  assert trainer.divisor == pytest.approx(np.mean(counts))
  state = trainer.init()
  params = jax.tree.map(np.array, state.params)
  batch = grouped.batch(0)
  assert model.loss_divisor(batch) != trainer.divisor
  summed, _ = train_step.compute_gradients(model, params, batch, None)
  after, _ = trainer.step_fn(state, batch, jax.random.key(0))
  moved = jax.tree.map(lambda x, y: (y - x) * 1e3, after.params, params)
  wanted = jax.tree.map(lambda g: g / trainer.divisor, summed)
  copy_run.assert_trees_equal(moved, wanted, rtol=1e-2, atol=1e-3)
  assert made.for_groups(grouped.ungrouped) is made
  as_t5x = dataclasses.replace(config, mean_loss=False)
  made = trainer_lib.Trainer.create(as_t5x, grouped.shapes)
  assert made.for_groups(grouped) is made


def test_a_run_that_goes_on_ends_as_an_unbroken_one(model, tmp_path):
  def train(folder, steps, **changes):
    config = copy_run.train_config(
      steps=steps, model=model, checkpoint_period=3
    )
    return runner.train(config, stream(**changes), None, tmp_path / folder)

  unbroken = train("unbroken", 6).state.params
  train("broken", 3)
  found = train("broken", 6).state.params
  copy_run.assert_trees_equal(found, unbroken, rtol=0, atol=0)
  assert copy_run.rows(tmp_path / "broken") == copy_run.rows(
    tmp_path / "unbroken"
  )
  with pytest.raises(
    checkpoints.CheckpointMismatchError, match="group_by_length"
  ):
    train("broken", 9, grouped=False)


@pytest.mark.parametrize(
  ("changes", "batch_size"),
  [
    ({"history_length": 0}, 8),
    ({"history_length": 1}, 1),
    ({"history_length": 3, "num_drawn": 0}, 3),
  ],
)
def test_odd_sizes_lose_nothing(changes, batch_size):
  """Widths that are no multiples, and parts that are left out."""
  made = dataclasses.replace(items(), **changes)
  sizes = {"items": made, "batch_size": batch_size, "inputs_length": 13}
  grouped = stream(**sizes)
  for step in (0, 63, 64):
    batch = grouped.batch(step)
    width = batch["encoder_input_tokens"].shape[1]
    assert width in (8, 13)
    assert ("choice_items" in batch) == (made.num_drawn > 0)
    for row, ((name, example),) in enumerate(grouped.examples(step)):
      data, one = grouped.datasets[name], np.array([example])
      tokens = data.prompts if made.history_length else data.inputs
      np.testing.assert_array_equal(
        np.trim_zeros(batch["encoder_input_tokens"][row], "b"),
        np.trim_zeros(tokens.pad(one, 13)[0], "b"),
      )
      if made.history_length:
        shown = batch["history_items"][row]
        kept = data.history.newest(one, made.history_length)[0]
        np.testing.assert_array_equal(shown[shown > 0], kept[kept > 0])


def test_processes_are_one_run_before_they_count(monkeypatch, tmp_path):
  """What one of them alone counts, it would wait for without end."""

  def differ(values):
    raise ValueError("another order of the training data")

  monkeypatch.setattr(distributed, "check_agreement", differ)
  monkeypatch.setattr(trainer_lib.Trainer, "for_groups", None)
  config = copy_run.train_config(steps=1)
  with pytest.raises(ValueError, match="another order"):
    runner.train(config, stream(items=None), None, tmp_path)


def test_text_alone_is_grouped_as_well():
  grouped = stream(items=None)
  seen = {
    grouped.batch(step)["encoder_input_tokens"].shape[1]
    for step in range(length_groups.WINDOW)
  }
  assert seen == {16, 24, 32}
  assert grouped.shapes["encoder_input_tokens"] == (8, INPUTS)


def test_what_does_not_go_with_groups_is_refused():
  for changes in ({"pack": True}, {"joined": True}):
    with pytest.raises(ValueError, match="group_by_length=False"):
      stream(items=None, **changes)
  for changes in ({"pack": True}, {"loss_on_targets_only": False}):
    with pytest.raises(ValueError, match="GROUP_BY_LENGTH to False"):
      data_config.DataConfig(
        mixture="m", batch_size=1, group_by_length=True, **changes
      )
  grouped = stream(items=None)
  trainer = dataclasses.replace(
    trainer_lib.Trainer.create(copy_run.train_config(steps=1), grouped.shapes),
    config=copy_run.train_config(steps=1, model_axis=16, shard_sequence=True),
    mesh=jax.sharding.AbstractMesh((1, 16), ("data", "model")),
  )
  with pytest.raises(ValueError, match="has the length 24, which does not"):
    trainer.for_groups(grouped)


def test_batches_by_chance_are_as_they_were():
  plain = stream(grouped=False)
  assert "group_by_length" not in plain.identity
  assert stream().identity == plain.identity | {
    "group_by_length": {"window": 64, "widths": [[16, 24, 32], [2, 8]]}
  }
  batch = plain.batch(5)
  assert widths(batch) == (INPUTS, HISTORY)
  numbers = batch["history_items"]
  np.testing.assert_array_equal(
    batch["history_logs"], plain.items.logs[numbers]
  )
  assert jnp.asarray(batch["history_logs"]).dtype == jnp.float32
