"""Items reach a model alike by SeqIO and by the embedded runner's batches."""

import types

import numpy as np
import pytest

from instructrec.models import tokenizer
from instructrec.training import (
  batches,
  data_config,
  item_arrays,
  item_table,
)

pytestmark = pytest.mark.tf

_PREFIX = "item_features_test_v1"
_TASK = f"{_PREFIX}_sequential_p1_i0"
_LENGTHS = {"inputs": 60, "targets": 24}
_ITEMS = {"history": (5, 4), "choices": (8, 4)}


@pytest.fixture(scope="module")
def vocabulary(data_dir):
  from instructrec.pipelines import generate

  return tokenizer.Tokenizer(data_dir / generate.VOCABULARY)


@pytest.fixture(scope="module", autouse=True)
def registered(vocabulary):
  import seqio

  from instructrec.pipelines import registry

  return registry.register(
    seqio.SentencePieceVocabulary(
      str(vocabulary.path), extra_ids=tokenizer.EXTRA_IDS
    ),
    prefix=_PREFIX,
  )


@pytest.fixture(autouse=True)
def here(data_dir):
  import seqio

  seqio.set_tfds_data_dir_override(str(data_dir))


def config(**changes):
  return data_config.DataConfig(
    **{
      "mixture": _TASK,
      "inputs_length": 60,
      "targets_length": 24,
      "batch_size": 8,
      "modules": (),
      "history_length": 5,
      "title_length": 4,
      "num_drawn": 7,
      **changes,
    }
  )


@pytest.fixture(scope="module")
def table(data_dir):
  return item_table.ItemTable.load(data_dir)


def items(table, vocabulary, **changes):
  return item_arrays.ItemArrays.create(table, vocabulary, config(**changes))


def converted(task, lengths, *, split="train", pack=False, **options):
  import seqio

  from instructrec.pipelines import feature_converter

  found = seqio.get_dataset(
    task,
    lengths,
    dataset_split=split,
    shuffle=False,
    feature_converter=feature_converter.RankingFeatureConverter(pack=pack),
    **options,
  )
  return found


def arrays(*args, take=-1, **options):
  rows = list(converted(*args, **options).take(take).as_numpy_iterator())
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_the_converter_gives_the_arrays_of_the_stream(
  data_dir, table, vocabulary
):
  from instructrec.pipelines import streams

  ours = items(table, vocabulary)
  stream = streams.load(config(), "train", data_dir).stream(config(), ours)
  theirs = arrays(f"{_TASK}_items", {**_LENGTHS, **_ITEMS}, seed=0)
  data = stream.datasets[_TASK]
  assert len(theirs["encoder_input_tokens"]) == len(data)
  for step in range(4):
    found = [example for ((_, example),) in stream.examples(step)]
    batch = stream.batch(step)
    assert set(batch) == set(theirs)
    for name, array in batch.items():
      expected = theirs[name][found]
      if name.startswith("choice"):
        array, expected = array[:, 0], expected[:, 0]
      np.testing.assert_array_equal(array, expected, name)
  assert theirs["history_items"].any()
  drawn = theirs["choice_items"]
  # Rows that are answered by Yes or No have no target.
  assert 0 < np.count_nonzero(drawn[:, 0]) < len(drawn)
  assert drawn[:, 1:].all()
  np.testing.assert_array_equal(
    theirs["choice_tokens"], ours.title_tokens[drawn]
  )
  np.testing.assert_array_equal(theirs["choice_logs"], ours.logs[drawn])
  shapes = config().shapes(1)
  for name, array in theirs.items():
    assert array.shape[1:] == shapes[name][1:]


def test_long_prompts_end_with_eos(data_dir, table, vocabulary):
  from instructrec.pipelines import token_cache

  lengths = {**_LENGTHS, "inputs": 7, "history": (5, 4)}
  theirs = arrays(f"{_TASK}_items", lengths, take=40)
  data = token_cache.load(_TASK, "train", data_dir)
  np.testing.assert_array_equal(
    theirs["encoder_input_tokens"], data.prompts.pad(np.arange(40), 7)
  )
  assert (data.prompts.lengths[:40] > 7).any()
  assert not any(name.startswith("choice") for name in theirs)


def test_without_histories_the_text_has_them(data_dir):
  from instructrec.pipelines import token_cache

  lengths = {**_LENGTHS, "inputs": 100, "choices": (3, 4)}
  theirs = arrays(f"{_TASK}_items", lengths, take=40)
  data = token_cache.load(_TASK, "train", data_dir)
  np.testing.assert_array_equal(
    theirs["encoder_input_tokens"], data.inputs.pad(np.arange(40), 100)
  )
  assert theirs["choice_items"].shape == (40, 3)
  assert not any(name.startswith("history") for name in theirs)


