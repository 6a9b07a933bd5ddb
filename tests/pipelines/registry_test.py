"""SeqIO tasks and mixtures: names, effective rates, and SeqIO's own cache."""

import json

import numpy as np
import pytest

from instructrec.instructions import mixtures, templates
from instructrec.models import tokenizer

pytestmark = pytest.mark.tf

_PREFIX = "registry_test_v1"
_MIXED = {
  "pair": ("sequential_p1_i0", "sequential_cot"),
  "lists": ("sequential_p1_i0",),
  "numbered": ("sequential_p1_i0",),
}


@pytest.fixture(scope="module")
def registered(data_dir):
  """Names registered with this data set's vocabulary."""
  import seqio

  from instructrec.pipelines import generate, item_features, registry

  vocabulary = seqio.SentencePieceVocabulary(
    str(data_dir / generate.VOCABULARY), extra_ids=tokenizer.EXTRA_IDS
  )
  names = registry.register(vocabulary, prefix=_PREFIX)
  for name, suffix in (
    ("pair", ""),
    ("lists", registry.RERANK),
    ("numbered", item_features.SUFFIX),
  ):
    seqio.MixtureRegistry.add(
      f"{_PREFIX}_{name}",
      [(f"{_PREFIX}_{task}{suffix}", 1.0) for task in _MIXED[name]],
    )
  return names


@pytest.fixture(autouse=True)
def here(data_dir, registered):
  import seqio

  seqio.set_tfds_data_dir_override(str(data_dir))


def test_there_is_a_task_for_every_config_and_every_mixture(
  registered, data_dir
):
  configs = {path.name for path in (data_dir / "instructrec").iterdir()}
  configs.remove("fine_grained")
  evaluated = mixtures.evaluation_tasks(templates.load())
  wanted = {f"_{config}" for config in configs}
  wanted |= {f"_{task}_rerank" for task in evaluated}
  wanted |= {
    "",
    "_all",
    "_direct",
    "_matching",
    "_evaluated",
    "_without_sequential",
    "_without_product_search",
    "_without_personalized_search",
    "_without_vague",
    "_rerank",
  }
  wanted |= {f"{name}_items" for name in wanted}
  assert set(registered) == {f"{_PREFIX}{name}" for name in wanted}
  assert len(registered) == len(set(registered))


@pytest.mark.parametrize("lacks", ["no_such_tasks", "nowhere_to_be_found"])
def test_a_module_that_cannot_be_imported_is_named(
  tmp_path, monkeypatch, lacks
):
  from instructrec.pipelines import registry

  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / "half_tasks.py").write_text("import nowhere_to_be_found\n")
  name = "half_tasks" if lacks == "nowhere_to_be_found" else lacks
  with pytest.raises(ValueError, match=f"'{name}' of tasks .* named '{lacks}'"):
    registry.import_tasks([name])


def test_registering_twice_is_refused(registered):
  import seqio

  from instructrec.pipelines import registry

  with pytest.raises(ValueError, match=_PREFIX):
    registry.register(seqio.ByteVocabulary(), prefix=_PREFIX)


def test_a_folder_without_the_data_is_named_and_not_tfdss_catalogue(
  registered, data_dir, tmp_path
):
  import seqio

  try:
    for folder, ask in (
      (tmp_path / "first", lambda task: task.splits),
      (tmp_path / "second", lambda task: task.num_input_examples("train")),
      (tmp_path / "third", lambda task: task.source.list_shards("train")),
    ):
      seqio.set_tfds_data_dir_override(str(folder))
      # A source keeps the first folder that it has seen.
      task = seqio.TaskRegistry.get(f"{_PREFIX}_product_search_p0_i1")
      task.source.tfds_dataset.override_data_dir(str(folder))
      with pytest.raises(FileNotFoundError) as error:
        ask(task)
      (line,) = str(error.value).splitlines()
      assert line.startswith(
        f"{folder} holds no instructrec/product_search_p0_i1:1.0.0; expected "
      )
      assert "--tfds_data_dir" in line
      assert error.value.__suppress_context__
      # Nothing was made, nor looked for in a public bucket.
      assert not folder.exists()
  finally:
    task.source.tfds_dataset.override_data_dir(str(data_dir))


def test_effective_rates_count_templates(registered):
  from instructrec.pipelines import token_cache

  rates = token_cache.mixture_rates(_PREFIX)
  assert sum(rates.values()) == pytest.approx(1)
  by_group = [
    sum(rate for name, rate in rates.items() if f"v1_{group}" in name)
    for group in ("sequential", "product_search", "personalized_search")
  ]
  assert by_group == pytest.approx([17 / 39, 9 / 39, 13 / 39])
  assert rates[f"{_PREFIX}_sequential_cot"] == pytest.approx(1 / 39)
  without = token_cache.mixture_rates(f"{_PREFIX}_without_sequential")
  assert not any("v1_sequential" in name for name in without)
  cot = f"{_PREFIX}_product_search_turned_around"
  assert without[cot] == pytest.approx(2 / 22)
  rerank = token_cache.mixture_rates(f"{_PREFIX}_rerank")
  assert set(rerank.values()) == {0.2}


