"""Control rows on disk, and the SeqIO tasks that read them."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from instructrec.alignment import constraint, control_rows
from instructrec.alignment.wordings import ControlTask
from instructrec.data import dataset
from instructrec.instructions import title_list, units
from instructrec.models import tokenizer
from instructrec.retrieval import methods

pytestmark = pytest.mark.tf

PREFIX = "control_test_v1"


@pytest.fixture(scope="module", name="spec")
def spec_fixture(prepared_dir, tmp_path_factory):
  prepared = dataset.load(prepared_dir)
  folder = tmp_path_factory.mktemp("teacher") / "popularity"
  methods.METHODS["popularity"]().fit(
    prepared.split.training_log, prepared.catalog
  ).save(folder, record={"prepared_fingerprint": prepared.fingerprint})
  return units.Spec(
    prepared_dir=str(prepared_dir),
    kinds=(),
    eval_templates=(),
    control=control_rows.ControlSpec(retriever=str(folder), num_epochs=2),
  )


@pytest.fixture(scope="module", name="folder")
def folder_fixture(spec, tmp_path_factory):
  """What `generate --kind=control` writes."""
  from instructrec.pipelines import generate

  folder = tmp_path_factory.mktemp("control") / "data"
  generate.write(
    spec, folder, produce=generate.produce_locally(1), vocab_size=400
  )
  return folder


@pytest.fixture(scope="module", name="names")
def names_fixture(folder):
  import seqio

  from instructrec.pipelines import control_tasks, generate

  vocabulary = seqio.SentencePieceVocabulary(
    str(folder / generate.VOCABULARY), extra_ids=tokenizer.EXTRA_IDS
  )
  return control_tasks.register(vocabulary, prefix=PREFIX)


def test_rows_come_back_as_they_were_made(spec, folder):
  """Every column, of every split."""
  import tensorflow_datasets as tfds

  made = {row.example_id: row for row in spec.generator().rows()}
  count = 0
  tasks = (ControlTask.PLAIN, ControlTask.COMBINED, ControlTask.CATEGORY)
  for task in tasks:
    splits = tfds.load(f"instructrec/control_{task}", data_dir=str(folder))
    for split, rows in splits.items():
      for row in rows.as_numpy_iterator():
        count += 1
        expected = made[row.pop("example_id").decode()]
        assert (expected.split, expected.kind) == (split, task)
        for name, value in row.items():
          if isinstance(value, bytes):
            value = value.decode()
          elif name in ("k", "epoch", "label"):
            value = int(value)
          elif name == "wish_bits":
            value = float(value)
          else:
            value = tuple(text.decode() for text in value)
          assert getattr(expected, name) == value, name
  assert count == sum(row.kind in tasks for row in made.values())


def test_the_tokens_of_a_list_are_those_of_its_titles(folder, names):
  """SeqIO reads a separator as one token; no title knows its neighbours."""
  from instructrec.pipelines import generate, token_cache

  own = tokenizer.Tokenizer(folder / generate.VOCABULARY)
  titles = dict(
    pl.read_parquet(folder / "items.parquet")
    .select("item_id", "title")
    .iter_rows()
  )
  found = token_cache.load(f"{PREFIX}_wanted", "test", folder)
  lists = found.columns["label_ids"].to_list()
  assert max(map(len, lists)) == 12
  for number, ids in enumerate(lists):
    start, stop = found.targets.offsets[number : number + 2]
    tokens = found.targets.tokens[start:stop].tolist()
    assert tokens == title_list.join_tokens(
      own.encode_all([titles[i] for i in ids]),
      separator_ids=own.separator_ids(title_list.SENTINELS),
      eos_id=tokenizer.EOS_ID,
    )


def test_lists_that_were_written_in_another_way_are_refused(
  folder, monkeypatch
):
  from instructrec.serving import instruction_folder

  instruction_folder.read_manifest(folder)
  version = title_list.FORMAT_VERSION
  monkeypatch.setattr(title_list, "FORMAT_VERSION", version + 1)
  with pytest.raises(
    ValueError,
    match=rf"lists of titles of the format {version}, expected {version + 1}",
  ):
    instruction_folder.read_manifest(folder)


def test_the_token_cache_keeps_what_evaluation_needs(folder, names):
  from instructrec.pipelines import token_cache

  columns = token_cache.load(f"{PREFIX}_proportion", "test", folder).columns
  for row in columns.iter_rows(named=True):
    (asked,) = map(constraint.Constraint.parse, row["constraints"])
    assert asked.direction in constraint.PROPORTIONS
    assert len(row["label_ids"]) == row["k"] == 10
    assert row["next_id"] not in row["history_ids"]
    assert row["unseen"] in ([], ["wording"], ["threshold"])
  assert {len(unseen) for unseen in columns["unseen"].to_list()} == {0, 1}


def test_requests_learn_items_of_their_lists_and_not_of_questions(
  folder, names
):
  """By the embedded runner's cache and by SeqIO alike."""
  import seqio

  from instructrec.pipelines import feature_converter, token_cache
  from instructrec.training import item_table

  seqio.set_tfds_data_dir_override(str(folder))
  numbers = item_table.ItemTable.load(folder).numbers
  lengths = {"inputs": 64, "targets": 64, "choices": (3, 8)}
  for task in (ControlTask.COLD_WANTED, ControlTask.CATEGORY):
    data = token_cache.load(f"{PREFIX}_{task}", "train", folder)
    lists = [
      numbers(ids).tolist() for ids in data.columns["label_ids"].to_list()
    ]
    converted = seqio.get_dataset(
      f"{PREFIX}_{task}_items",
      lengths,
      dataset_split="train",
      shuffle=False,
      seed=0,
      feature_converter=feature_converter.RankingFeatureConverter(pack=False),
    )
    rows = list(converted.take(40).as_numpy_iterator())
    first = [int(row["choice_items"][0]) for row in rows]
    follows = {int(row["choice_follows"][0]) for row in rows}
    if task is ControlTask.CATEGORY:
      assert data.answers is None
      assert (follows, set(first)) == ({1}, {0})
      continue
    assert data.answers.lengths.tolist() == data.columns["k"].to_list()
    assert data.answers.tokens.tolist() == [n for row in lists for n in row]
    assert follows == {0}
    assert all(item in own for item, own in zip(first, lists, strict=False))
    # Not always the same place of the list.
    longer = [own[0] for own in lists[:40] if len(own) > 1]
    assert sum(item in longer for item in first) < len(longer)


