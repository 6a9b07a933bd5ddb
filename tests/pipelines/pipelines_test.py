"""TFDS on disk, SeqIO tasks, converter and token cache hold the same data."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from instructrec.data import candidates, dataset, splits, synthetic
from instructrec.instructions import format as instruction_format
from instructrec.instructions import generate as generate_module
from instructrec.instructions import mixtures, templates, units
from instructrec.models import tokenizer
from instructrec.models.scoring import features
from instructrec.training import batches, data_config

pytestmark = pytest.mark.tf

_TASK = "sequential_p1_i0"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
  """Prepared data on disk."""
  log, items = synthetic.generate(num_users=30, num_items=40, seed=9)
  split = splits.leave_one_out(log, max_train_targets=3)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  folder = tmp_path_factory.mktemp("prepared") / "data"
  dataset.save(
    folder,
    log=log,
    items=items,
    split=splits.Split(split.name, requests, split.training_log, {}),
    record={"source": {"kind": "synthetic"}, "seed": 9},
  )
  return units.Spec(prepared_dir=str(folder))


@pytest.fixture(scope="module")
def rows(spec):
  return [
    record
    for record in spec.generator().rows()
    if isinstance(record, instruction_format.Instruction)
  ]


def write(spec, folder, **options):
  from instructrec.pipelines import generate

  return generate.write(
    spec,
    folder,
    **{
      "produce": generate.produce_locally(1),
      "vocab_size": 400,
      **options,
    },
  )


@pytest.fixture(scope="module")
def data_dir(spec, tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds") / "data"
  write(spec, folder)
  return folder


@pytest.fixture(scope="module")
def registered(data_dir):
  """Tasks registered with this data set's vocabulary."""
  import seqio

  from instructrec.pipelines import generate, registry

  seqio.set_tfds_data_dir_override(str(data_dir))
  vocabulary = seqio.SentencePieceVocabulary(
    str(data_dir / generate.VOCABULARY), extra_ids=tokenizer.EXTRA_IDS
  )
  return registry.register(vocabulary, prefix="toy_v1")


def test_tfds_reads_what_was_written(rows, data_dir):
  import tensorflow_datasets as tfds

  found = list(
    tfds.as_numpy(
      tfds.load(
        f"instructrec/{_TASK}:1.0.0", split="test", data_dir=str(data_dir)
      )
    )
  )
  expected = [r for r in rows if (r.config, r.split) == (_TASK, "test")]
  assert len(found) == len(expected)
  by_id = {row.example_id: row for row in expected}
  for example in found:
    row = by_id[example["example_id"].decode()]
    assert example["inputs"].decode() == row.inputs
    assert example["label"] == row.label
    for name in ("candidates", "candidate_ids", "history_ids"):
      values = tuple(value.decode() for value in example[name])
      assert values == getattr(row, name)


def test_the_same_rows_give_the_same_bytes(spec, data_dir, tmp_path):
  from instructrec.pipelines import generate

  write(spec, tmp_path / "again")
  files = [
    p.relative_to(data_dir) for p in sorted(data_dir.rglob("*")) if p.is_file()
  ]
  assert any("tfrecord" in str(name) for name in files)
  assert pathlib.Path(generate.CARD) in files
  for name in files:
    assert (data_dir / name).read_bytes() == (
      tmp_path / "again" / name
    ).read_bytes(), name