def test_items_are_drawn_anew_each_epoch_and_by_the_seed(
  data_dir, table, vocabulary
):
  from instructrec.pipelines import token_cache

  size = len(token_cache.load(_TASK, "train", data_dir))
  lengths = {**_LENGTHS, "choices": (31, 4)}

  def drawn(seed, epochs):
    found = arrays(f"{_TASK}_items", lengths, seed=seed, num_epochs=epochs)
    return found["choice_items"][:, 1:].reshape(epochs, size, -1)

  found = drawn(3, 3)
  np.testing.assert_array_equal(drawn(3, 1)[0], found[0])
  for other in (found[1], drawn(4, 1)[0]):
    assert np.mean(other == found[0]) < 0.5
  counts = np.bincount(found.ravel(), minlength=len(table) + 1)
  wanted = 0.5 / len(table) + 0.5 * table.shares
  total = counts.sum()
  assert counts[0] == 0
  error = np.abs(counts[1:] / total - wanted)
  assert (error < 5 * np.sqrt(wanted / total)).all()


def test_candidate_lists_are_choices_in_their_order(
  data_dir, table, vocabulary
):
  from instructrec.pipelines import token_cache

  lengths = {
    "inputs": 60,
    "targets": (12, 24),
    "history": (5, 4),
    "choices": (12, 4),
  }
  theirs = arrays(f"{_TASK}_rerank_items", lengths, split="test")
  data = token_cache.load(f"{_TASK}_rerank", "test", data_dir)
  ours = batches.list_batch(
    data,
    np.arange(len(data)),
    inputs_length=60,
    targets_length=24,
    num_candidates=12,
    items=items(table, vocabulary, num_drawn=11),
  )
  assert set(ours) == set(theirs)
  for name, array in ours.items():
    np.testing.assert_array_equal(array, theirs[name], name)
  assert theirs["choice_items"][:, :10].all()
  assert not theirs["choice_items"][:, 10:].any()


def test_rows_of_other_kinds_say_what_they_name(data_dir, table, vocabulary):
  """Also those that show no history, name no item, or ask Yes or No."""
  from instructrec.pipelines import token_cache

  ours = items(table, vocabulary, inputs_length=200, targets_length=200)
  lengths = {"inputs": 200, "targets": 200, **_ITEMS}
  for name in (
    "product_search_p0_i2",
    "sequential_p2_i0",
    "sequential_cot",
    "personalized_search_turned_around",
  ):
    theirs = arrays(f"{_PREFIX}_{name}_items", lengths)
    data = token_cache.load(f"{_PREFIX}_{name}", "train", data_dir)
    every = np.arange(len(data))
    np.testing.assert_array_equal(
      theirs["history_items"], ours.history(data, every)
    )
    np.testing.assert_array_equal(
      theirs["choice_items"][:, 0], data.target_items
    )


def test_mixtures_of_such_tasks_mix(data_dir):
  found = arrays(
    f"{_PREFIX}_matching_items",
    {**_LENGTHS, **_ITEMS},
    take=30,
    num_epochs=None,
    seed=1,
  )
  assert found["history_items"].any()
  found = arrays(
    f"{_PREFIX}_rerank_items",
    {"inputs": 60, "targets": (10, 24), **_ITEMS, "choices": (10, 4)},
    split="test",
    take=30,
  )
  assert found["choice_items"].all()


@pytest.mark.parametrize(
  ("task", "changes", "pack", "message"),
  [
    (f"{_TASK}_items", {"history": 5}, False, "expected a pair"),
    (f"{_TASK}_items", _ITEMS, True, "lists cannot be packed"),
    (_TASK, _ITEMS, False, "ends in _items"),
  ],
)
def test_lengths_that_do_not_fit_are_refused(task, changes, pack, message):
  with pytest.raises(ValueError, match=message):
    converted(task, {**_LENGTHS, **changes}, pack=pack)


def test_data_without_items_say_how_to_make_them(
  data_dir, vocabulary, tmp_path
):
  import seqio

  from instructrec.pipelines import registry

  for path in data_dir.iterdir():
    if path.name != item_table.FILE:
      (tmp_path / path.name).symlink_to(path)
  seqio.set_tfds_data_dir_override(str(tmp_path))
  # Tasks keep the folder that they were asked for first.
  words = seqio.SentencePieceVocabulary(str(vocabulary.path))
  registry.register(words, prefix="bare_v1")
  with pytest.raises(FileNotFoundError, match=r"has no items\.parquet"):
    converted("bare_v1_sequential_p1_i0_items", {**_LENGTHS, **_ITEMS})


def test_the_embedded_runner_reads_such_tasks_as_the_others(data_dir):
  from instructrec.pipelines import token_cache

  for suffix, split in (("", "train"), ("_rerank", "test")):
    plain = token_cache.load(f"{_TASK}{suffix}", split, data_dir)
    found = token_cache.load(f"{_TASK}{suffix}_items", split, data_dir)
    for name in ("inputs", "targets", "prompts", "history"):
      np.testing.assert_array_equal(
        getattr(found, name).tokens, getattr(plain, name).tokens
      )
    np.testing.assert_array_equal(found.target_items, plain.target_items)


def test_the_table_is_found_where_tfds_reads_by_default(data_dir):
  from instructrec.pipelines import item_features

  folder = data_dir / "instructrec" / "sequential_p1_i0" / "1.0.0"
  source = types.SimpleNamespace(
    tfds_dataset=types.SimpleNamespace(
      name="instructrec/sequential_p1_i0:1.0.0",
      data_dir=None,
      builder=types.SimpleNamespace(data_dir=f"{folder}/"),
    )
  )
  path, _ = item_features.place(source)
  assert path == str(data_dir / item_table.FILE)