def test_mixtures_weigh_tasks(names):
  from instructrec.pipelines import token_cache

  rates = token_cache.mixture_rates(f"{PREFIX}_mixture")
  assert f"{PREFIX}_palr" not in rates
  assert sum(rates.values()) == pytest.approx(1)
  assert rates[f"{PREFIX}_plain"] == pytest.approx(
    rates[f"{PREFIX}_wanted"] + rates[f"{PREFIX}_unwanted"]
  )
  # What can be rewarded: with a history, and answered by a list.
  lists = token_cache.mixture_rates(f"{PREFIX}_lists")
  assert set(lists) == {
    f"{PREFIX}_{task}"
    for task in ("plain", "wanted", "unwanted", "proportion", "combined")
  }
  assert lists[f"{PREFIX}_plain"] == pytest.approx(
    lists[f"{PREFIX}_proportion"]
  )
  plain = {n for n in names if not n.endswith(("_items", "_asked"))}
  with_items = {name for name in names if name.endswith("_items")}
  assert with_items == {f"{name}_items" for name in plain}
  # What is asked of lists is said of those that can be rewarded.
  asked = {name for name in names if name.endswith("_asked")}
  assert asked == {f"{name}_asked" for name in (*lists, f"{PREFIX}_lists")}


def test_a_third_of_the_general_mixture_names_one_item():
  from instructrec.pipelines import tasks_v1, token_cache

  assert "control_v1_general" in tasks_v1.NAMES
  general = token_cache.mixture_rates("control_v1_general")
  shares = {
    prefix: sum(rate for name, rate in general.items() if prefix in name)
    for prefix in ("control", "instructrec_v1", "genrec_v1")
  }
  assert shares == pytest.approx(
    {"control": 2 / 3, "instructrec_v1": 1 / 6, "genrec_v1": 1 / 6}
  )
  # What it is compared with has the same rows of these, and no others.
  single = token_cache.mixture_rates("control_v1_single")
  assert single == pytest.approx(
    {name: 3 * rate for name, rate in general.items() if "control" not in name}
  )


