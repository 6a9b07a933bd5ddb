"""Same seed, same bytes; complete or not at all, also after a SIGKILL."""

import collections
import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from instructrec.data import dataset
from instructrec.instructions import card, units

pytestmark = pytest.mark.tf

_CHILD = """
import sys, time
from instructrec.instructions import generate as instruction_generate
from instructrec.instructions import units
from instructrec.pipelines import generate

instruction_generate.CHUNK, units.SHARD = 50, 100
work = units.work

def work_until_the_third_shard(generator, unit):
  result = work(generator, unit)
  if unit.start >= 250:
    time.sleep(600)  # To be killed.
  return result

units.work = work_until_the_third_shard
generate.write(
  units.Spec(prepared_dir=sys.argv[1]),
  sys.argv[2],
  produce=generate.produce_locally(1),
  vocab_size=400,
)
"""


def write(spec, output, num_workers=1, **settings):
  from instructrec.pipelines import generate

  return generate.write(
    spec,
    output,
    produce=generate.produce_locally(num_workers),
    vocab_size=400,
    **settings,
  )


@pytest.fixture(scope="module")
def spec(prepared_dir):
  return units.Spec(prepared_dir=str(prepared_dir))


@pytest.fixture
def worked(monkeypatch):
  """The units that this process works on: split and first request."""
  found, work = [], units.work

  def watched(generator, unit):
    found.append((unit.split, unit.start))
    return work(generator, unit)

  monkeypatch.setattr(units, "work", watched)
  return found