def test_seqio_samples_at_the_effective_rates(registered):
  import seqio

  found = seqio.get_mixture_or_task(f"{_PREFIX}_pair").get_dataset(
    {"inputs": 512, "targets": 128},
    split="train",
    num_epochs=None,
    shuffle=False,
    use_cached=False,
    seed=0,
  )
  words = seqio.TaskRegistry.get(
    f"{_PREFIX}_{_MIXED['pair'][0]}"
  ).output_features
  texts = [
    words["targets"].vocabulary.decode(row["targets"].tolist())
    for row in found.take(400).as_numpy_iterator()
  ]
  thoughts = sum("So I recommend" in text for text in texts)
  assert thoughts == pytest.approx(200, abs=50)


def cached_by_hand(task, folder):
  """What SeqIO's cache holds, written with SeqIO's own functions."""
  import seqio
  import tensorflow as tf

  folder = folder / seqio.get_task_dir_from_name(task.name)
  folder.mkdir(parents=True)
  for split in task.splits:
    source = task.source.get_dataset(split=split, shuffle=False)
    rows = list(task.preprocess_precache(source))
    prefix = seqio.get_cached_tfrecord_prefix(str(folder), split)
    with tf.io.TFRecordWriter(f"{prefix}-00000-of-00001") as writer:
      for row in rows:
        writer.write(seqio.dict_to_tfexample(row).SerializeToString())
    described = {}
    for name, value in rows[0].items():
      shape = value.shape.as_list()
      described[name] = {
        "shape": [None, *shape[1:]] if shape else [],
        "dtype": value.dtype.name,
      }
    info = {
      "num_shards": 1,
      "features": described,
      "seqio_version": seqio.__version__,
    }
    for path, content in (
      (seqio.get_cached_info_path(str(folder), split), info),
      (
        seqio.get_cached_stats_path(str(folder), split),
        {"examples": len(rows)},
      ),
    ):
      with open(path, "w") as file:
        json.dump(content, file)
  (folder / "COMPLETED").touch()


def cached_on_beam(task, folder):
  """SeqIO's own pipeline."""
  beam = pytest.importorskip(
    "apache_beam", reason="SeqIO's caching pipeline needs Apache Beam"
  )
  pytest.importorskip("google_crc32c", reason="Beam's TFRecords need it")
  from absl import flags
  from seqio.scripts import cache_tasks_main

  flags.FLAGS(["test"], known_only=True)
  with beam.Pipeline() as pipeline:
    cache_tasks_main.run_pipeline(pipeline, [task.name], str(folder))


@pytest.mark.parametrize("suffix", list(_MIXED))
@pytest.mark.parametrize("cache", [cached_by_hand, cached_on_beam])
def test_seqio_reads_its_cache(tmp_path, cache, suffix):
  import seqio

  mixture = seqio.get_mixture_or_task(f"{_PREFIX}_{suffix}")
  split = "test" if suffix == "lists" else "train"
  for task in mixture.tasks:
    cache(task, tmp_path)
  lengths = {"inputs": 512, "targets": 64}
  if suffix == "lists":
    lengths["targets"] = (10, 64)

  def rows(task, use_cached):
    dataset = task.get_dataset(
      lengths, split=split, shuffle=False, use_cached=use_cached
    )
    return {row["example_id"]: row for row in dataset.as_numpy_iterator()}

  inputs = set()
  before = seqio.get_global_cache_dirs()
  seqio.set_global_cache_dirs([str(tmp_path)])
  try:
    for task in mixture.tasks:
      task._cache_dir = None
      plain, cached = rows(task, False), rows(task, True)
      assert task.cache_dir.startswith(str(tmp_path))
      assert set(cached) == set(plain)
      assert cached
      inputs |= {row["inputs"].tobytes() for row in cached.values()}
      for name, row in plain.items():
        same = ["inputs", "targets", "label", "candidate_ids"]
        if suffix == "numbered":
          same += ["prompt", "history_tokens", "history_logs", "target_item"]
          assert row["history_tokens"].any()
        for feature in same:
          np.testing.assert_array_equal(cached[name][feature], row[feature])
    mixed = mixture.get_dataset(
      lengths, split=split, shuffle=False, num_epochs=1, use_cached=True
    )
    found = {row["inputs"].tobytes() for row in mixed.as_numpy_iterator()}
    assert found
    assert found <= inputs
  finally:
    seqio.set_global_cache_dirs(before)
    for task in mixture.tasks:
      task._cache_dir = None


def test_templates_of_ones_own_register_without_ours(tmp_path, registered):
  """What `generate --template_file --eval_template` writes has its tasks."""
  from instructrec.pipelines import registry, vocabulary

  file = tmp_path / "mine.yaml"
  file.write_text(
    "templates:\n"
    "  - {id: mine, task: sequential, preference: [P1], form: T3,\n"
    "     inputs: 'After {history}, which of {candidates}?'}\n"
  )
  names = registry.register(
    vocabulary.default(),
    prefix="mine_v1",
    template_set=templates.load([file]),
    eval_templates=["mine"],
  )
  wanted = {
    "mine_v1_sequential_p1_i0",
    "mine_v1_sequential_p1_i0_rerank",
    "mine_v1_all",
    "mine_v1_direct",
    "mine_v1_evaluated",
    "mine_v1_rerank",
    "mine_v1",
  }
  assert set(names) == wanted | {f"{name}_items" for name in wanted}