def test_the_folder_says_what_its_lists_are_of(spec, folder):
  found = json.loads((folder / "manifest.json").read_text())["control"]
  assert found == spec.generator().control.facts
  card = (folder / "card.md").read_text()
  assert "## Control tasks" in card
  assert "| lists of | popularity, seed None |" in card
  assert "control_plain_" in card


def test_what_was_unfinished_under_other_draws_is_not_used(spec):
  from instructrec.pipelines import resumption

  more = dataclasses.replace(
    spec, control=dataclasses.replace(spec.control, num_epochs=3)
  )
  keys = {resumption.key(s, s.generator()) for s in (spec, more, spec)}
  assert len(keys) == 2


def test_seqio_measures_lists_as_they_are_asked(folder, names):
  """The labels are perfect; what is wrong with others has its column."""
  import seqio

  from instructrec.pipelines import token_cache

  token_cache.load(f"{PREFIX}_wanted", "test", folder)  # Sets the folder.
  task = seqio.TaskRegistry.get(f"{PREFIX}_wanted")
  rows = list(task.get_dataset(None, "test", shuffle=False).as_numpy_iterator())
  texts = [row["targets_pretokenized"].decode() for row in rows]
  asked = [
    task.postprocess_fn(text, example=row, is_target=True)
    for text, row in zip(texts, rows, strict=True)
  ]
  (metric_fn,) = task.predict_metric_fns
  found = metric_fn(asked, texts)
  assert (found["CorrectCount"], found["TCP"], found["CPA"]) == (1, 1, 1)
  assert found["NonExist"] == found["RepeatItem"] == found["InHistory"] == 0
  assert found["WrongNumber"] == 0
  led = [row["target_id"] != b"" for row in rows]
  assert found["HR@10"] >= sum(led) / len(led) > 0
  # The first title of each ten times: one good item of k.
  echoed = [
    title_list.write([title_list.split(text).entries[0]] * one["k"])
    for text, one in zip(texts, asked, strict=True)
  ]
  worse = metric_fn(asked, echoed)
  lengths = [one["k"] for one in asked]
  assert worse["RepeatItem"] == pytest.approx(
    sum(k - 1 for k in lengths) / len(lengths)
  )
  assert worse["TCP"] == pytest.approx(sum(1 / k for k in lengths) / len(rows))
  assert worse["CPA"] == 0
  # Texts come to metrics as the vocabulary decodes what was written.
  words = task.output_features["targets"].vocabulary
  decoded = [words.decode(row["targets"].tolist()) for row in rows]
  assert metric_fn(asked, decoded) == found
  assert metric_fn(asked, [""] * len(rows))["CorrectCount"] == 0


def test_seqio_measures_categories(folder, names):
  import seqio

  from instructrec.pipelines import token_cache

  token_cache.load(f"{PREFIX}_category", "test", folder)
  task = seqio.TaskRegistry.get(f"{PREFIX}_category")
  (row, *_) = task.get_dataset(None, "test", shuffle=False).as_numpy_iterator()
  found = task.postprocess_fn("", example=row, is_target=True)
  assert found[0] == row["targets_pretokenized"].decode()
  (metric_fn,) = task.predict_metric_fns
  levels = [["jigsaws", "puzzles"]] * 4
  assert metric_fn(levels, ["jigsaws", "puzzles", "kites", ""]) == {
    "exact_match": 0.25,
    "any_level": 0.5,
  }