def test_killed_and_run_again_gives_the_bytes_of_an_unbroken_run(
  spec, data_dir, read_folder, tmp_path, small_shards, worked
):
  output = tmp_path / "out"
  left = tmp_path / "out.unfinished"
  child = subprocess.Popen(
    [sys.executable, "-c", _CHILD, spec.prepared_dir, str(output)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    deadline = time.monotonic() + 120
    while not list(left.rglob("instructrec-train.00002")):
      assert not output.exists()
      assert child.poll() is None, "the run ended by itself"
      assert time.monotonic() < deadline
      time.sleep(0.02)
  finally:
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
  assert child.returncode == -signal.SIGKILL
  assert not output.exists()
  assert any(path.stat().st_size for path in left.rglob("*train.00000"))
  # A wrong leftover would be found in the comparison.
  (left / "instructrec" / "stray").write_text("half written")
  write(spec, output)
  # What two shards hold was not made again.
  assert min(start for split, start in worked if split == "train") == 200
  assert read_folder(output) == read_folder(data_dir)
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_number_of_processes_changes_nothing(spec, read_folder, tmp_path):
  write(spec, tmp_path / "one")
  write(spec, tmp_path / "two", num_workers=2)
  assert read_folder(tmp_path / "one") == read_folder(tmp_path / "two")


def test_another_seed_or_protocol_gives_other_records(
  spec, data_dir, tmp_path, small_shards
):
  from instructrec.pipelines import generate

  def fingerprint(folder):
    manifest = json.loads((folder / generate.MANIFEST).read_text())
    return manifest["fingerprint"]

  same = {"vocabulary": data_dir / generate.VOCABULARY}
  for name, changes in (("a", {"seed": 1}), ("b", {"protocol": "paper"})):
    other = units.Spec(prepared_dir=spec.prepared_dir, **changes)
    write(other, tmp_path / name, **same)
  found = {fingerprint(f) for f in (data_dir, tmp_path / "a", tmp_path / "b")}
  assert len(found) == 3
  name = "instructrec/sequential_cot/1.0.0"
  (first, *_), (second, *_) = (
    sorted((folder / name).glob("*tfrecord*"))
    for folder in (data_dir, tmp_path / "a")
  )
  assert first.read_bytes() != second.read_bytes()


def test_nothing_half_written_is_seen_under_the_final_name(
  spec, data_dir, read_folder, tmp_path, monkeypatch, small_shards
):
  from instructrec.pipelines import generate

  output = tmp_path / "out"
  make = generate.produce_locally(1)

  def watched(*args):
    produced = make(*args)
    assert not output.exists()
    return produced

  def power_cut(*args):
    raise RuntimeError("power cut")

  with pytest.raises(RuntimeError, match="power cut"):
    generate.write(
      spec, output, produce=lambda *args: power_cut(watched(*args))
    )
  assert not output.exists()
  # Not even when only the last file is missing.
  with monkeypatch.context() as patch:
    patch.setattr(card, "write_audit", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
      generate.write(spec, output, produce=make, vocab_size=400)
  assert not output.exists()
  generate.write(spec, output, produce=watched, vocab_size=400)
  assert read_folder(output) == read_folder(data_dir)


def test_an_existing_folder_is_replaced_whole_or_kept(
  spec, read_folder, tmp_path, data_dir, small_shards
):
  from instructrec.pipelines import generate

  output = tmp_path / "out"
  output.mkdir()
  (output / "precious").write_text("x")
  with pytest.raises(FileExistsError, match="was not made by this command"):
    write(spec, output, overwrite=True)
  (output / generate.CARD).write_text("an earlier one")
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    write(spec, output)

  def power_cut(*args):
    raise RuntimeError("power cut")

  with pytest.raises(RuntimeError, match="power cut"):
    generate.write(spec, output, produce=power_cut, overwrite=True)
  assert (output / "precious").read_bytes() == b"x"
  write(spec, output, overwrite=True)
  assert read_folder(output) == read_folder(data_dir)
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_vocabulary_of_ones_own_is_used_and_checked_first(
  spec, data_dir, tmp_path
):
  from instructrec.pipelines import generate

  wrong = tmp_path / "wrong.model"
  wrong.write_text("no model")
  with pytest.raises((ValueError, RuntimeError, OSError)):
    write(spec, tmp_path / "out", vocabulary=wrong)
  assert [path.name for path in tmp_path.iterdir()] == ["wrong.model"]
  own = data_dir / generate.VOCABULARY
  manifest = write(spec, tmp_path / "out", vocabulary=own)
  copied = tmp_path / "out" / generate.VOCABULARY
  assert copied.read_bytes() == own.read_bytes()
  assert manifest["vocabulary"]["origin"] == str(own)


def test_the_vocabulary_is_trained_on_training_rows_alone(
  spec, prepared_dir, tmp_path, small_shards
):
  from instructrec.pipelines import generate, resumption

  generator = spec.generator()
  train = {
    text
    for record in generator.rows(["train"])
    if hasattr(record, "inputs")
    for text in (record.inputs, record.targets)
  }
  unfinished = resumption.Unfinished(tmp_path / "out", "key")
  part = generate.produce_locally(1)(spec, generator, unfinished)
  assert part.texts
  assert set(part.texts) <= train


@pytest.mark.parametrize(
  ("chunk", "cores", "workers"), [(2048, 64, 1), (50, 64, 9), (50, 3, 3)]
)
def test_processes_are_as_many_as_are_worth_it(
  spec, tmp_path, monkeypatch, chunk, cores, workers
):
  """443 requests are one unit, or nine."""
  from instructrec.instructions import generate as instruction_generate
  from instructrec.pipelines import generate, resumption

  generator = spec.generator()
  assert sum(generator.prepared.requests.counts.values()) == 443
  monkeypatch.setattr(instruction_generate, "CHUNK", chunk)
  monkeypatch.setattr(os, "cpu_count", lambda: cores)

  class AskedError(Exception):
    pass

  def run(spec, wanted, num_workers, *, generator):
    raise AskedError(num_workers)

  monkeypatch.setattr(units, "run", run)
  unfinished = resumption.Unfinished(tmp_path / "out", "key")
  with pytest.raises(AskedError) as asked:
    generate.produce_locally()(spec, generator, unfinished)
  assert asked.value.args == (workers,)


def test_the_manifest_counts_what_is_on_disk(data_dir):
  import tensorflow_datasets as tfds

  from instructrec.pipelines import generate

  manifest = json.loads((data_dir / generate.MANIFEST).read_text())
  for config, splits in manifest["rows"].items():
    builder = tfds.builder(f"instructrec/{config}", data_dir=data_dir)
    found = {n: info.num_examples for n, info in builder.info.splits.items()}
    assert found == splits
  total = sum(sum(splits.values()) for splits in manifest["rows"].values())
  card_text = (data_dir / generate.CARD).read_text()
  assert f"All {total:,} records" in card_text
  assert (data_dir / generate.AUDIT).read_text().startswith("kind,text,")


def test_the_items_lie_beside_the_instructions(spec, data_dir):
  from instructrec.pipelines import generate
  from instructrec.training import item_table

  prepared = dataset.load(spec.prepared_dir)
  table = item_table.ItemTable.load(data_dir)
  assert list(table.item_ids) == prepared.catalog.item_ids
  assert list(table.titles) == prepared.catalog.titles
  taken = collections.Counter(prepared.split.training_log.frame["item_id"])
  assert table.counts.tolist() == [taken[item] for item in table.item_ids]
  frame = pl.read_parquet(data_dir / item_table.FILE)
  assert frame.columns[3:] == ["categories", "brand", "price"]
  assert frame["brand"].equals(prepared.catalog.frame["brand"])
  manifest = json.loads((data_dir / generate.MANIFEST).read_text())
  assert manifest["items"] == {
    "count": len(table),
    "fingerprint": table.fingerprint,
  }
  shown = collections.Counter(
    len(record.shown_history)
    for record in spec.generator().rows(["train"])
    if hasattr(record, "inputs")
  )
  assert table.histories == shown
