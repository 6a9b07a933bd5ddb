"""Items in batches: histories, targets and drawn items."""

import dataclasses
import time

import numpy as np
import polars as pl
import pytest

from instructrec.models import tokenizer
from instructrec.models.scoring import features
from instructrec.training import (
  batches,
  data_config,
  item_arrays,
  item_table,
  token_dataset,
)
from instructrec.training import ragged as ragged_lib

NUM_ITEMS = 40


def ragged(rows):
  lengths = [len(row) for row in rows]
  flat = np.array([x for row in rows for x in row], np.int32)
  return ragged_lib.Ragged(flat, np.concatenate([[0], lengths]).cumsum())


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  titles = [f"Item of kind {i}" for i in range(NUM_ITEMS)]
  tokenizer.train(titles * 3, path, vocab_size=300)
  return tokenizer.Tokenizer(path)


@pytest.fixture(scope="module")
def table():
  counts = np.random.default_rng(0).zipf(1.3, NUM_ITEMS).clip(0, 50)
  counts[[3, 17]] = 0
  return item_table.ItemTable(
    item_ids=tuple(f"i{n}" for n in range(NUM_ITEMS)),
    titles=tuple(f"Item of kind {n}" for n in range(NUM_ITEMS)),
    counts=counts,
    histories={0: 10, 3: 20, 8: 10},
    fingerprint="sha256:f",
  )


@pytest.fixture(scope="module")
def items(table, vocabulary):
  return arrays(table, vocabulary)


def arrays(table, vocabulary, **changes):
  config = data_config.DataConfig(
    mixture="m",
    inputs_length=12,
    targets_length=12,
    batch_size=8,
    **{"history_length": 4, "title_length": 6, "num_drawn": 5, **changes},
  )
  return item_arrays.ItemArrays.create(table, vocabulary, config)


def test_titles_of_the_same_tokens_are_counted(table, vocabulary):
  """What is cut may be all that told them apart."""
  lengths = [len(row) - 1 for row in vocabulary.encode_all(table.titles)]
  whole = arrays(table, vocabulary, title_length=max(lengths))
  assert (whole.num_cut, whole.num_alike) == (0, 0)
  # "Item of kind " begins them all.
  cut = arrays(table, vocabulary, title_length=1)
  assert (cut.num_cut, cut.num_alike) == (NUM_ITEMS, NUM_ITEMS)
  again = dataclasses.replace(table, titles=("A", *table.titles[1:-1], "A"))
  assert arrays(again, vocabulary, title_length=9).num_alike == 2


def dataset(name, count, seed, *, lists=False):
  rng = np.random.default_rng(seed)

  def tokens(rows):
    return [[*rng.integers(3, 99, n), 1] for n in rng.integers(1, 9, rows)]

  sizes = rng.integers(2, 6, count) if lists else np.ones(count, int)
  shown = [rng.integers(1, NUM_ITEMS + 1, n) for n in rng.integers(0, 8, count)]
  numbers = rng.integers(0, NUM_ITEMS + 1, sizes.sum()).astype(np.int32)
  return token_dataset.TokenDataset(
    name,
    ragged(tokens(count)),
    ragged(tokens(sizes.sum())),
    np.concatenate([[0], sizes]).cumsum() if lists else None,
    pl.DataFrame({"example_id": [f"{name}/{i}" for i in range(count)]}),
    {},
    prompts=ragged(tokens(count)),
    history=ragged(shown),
    target_items=rng.integers(0, NUM_ITEMS + 1, count).astype(np.int32),
    candidate_items=numbers if lists else None,
  )


def stream(items, **changes):
  return batches.BatchStream(
    **{
      "datasets": {f"task{i}": dataset(f"task{i}", 50, i) for i in range(2)},
      "rates": {"task0": 3.0, "task1": 1.0},
      "batch_size": 8,
      "inputs_length": 12,
      "targets_length": 12,
      "seed": 3,
      "items": items,
      **changes,
    }
  )