def test_seqio_says_what_is_asked_as_the_embedded_runner_does(folder, names):
  """The converter's arrays, row by row; keys are of the row and the epoch."""
  import seqio
  import tensorflow as tf

  from instructrec.alignment import list_arrays
  from instructrec.pipelines import (
    feature_converter,
    item_features,
    list_features,
    token_cache,
  )

  lengths = {"inputs": 64, "targets": 64, "lists": (10, 20, 100)}
  mixture = seqio.get_mixture_or_task(f"{PREFIX}_lists_asked")
  assert len(mixture.tasks) == 5
  task = seqio.TaskRegistry.get(f"{PREFIX}_proportion_asked")
  task.source.tfds_dataset.override_data_dir(str(folder))

  def rows_of(seed):
    ds = task.get_dataset(lengths, split="train", shuffle=False, seed=seed)
    ids = [row["example_id"].decode() for row in ds.as_numpy_iterator()]
    made = feature_converter.RankingFeatureConverter(pack=False)(ds, lengths)
    return ids, made

  ids, made = rows_of(seed=3)
  found = [*made.as_numpy_iterator()]
  data = token_cache.load(f"{PREFIX}_proportion", "train", folder)
  source = list_arrays.ListArrays(
    list_features._reader(*item_features.place(task.source)), 10, 20, 100
  )
  places = {name: i for i, name in enumerate(data.columns["example_id"])}
  assert len(found) == len(ids) == len(data) > 50
  for name, row in zip(ids, found, strict=True):
    for key, (value,) in source(data, np.array([places[name]])).items():
      np.testing.assert_array_equal(row[key], value)
      assert row[key].dtype == value.dtype
  keys = {tuple(row["list_keys"].tolist()) for row in found}
  assert len(keys) == len(found)
  _, other = rows_of(seed=4)
  other = {tuple(r["list_keys"].tolist()) for r in other.as_numpy_iterator()}
  assert not keys & other
  # A run that is resumed goes on with the same keys.
  rows = iter(made)
  for _ in range(5):
    next(rows)
  path = tf.train.Checkpoint(rows=rows).save(str(folder / "iterator" / "at"))
  expected = next(rows)["list_keys"].numpy()
  again = iter(made)
  tf.train.Checkpoint(rows=again).restore(path)
  np.testing.assert_array_equal(next(again)["list_keys"].numpy(), expected)


@pytest.mark.parametrize(
  ("lists", "message"),
  [
    ((10, 20), "expected three numbers"),
    ((10, 1, 100), "a history has"),
    ((3, 20, 100), "asks for 10 to 10 titles"),
    ((10, 20, 5), "a teacher's list has"),
  ],
)
def test_rows_without_room_are_refused(folder, names, lists, message):
  import seqio

  task = seqio.TaskRegistry.get(f"{PREFIX}_proportion_asked")
  task.source.tfds_dataset.override_data_dir(str(folder))
  lengths = {"inputs": 64, "targets": 64, "lists": lists}
  with pytest.raises(Exception, match=message):
    [*task.get_dataset(lengths, split="train").as_numpy_iterator()]


def test_lists_are_measured_as_seqio_measures_them(folder, names):
  """The labels obey; without a history nobody can be hit."""
  import seqio

  for name, hits in (("unwanted", True), ("cold_wanted", False)):
    task = seqio.TaskRegistry.get(f"{PREFIX}_{name}")
    task.source.tfds_dataset.override_data_dir(str(folder))
    rows = [*task.get_dataset(split="test").as_numpy_iterator()]
    texts = [row["targets_pretokenized"].decode() for row in rows]
    wanted = [
      task.postprocess_fn(text, example=row, is_target=True)
      for text, row in zip(texts, rows, strict=True)
    ]
    found = task.metric_fns[0](wanted, texts)
    assert found["CorrectCount"] == 1.0
    assert found["NonExist"] == found["InHistory"] == 0.0
    assert ("HR@10" in found) == hits
    worse = task.metric_fns[0](wanted, ["nothing of the kind"] * len(rows))
    assert worse["NonExist"] == 1.0
    assert worse["CorrectCount"] < 1.0