def test_shards_roll_and_keep_every_row(spec, rows, tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  monkeypatch.setattr(generate_module, "CHUNK", 8)
  monkeypatch.setattr(units, "SHARD", 16)
  write(spec, tmp_path / "out")
  files = (tmp_path / f"out/instructrec/{_TASK}").rglob("*-train.tfrecord*")
  assert len(list(files)) > 3
  builder = tfds.builder(f"instructrec/{_TASK}", data_dir=str(tmp_path / "out"))
  for split in ("train", "validation", "test"):
    expected = [
      row.example_id
      for row in rows
      if (row.config, row.split) == (_TASK, split)
    ]
    assert builder.info.splits[split].num_examples == len(expected)
    found = tfds.as_numpy(builder.as_dataset(split=split))
    assert sorted(r["example_id"].decode() for r in found) == sorted(expected)


def test_a_broken_generation_leaves_nothing_under_the_final_name(
  spec, data_dir, tmp_path
):
  from instructrec.pipelines import generate

  def breaking(spec, generator, unfinished):
    unfinished.root.mkdir(parents=True)
    (unfinished.root / "half").write_text("a shard")
    raise RuntimeError("power cut")

  with pytest.raises(RuntimeError, match="power cut"):
    write(spec, tmp_path / "out", produce=breaking)
  assert not (tmp_path / "out").exists()
  # What was left does not stand in the way of the next run.
  write(spec, tmp_path / "out")
  again, known = (
    json.loads((folder / generate.MANIFEST).read_text())
    for folder in (tmp_path / "out", data_dir)
  )
  # Where the data lie depends on where one stands.
  del again["prepared_dir_relative"], known["prepared_dir_relative"]
  assert again == known
  assert not list(tmp_path.rglob("half"))
  with pytest.raises(FileExistsError, match="--overwrite"):
    write(spec, tmp_path / "out")
  other = dataclasses.replace(spec, seed=1)
  write(other, tmp_path / "out", overwrite=True)
  manifest = json.loads((tmp_path / "out/manifest.json").read_text())
  assert manifest["seed"] == 1
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_tasks_sisters_and_mixtures_are_registered(registered):
  import seqio

  from instructrec.pipelines import registry, token_cache

  lists = [name for name in registered if name.endswith("_rerank")]
  assert f"toy_v1_{_TASK}_rerank" in lists
  assert "toy_v1_rerank" in lists
  weights = mixtures.mixtures(templates.load())[""]
  total = sum(weights.values())
  assert token_cache.mixture_rates("toy_v1") == pytest.approx(
    {f"toy_v1_{task}": weight / total for task, weight in weights.items()}
  )
  assert token_cache.mixture_rates(f"toy_v1_{_TASK}") == {
    f"toy_v1_{_TASK}": 1.0
  }
  with pytest.raises(ValueError, match="no SeqIO task or mixture"):
    token_cache.mixture_rates("toy_v2")
  with pytest.raises(ValueError, match="toy_v1"):
    registry.register(seqio.ByteVocabulary(), prefix="toy_v1")


def test_the_cache_holds_the_tokens_of_our_tokenizer(
  rows, data_dir, registered
):
  from instructrec.pipelines import generate, token_cache

  data = token_cache.load(f"toy_v1_{_TASK}_rerank", "test", data_dir)
  ours = tokenizer.Tokenizer(data_dir / generate.VOCABULARY)
  by_id = {row.example_id: row for row in rows}
  assert len(data) == 30
  for i, columns in enumerate(data.columns.iter_rows(named=True)):
    row = by_id[columns["example_id"]]
    assert columns["label"] == row.label
    assert tuple(columns["candidate_ids"]) == row.candidate_ids
    start, end = data.inputs.offsets[i : i + 2]
    assert data.inputs.tokens[start:end].tolist() == ours.encode(row.inputs)
    for candidate, j in zip(
      row.candidates, range(data.lists[i], data.lists[i + 1]), strict=True
    ):
      start, end = data.targets.offsets[j : j + 2]
      assert data.targets.tokens[start:end].tolist() == ours.encode(candidate)
  # A second load maps the same folder.
  assert (
    token_cache.load(f"toy_v1_{_TASK}_rerank", "test", data_dir).meta
    == data.meta
  )


def test_each_folder_has_its_own_rows_in_one_process(
  spec, data_dir, registered, tmp_path, monkeypatch
):
  """A SeqIO task would go on with the folder that it read first."""
  from instructrec.pipelines import generate, token_cache

  first = token_cache.load(f"toy_v1_{_TASK}", "validation", data_dir)
  write(
    dataclasses.replace(spec, max_history=1),
    tmp_path / "other",
    vocabulary=data_dir / generate.VOCABULARY,
  )
  # Named from where it lies, too.
  monkeypatch.chdir(tmp_path)
  other = token_cache.load(f"toy_v1_{_TASK}", "validation", "other")
  assert len(other) == len(first)
  assert not np.array_equal(other.inputs.tokens, first.inputs.tokens)
  monkeypatch.chdir("/")
  again = token_cache.load(f"toy_v1_{_TASK}", "test", data_dir)
  assert len(again)


def test_missing_data_and_splits_are_named(data_dir, registered, tmp_path):
  from instructrec.pipelines import token_cache

  with pytest.raises(FileNotFoundError, match="instructrec generate --output"):
    token_cache.load(f"toy_v1_{_TASK}", "train", tmp_path)
  with pytest.raises(ValueError, match="not 'holdout'"):
    token_cache.load(f"toy_v1_{_TASK}", "holdout", data_dir)


def test_of_two_that_tokenize_at_once_the_first_wins(
  registered, data_dir, monkeypatch
):
  from instructrec.pipelines import token_cache, tokenized_task

  build = tokenized_task.read
  first = []

  def slower(*args):
    # While this process builds, another one starts and finishes.
    monkeypatch.setattr(tokenized_task, "read", build)
    first.append(
      token_cache.load("toy_v1_product_search_p0_i2", "test", data_dir)
    )
    return build(*args)

  monkeypatch.setattr(tokenized_task, "read", slower)
  second = token_cache.load("toy_v1_product_search_p0_i2", "test", data_dir)
  np.testing.assert_array_equal(second.inputs.tokens, first[0].inputs.tokens)
  folders = list(
    (data_dir / "token_cache").glob("toy_v1_product_search_p0_i2-test*")
  )
  assert len(folders) == 1
  assert "incomplete" not in folders[0].name


def test_the_converter_gives_the_arrays_of_the_stream(data_dir, registered):
  """T5X's way and the embedded runner's way to a batch are the same."""
  import seqio

  from instructrec.pipelines import feature_converter, streams

  lengths = {"inputs": 160, "targets": 24}
  converted = seqio.get_dataset(
    f"toy_v1_{_TASK}",
    lengths,
    dataset_split="train",
    shuffle=False,
    feature_converter=feature_converter.RankingFeatureConverter(pack=False),
  )
  config = data_config.DataConfig(
    mixture=f"toy_v1_{_TASK}",
    inputs_length=160,
    targets_length=24,
    batch_size=8,
    modules=(),
  )
  stream = streams.load(config, "train", data_dir).stream(config)
  data = stream.datasets[f"toy_v1_{_TASK}"]
  everything = np.arange(len(data))
  ours = features.to_features(
    data.inputs.pad(everything, 160), data.targets.pad(everything, 24)
  )
  theirs = list(converted.as_numpy_iterator())
  assert len(theirs) == len(data)
  for name, array in ours.items():
    np.testing.assert_array_equal(array, [row[name] for row in theirs], name)


@pytest.mark.parametrize("loss_on_targets_only", [True, False])
def test_rows_of_prompt_and_answer_are_those_of_the_stream(
  data_dir, registered, loss_on_targets_only
):
  import seqio

  from instructrec.pipelines import feature_converter, token_cache
  from instructrec.training import packing

  def rows(pack):
    return list(
      seqio.get_dataset(
        f"toy_v1_{_TASK}",
        {"inputs": 320, "targets": 24},
        dataset_split="train",
        shuffle=False,
        feature_converter=feature_converter.RowFeatureConverter(
          loss_on_targets_only, pack=pack
        ),
      ).as_numpy_iterator()
    )

  data = token_cache.load(f"toy_v1_{_TASK}", "train", data_dir)
  everything = np.arange(len(data))
  apart = features.to_features(
    data.inputs.pad(everything, 320), data.targets.pad(everything, 24)
  )
  joined = packing.join_features(
    apart, loss_on_targets_only=loss_on_targets_only
  )
  packed = rows(pack=True)
  sizes = [int(row["decoder_segment_ids"].max()) for row in packed]
  assert max(sizes) > 1
  expected = packing.pack_features(joined, sizes)
  assert expected.keys() == packed[0].keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(array, [row[name] for row in packed], name)
  plain = rows(pack=False)
  wanted = apart if loss_on_targets_only else joined
  for name, array in wanted.items():
    np.testing.assert_array_equal(array, [row[name] for row in plain], name)


def test_prompts_of_a_row_begin_with_their_own_token_and_have_no_end():
  import tensorflow as tf

  from instructrec.pipelines import feature_converter

  examples = tf.data.Dataset.from_tensors(
    {"inputs": [5, 6, 2], "targets": [8, 2], "prompt": "as text"}
  )
  lengths = {"inputs": 4, "targets": 3}

  def row(**settings):
    found = feature_converter.RowFeatureConverter(prompt_bos_id=1, **settings)(
      examples, lengths
    )
    (only,) = found.as_numpy_iterator()
    return {name: array.tolist() for name, array in only.items()}

  packed = row(pack=True)
  assert packed["decoder_input_tokens"] == [1, 5, 6, 8, 0, 0, 0]
  assert packed["decoder_target_tokens"] == [5, 6, 8, 2, 0, 0, 0]
  assert packed["decoder_loss_weights"] == [0, 0, 1, 1, 0, 0, 0]
  apart = row(pack=False)
  assert apart["encoder_input_tokens"] == [1, 5, 6, 0]
  assert apart["decoder_target_tokens"] == [8, 2, 0]


def test_no_answer_is_cut_in_a_row(data_dir, registered):
  import seqio
  import tensorflow as tf

  from instructrec.pipelines import feature_converter

  task = seqio.get_mixture_or_task(f"toy_v1_{_TASK}")
  found = task.get_dataset(None, "train", shuffle=False)
  rows = feature_converter.RowFeatureConverter(pack=True)(
    found, {"inputs": 160, "targets": 3}
  )
  with pytest.raises(
    tf.errors.InvalidArgumentError, match="has more tokens than its length of 3"
  ):
    list(rows)


def test_the_converter_gives_the_arrays_of_list_batches(data_dir, registered):
  import seqio

  from instructrec.pipelines import feature_converter, token_cache

  converted = seqio.get_dataset(
    f"toy_v1_{_TASK}_rerank",
    {"inputs": 160, "targets": (12, 24)},
    dataset_split="test",
    shuffle=False,
    feature_converter=feature_converter.RankingFeatureConverter(pack=False),
  )
  data = token_cache.load(f"toy_v1_{_TASK}_rerank", "test", data_dir)
  ours = batches.list_batch(
    data,
    np.arange(len(data)),
    inputs_length=160,
    targets_length=24,
    num_candidates=12,
  )
  theirs = list(converted.as_numpy_iterator())
  for name, array in ours.items():
    np.testing.assert_array_equal(array, [row[name] for row in theirs], name)


@pytest.mark.parametrize(
  ("task", "length", "pack", "message"),
  [
    (f"toy_v1_{_TASK}_rerank", 24, False, "candidate list"),
    (f"toy_v1_{_TASK}", (10, 24), False, "has rank 1"),
    (f"toy_v1_{_TASK}_rerank", (10, 24), True, "cannot be packed"),
  ],
)
def test_lengths_that_do_not_fit_are_refused(
  data_dir, registered, task, length, pack, message
):
  import seqio

  from instructrec.pipelines import feature_converter

  dataset_ = seqio.get_mixture_or_task(task).get_dataset(None, split="test")
  converter = feature_converter.RankingFeatureConverter(pack=pack)
  with pytest.raises(ValueError, match=message):
    converter(dataset_, {"inputs": 160, "targets": length})


def test_seqio_evaluates_lists_with_our_metrics(data_dir, registered):
  """The Evaluator of SeqIO, fed with scores, logs HR, NDCG and MRR."""
  import seqio

  from instructrec.pipelines import feature_converter, token_cache

  data = token_cache.load(f"toy_v1_{_TASK}_rerank", "test", data_dir)
  evaluator = seqio.Evaluator(
    mixture_or_task_name=f"toy_v1_{_TASK}_rerank",
    feature_converter=feature_converter.RankingFeatureConverter(pack=False),
    eval_split="test",
    sequence_length={"inputs": 160, "targets": (10, 24)},
  )
  perfect = np.zeros((len(data), 10))
  perfect[np.arange(len(data)), data.columns["label"].to_numpy()] = 1

  def score_fn(dataset_):
    return [(int(i), perfect[int(i)].tolist()) for i, _ in dataset_]

  found, _ = evaluator.evaluate(
    compute_metrics=True,
    step=0,
    predict_fn=lambda dataset_: [],
    score_fn=score_fn,
  )
  (values,) = found.result().values()
  assert values["HR@1"] == 1.0
  assert values["num_nan"] == 0


def test_a_list_that_was_cut_is_no_ranking():
  from instructrec.pipelines import metrics

  targets = [{"label": 1, "num_candidates": 3}]
  assert metrics.ranking(targets, [[0.0, 1.0, -1.0]])["HR@1"] == 1.0
  with pytest.raises(ValueError, match="NUM_CANDIDATES = 3 in the gin files"):
    metrics.ranking(targets, [[0.0, 1.0]])


def test_generation_is_compared_with_response_and_candidates(registered):
  import seqio

  task = seqio.TaskRegistry.get(registered[0])
  example = {"candidates": np.array([b"A", b"B"], object)}
  target = task.postprocess_fn("A", example=example, is_target=True)
  texts = [
    task.postprocess_fn(text, example=example, is_target=False)
    for text in ("A", "B", "C", "")
  ]
  (metric,) = task.metric_fns
  assert metric([target] * 4, texts) == {"exact_match": 0.25, "listed": 0.5}
  # Several texts of a request: the first is the answer, all are a list.
  lists = [[text, *"vwxyz"] for text in texts]
  lists[1][3] = "A"
  assert metric([target] * 4, lists) == {
    "exact_match": 0.25,
    "listed": 0.5,
    "HR@5": 0.5,
    "NDCG@5": pytest.approx((1 + 1 / np.log2(5)) / 4),
  }


def test_the_shipped_tasks_register_by_import():
  import seqio

  import tasks.instructrec

  assert f"instructrec_v1_{_TASK}" in tasks.instructrec.NAMES
  assert set(tasks.instructrec.NAMES) <= {
    *seqio.TaskRegistry.names(),
    *seqio.MixtureRegistry.names(),
  }


@pytest.mark.parametrize(
  ("task", "split"),
  [
    (_TASK, "train"),
    ("sequential_cot", "train"),
    ("personalized_search_turned_around", "train"),
    ("product_search_p0_i2", "train"),
    (f"{_TASK}_rerank", "test"),
  ],
)
def test_the_cache_holds_prompts_and_item_numbers(
  rows, data_dir, registered, task, split
):
  from instructrec.pipelines import generate, token_cache
  from instructrec.training import item_table

  data = token_cache.load(f"toy_v1_{task}", split, data_dir)
  ours = tokenizer.Tokenizer(data_dir / generate.VOCABULARY)
  number = item_table.ItemTable.load(data_dir).numbers
  by_id = {row.example_id: row for row in rows}

  def part(ragged, i):
    return ragged.tokens[slice(*ragged.offsets[i : i + 2])].tolist()

  for i, name in enumerate(data.columns["example_id"]):
    row = by_id[name]
    assert part(data.prompts, i) == ours.encode(row.prompt)
    assert part(data.history, i) == number(row.shown_history).tolist()
    assert data.target_items[i] == number([row.target_id])[0]
    if data.lists is not None:
      found = data.candidate_items[slice(*data.lists[i : i + 2])]
      assert found.tolist() == number(row.candidate_ids).tolist()