def test_a_batch_says_what_its_examples_say(items):
  found = stream(items)
  batch = found.batch(7)
  shapes = data_config.DataConfig(
    mixture="m",
    inputs_length=12,
    targets_length=12,
    batch_size=8,
    history_length=4,
    title_length=6,
    num_drawn=5,
  ).shapes(8)
  assert {name: array.shape for name, array in batch.items()} == shapes
  for row, ((name, example),) in enumerate(found.examples(7)):
    data = found.datasets[name]
    shown = data.history.tokens[slice(*data.history.offsets[example:][:2])]
    kept = shown[-4:].tolist()
    numbers = [0] * (4 - len(kept)) + kept
    assert batch["history_items"][row].tolist() == numbers
    for slot, number in enumerate(numbers):
      np.testing.assert_array_equal(
        batch["history_tokens"][row, slot], items.title_tokens[number]
      )
      np.testing.assert_array_equal(
        batch["history_logs"][row, slot], items.logs[number]
      )
    prompt = data.prompts.tokens[slice(*data.prompts.offsets[example:][:2])]
    read = batch["encoder_input_tokens"][row]
    assert read[read > 0].tolist() == prompt.tolist()
    assert batch["choice_items"][row, 0] == data.target_items[example]
  choices = batch["choice_items"]
  np.testing.assert_array_equal(
    batch["choice_tokens"], items.title_tokens[choices]
  )
  np.testing.assert_array_equal(batch["choice_logs"], items.logs[choices])
  assert (choices[:, 1:] > 0).all()
  for name, array in batch.items():
    kind = np.float32 if name.endswith(("logs", "weights")) else np.int32
    assert array.dtype == kind, name


def test_some_rows_are_those_of_the_whole_and_steps_differ(items):
  whole = stream(items).batch(5)
  for rows in ([0, 1, 2, 3], [6, 2], [4]):
    part = stream(items).batch(5, np.array(rows))
    assert part.keys() == whole.keys()
    for name, array in part.items():
      np.testing.assert_array_equal(array, whole[name][rows], name)
  drawn = [whole["choice_items"][:, 1:]]
  drawn.append(stream(items).batch(6)["choice_items"][:, 1:])
  drawn.append(stream(items, seed=4).batch(5)["choice_items"][:, 1:])
  drawn.append(np.roll(drawn[0], 1, axis=0))
  for other in drawn[1:]:
    assert np.mean(other == drawn[0]) < 0.5


def test_without_items_batches_are_as_they_were(items):
  plain = stream(None)
  assert "items" not in plain.identity
  assert stream(items).identity["items"] == {
    "history_length": 4,
    "title_length": 6,
    "num_drawn": 5,
    "table": "sha256:f",
  }
  batch = plain.batch(3)
  assert set(batch) == set(features.to_features(*np.ones((2, 1, 1), int)))
  changed = stream(items).batch(3)
  np.testing.assert_array_equal(
    batch["decoder_target_tokens"], changed["decoder_target_tokens"]
  )
  assert not np.array_equal(
    batch["encoder_input_tokens"], changed["encoder_input_tokens"]
  )


@pytest.mark.parametrize(
  ("changes", "names"),
  [({"num_drawn": 0}, "history"), ({"history_length": 0}, "choice")],
)
def test_each_part_can_be_left_out(table, vocabulary, changes, names):
  batch = stream(arrays(table, vocabulary, **changes)).batch(3)
  plain = stream(None).batch(3)
  parts = ["tokens", "items", "logs", *["follows"] * (names == "choice")]
  assert set(batch) - set(plain) == {f"{names}_{part}" for part in parts}
  same = np.array_equal(
    batch["encoder_input_tokens"], plain["encoder_input_tokens"]
  )
  assert same == (names == "choice")


