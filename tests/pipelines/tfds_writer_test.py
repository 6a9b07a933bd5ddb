"""TFDS reads back every record that was written, from every shard."""

import dataclasses
import json
import shutil
import sys

import pytest

from instructrec import checksums
from instructrec.instructions import example_proto, units
from instructrec.instructions.format import FINE_GRAINED

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def records(prepared_dir):
  spec = units.Spec(prepared_dir=str(prepared_dir))
  return list(spec.generator().rows())


def plain(value):
  """A feature as TFDS gives it, as it is in a record."""
  if isinstance(value, bytes):
    return value.decode()
  if getattr(value, "shape", ()):
    return tuple(text.decode() for text in value)
  if getattr(value, "shape", None) == (0,):
    return ()
  return int(value) if value.dtype.kind == "i" else float(value)


def test_tfds_reads_every_record_in_order(records, data_dir):
  import tensorflow_datasets as tfds

  configs = {record.config for record in records}
  assert {p.name for p in (data_dir / "instructrec").iterdir()} == configs
  for config in (
    FINE_GRAINED,
    "sequential_p1_i0",
    "product_search_pairwise",
    "personalized_search_turned_around",
  ):
    builder = tfds.builder(f"instructrec/{config}:1.0.0", data_dir=data_dir)
    expected = {
      split: [
        r for r in records if (r.config, r.split) == (config, split)
      ]
      for split in ("train", "validation", "test")
    }  # fmt: skip
    assert set(builder.info.splits) == {s for s, r in expected.items() if r}
    for split, info in builder.info.splits.items():
      assert info.num_examples == len(expected[split])
      read = tfds.ReadConfig(interleave_cycle_length=1)
      found = builder.as_dataset(split=split, read_config=read)
      for row, record in zip(
        tfds.as_numpy(found), expected[split], strict=True
      ):
        values = dataclasses.asdict(record)
        del values["split"]
        values.pop("task", None)
        assert set(row) == set(values)
        for name, value in values.items():
          # Numbers are of 32 bits there.
          assert plain(row[name]) == (
            pytest.approx(value) if isinstance(value, float) else value
          )


def test_large_splits_lie_in_several_shards(data_dir):
  folder = data_dir / "instructrec" / "sequential_p1_i0" / "1.0.0"
  names = sorted(path.name for path in folder.glob("*train*"))
  assert len(names) > 2
  assert names == [
    f"instructrec-train.tfrecord-{n:05d}-of-{len(names):05d}"
    for n in range(len(names))
  ]
  info = json.loads((folder / "dataset_info.json").read_text())
  (train,) = (s for s in info["splits"] if s["name"] == "train")
  assert len(train["shardLengths"]) == len(names)


def test_shards_are_put_in_order_whoever_writes_first(records, tmp_path):
  import tensorflow_datasets as tfds

  from instructrec.pipelines import tfds_writer

  texts = [
    example_proto.encode(r, omit=frozenset(("split",)))
    for r in records
    if r.config == FINE_GRAINED
  ]

  def write(name, numbers):
    root = tmp_path / name / "instructrec"
    parts = {3: texts[:5], 8: texts[5:6], 21: texts[6:20]}
    shards = [
      tfds_writer.write_shard(root, FINE_GRAINED, "train", n, parts[n])
      for n in numbers
    ]
    assert [s.num_records for s in shards] == [len(parts[n]) for n in numbers]
    output = tmp_path / f"{name}_done" / "instructrec"
    tfds_writer.finish(root, shards, output, description="d")
    return tfds_writer.fingerprint(shards)

  assert write("a", [3, 8, 21]) == write("b", [21, 3, 8])
  found = [
    [
      row["text_id"]
      for row in tfds.as_numpy(
        tfds.load(
          f"instructrec/{FINE_GRAINED}",
          split="train",
          data_dir=tmp_path / f"{name}_done",
          read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
      )
    ]
    for name in "ab"
  ]
  wanted = [r.text_id.encode() for r in records if r.config == FINE_GRAINED]
  assert found == [wanted[:20]] * 2


def test_the_fingerprint_is_of_the_records(records, tmp_path):
  from instructrec.pipelines import tfds_writer

  def fingerprint(name, config, split, texts):
    root = tmp_path / name
    shard = tfds_writer.write_shard(root, config, split, 0, texts)
    return tfds_writer.fingerprint([shard])

  first, second = (example_proto.encode(r) for r in records[:2])
  configs = ("sequential_p1_i0", "sequential_p2_i0")
  found = {
    fingerprint("a", configs[0], "train", [first, second]),
    fingerprint("b", configs[0], "train", [second, first]),
    fingerprint("c", configs[0], "train", [first]),
    fingerprint("d", configs[0], "test", [first, second]),
    fingerprint("e", configs[1], "train", [first, second]),
  }
  assert len(found) == 5
  again = fingerprint("f", configs[0], "train", [first, second])
  assert again in found
  assert again.startswith("sha256:")


EVIL = "module_of_a_stranger.Feature"


@pytest.mark.parametrize(
  "features",
  [
    {"pythonClassName": EVIL},
    {"python_class_name": EVIL},
    {"type": EVIL, "content": {}},
    {"featuresDict": {"features": {"type": {"pythonClassName": EVIL}}}},
    {
      "type": "tensorflow_datasets.core.features.x.Y",
      "content": [{"type": EVIL}],
    },
    {"pythonClassName": "tensorflow_datasets_of_a_stranger.core.features.X"},
  ],
)
def test_metadata_name_features_of_tfds_alone(
  features, data_dir, tmp_path, monkeypatch
):
  import tasks.instructrec  # noqa: F401 (registers the tasks)
  from instructrec.pipelines import tfds_writer, token_cache

  folder = tmp_path / "instructrec" / "sequential_p1_i0" / "1.0.0"
  shutil.copytree(data_dir / "instructrec/sequential_p1_i0/1.0.0", folder)
  tfds_writer.check_features(folder)
  (tmp_path / "module_of_a_stranger.py").write_text("raise SystemExit")
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setenv(
    "INSTRUCTREC_VOCABULARY", str(data_dir / "vocabulary/sentencepiece.model")
  )
  (folder / "features.json").write_text(json.dumps(features))
  # A stranger's list of hashes fits the stranger's files.
  shutil.copytree(data_dir / "vocabulary", tmp_path / "vocabulary")
  for name in ("manifest.json", "items.parquet"):
    shutil.copy(data_dir / name, tmp_path / name)
  checksums.write(tmp_path)
  with pytest.raises(ValueError, match=r"names the class .*_of_a_stranger"):
    token_cache.load("instructrec_v1_sequential_p1_i0", "train", tmp_path)
  assert "module_of_a_stranger" not in sys.modules


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, None])
def test_metadata_that_cannot_be_read_are_named(text, tmp_path):
  from instructrec.pipelines import tfds_writer

  if text is not None:
    (tmp_path / "features.json").write_text(text)
  with pytest.raises(ValueError, match=r"features\.json cannot be read"):
    tfds_writer.check_features(tmp_path)