def test_requests_learn_any_item_of_the_lists_that_answer_them(items):
  """Drawn anew each step, alike often, of each row's own list."""
  lists = [[7, 3, 9], [], [5], [2, 8]]
  data = dataclasses.replace(
    dataset("lists", 4, 5),
    answers=ragged(lists),
    target_items=np.array([7, 4, 0, 0], np.int32),
  )
  rows = np.array([9, 2, 5, 30, 12, 1])
  examples = np.array([0, 1, 2, 3, 0, 0])
  drawn = np.array(
    [items.targets(data, examples, 3, step, rows)[0] for step in range(600)]
  )
  for place, example in enumerate(examples.tolist()):
    found, counts = np.unique(drawn[:, place], return_counts=True)
    options = sorted(lists[example]) or [4]
    assert found.tolist() == options
    wanted = 600 / len(options)
    assert (np.abs(counts - wanted) < 5 * np.sqrt(wanted)).all()
  # Each row draws for itself, whichever others are made with it.
  assert (drawn[:, 0] != drawn[:, 4]).mean() > 0.5
  some = items.targets(data, examples[3:5], 3, 17, rows[3:5])
  np.testing.assert_array_equal(some[0], drawn[17, 3:5])
  assert some[1].all()
  # Nothing of it came next, but what is no list.
  found = stream(items, datasets={"task0": data}, rates={"task0": 1.0})
  batch = found.batch(2)
  for row, ((_, example),) in enumerate(found.examples(2)):
    assert batch["choice_follows"][row, 0] == (example == 1)
    assert batch["choice_items"][row, 0] in (lists[example] or [4])


def test_half_is_drawn_alike_and_half_by_popularity(table, vocabulary):
  items = arrays(table, vocabulary, num_drawn=50)
  drawn = [items.draw(1, step, np.arange(32)) for step in range(100)]
  counts = np.bincount(np.ravel(drawn), minlength=NUM_ITEMS + 1)
  assert counts[0] == 0
  wanted = 0.5 / NUM_ITEMS + 0.5 * table.shares
  total = counts.sum()
  error = np.abs(counts[1:] / total - wanted)
  assert (error < 5 * np.sqrt(wanted / total)).all()
  # The rates that the model is told are those of the draws.
  assert items.logs[1:, 1].dtype == np.float32
  per_row = np.exp(items.logs[1:, 1]) - table.targets_per_row(4) * table.shares
  np.testing.assert_allclose(per_row, 50 * wanted, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(np.exp(items.logs[1:, 2]), wanted, rtol=1e-4)
  # Rows and slots of a step are unlike each other.
  (first, *_) = drawn
  assert len({tuple(row) for row in first.tolist()}) == 32


def test_candidates_are_choices_in_their_order(items):
  data = dataset("lists", 20, 5, lists=True)
  examples = np.array([4, 0, 11])
  settings = {
    "inputs_length": 12,
    "targets_length": 12,
    "num_candidates": 6,
  }
  plain = batches.list_batch(data, examples, **settings)
  batch = batches.list_batch(data, examples, items=items, **settings)
  assert set(batch) - set(plain) == {
    f"{name}_{part}"
    for name in ("history", "choice")
    for part in ("tokens", "items", "logs")
  }
  np.testing.assert_array_equal(
    batch["decoder_target_tokens"], plain["decoder_target_tokens"]
  )
  np.testing.assert_array_equal(
    batch["encoder_input_tokens"], data.prompts.pad(examples, 12)
  )
  for row, example in enumerate(examples.tolist()):
    numbers = data.candidate_items[
      data.lists[example] : data.lists[example + 1]
    ]
    found = batch["choice_items"][row]
    assert found[: len(numbers)].tolist() == numbers.tolist()
    assert not found[len(numbers) :].any()
  np.testing.assert_array_equal(
    batch["choice_tokens"], items.title_tokens[batch["choice_items"]]
  )
  other = data.with_lists(
    examples, data.targets.take(np.arange(4)), np.array([1, 2, 1])
  )
  with pytest.raises(ValueError, match="which items its candidates are"):
    batches.list_batch(other, np.arange(3), items=items, **settings)
  known = data.with_lists(
    examples,
    data.targets.take(np.arange(4)),
    np.array([1, 2, 1]),
    np.array([9, 8, 7, 6], np.int32),
  )
  batch = batches.list_batch(known, np.arange(3), items=items, **settings)
  assert batch["choice_items"][:, :2].tolist() == [[9, 0], [8, 7], [6, 0]]
  np.testing.assert_array_equal(
    batch["history_items"], data.history.newest(examples, 4)
  )


def test_one_request_has_the_arrays_of_a_batch(table, vocabulary, items):
  data = dataset("lists", 20, 5, lists=True)
  for example in range(8):
    shown = data.history.tokens[slice(*data.history.offsets[example:][:2])]
    found = features.item_features(
      [table.titles[number - 1] for number in shown],
      vocabulary,
      history_length=4,
      title_length=6,
      numbers=shown.tolist(),
      logs=items.logs,
    )
    wanted = items.history_arrays(items.history(data, np.array([example])))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
      np.testing.assert_array_equal(found[name], array, name)
      assert found[name].dtype == array.dtype
  found = features.item_features(
    ["Unheard of"], vocabulary, history_length=2, title_length=3
  )
  assert found["history_tokens"][0, 1].all()
  assert not found["history_items"].any()
  with pytest.raises(ValueError, match="1 titles came with 2 item numbers"):
    features.item_features(
      ["a"], vocabulary, history_length=2, title_length=3, numbers=[1, 2]
    )


def test_what_cannot_be_is_named(items):
  with pytest.raises(ValueError, match=r"pack=True.* cannot hold items"):
    stream(items, pack=True)
  with pytest.raises(ValueError, match=r"DataConfig\.pack is True"):
    data_config.DataConfig(
      mixture="m",
      inputs_length=1,
      targets_length=1,
      batch_size=1,
      pack=True,
      num_drawn=3,
    )
  with pytest.raises(ValueError, match=r"history_length is -1.* at least 0"):
    data_config.DataConfig(
      mixture="m",
      inputs_length=1,
      targets_length=1,
      batch_size=1,
      history_length=-1,
    )
  old = dataclasses.replace(dataset("old", 9, 1), history=None)
  with pytest.raises(ValueError, match="old has no prompts, histories"):
    stream(items, datasets={"old": old}, rates={"old": 1.0})


def test_items_are_saved_with_the_examples(tmp_path):
  for number, lists in enumerate((False, True)):
    data = dataset("some", 20, 5, lists=lists)
    if number:
      data = dataclasses.replace(
        data,
        history=ragged([[] for _ in range(20)]),
        answers=ragged([[row] * (row % 3) for row in range(20)]),
      )
    folder = tmp_path / str(number)
    folder.mkdir()
    data.save(folder)
    found = token_dataset.TokenDataset.load(folder)
    for name in ("prompts", "history", *["answers"] * number):
      for part in ("tokens", "offsets"):
        np.testing.assert_array_equal(
          getattr(getattr(found, name), part),
          getattr(getattr(data, name), part),
        )
    np.testing.assert_array_equal(found.target_items, data.target_items)
    if lists:
      np.testing.assert_array_equal(found.candidate_items, data.candidate_items)
      assert not found.history.newest(np.arange(3), 4).any()
    else:
      assert found.candidate_items is None


def test_items_of_a_step_take_little_time(table, vocabulary):
  items = arrays(
    table, vocabulary, history_length=20, title_length=24, num_drawn=16
  )
  found = stream(items, batch_size=128)
  found.batch(0)
  times = []
  for step in range(1, 20):
    start = time.perf_counter()
    found.batch(step)
    times.append(time.perf_counter() - start)
  # A loose bound: other work may share the machine.
  assert min(times) < 0.02
