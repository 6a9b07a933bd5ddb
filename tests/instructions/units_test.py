"""Units cover the requests once; who works on them changes nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from instructrec.instructions import example_proto, generate, units


@pytest.mark.parametrize("counts", [
  {}, {"train": 0, "test": 1}, {"train": 5, "validation": 3, "test": 10},
])  # fmt: skip
def test_units_cover_every_request_once(monkeypatch, counts):
  monkeypatch.setattr(generate, "CHUNK", 3)
  monkeypatch.setattr(units, "SHARD", 6)
  found = units.units(counts)
  covered = [
    (unit.split, number)
    for unit in found
    for number in range(unit.start, unit.stop)
  ]
  assert covered == [
    (split, number)
    for split, count in counts.items()
    for number in range(count)
  ]
  assert all(unit.stop - unit.start <= 3 for unit in found)
  # A unit never lies in two shards, and shards come in order.
  assert all(unit.shard == (unit.stop - 1) // 6 for unit in found)


def test_the_units_records_are_the_generators_records(
  monkeypatch, prepared_dir, generated
):
  generator, records = generated
  monkeypatch.setattr(generate, "CHUNK", 37)
  wanted = units.units(generator.prepared.requests.counts)
  assert len(wanted) > 10
  results = [units.work(generator, unit) for unit in wanted]
  encoded = [
    (r.config, example_proto.encode(r, omit=frozenset(("task", "split"))))
    for r in records
  ]
  assert [found for result in results for found in result.records] == encoded
  for result in results:
    assert result.tally.rows.total() == len(result.records)
    # Texts for a vocabulary: of the first units of training, and no others.
    early = result.unit.start < units.VOCABULARY_UNITS * 37
    assert bool(result.texts) == (result.unit.split == "train" and early)


def test_several_processes_give_what_one_gives(monkeypatch, prepared_dir):
  monkeypatch.setattr(generate, "CHUNK", 150)
  spec = units.Spec(prepared_dir=str(prepared_dir), seed=3)
  counts = spec.generator().prepared.requests.counts
  # A few of all: more than are under way at once.
  wanted = units.units(counts)[::-1][:7]
  alone = list(units.run(spec, wanted, 1))
  assert [result.unit for result in alone] == wanted
  assert list(units.run(spec, wanted, 2)) == alone


def test_leaving_early_ends_the_workers(monkeypatch, prepared_dir):
  monkeypatch.setattr(generate, "CHUNK", 20)
  spec = units.Spec(prepared_dir=str(prepared_dir))
  running = units.run(spec, [units.Unit("train", 0, 20)] * 50, 2)
  assert next(running).unit.stop == 20
  assert multiprocessing.active_children()
  running.close()
  assert not multiprocessing.active_children()


def test_what_does_not_fit_is_refused_before_any_work(prepared_dir):
  with pytest.raises(FileNotFoundError, match="holds no prepared data"):
    units.Spec(prepared_dir=str(prepared_dir.parent)).generator()
  with pytest.raises(ValueError, match="expected 'stated', 'strict' or"):
    units.Spec(prepared_dir=str(prepared_dir), protocol="odd").generator()
  # As a slice from -0 on, no history at all would be the whole of it.
  with pytest.raises(ValueError, match="max_history is 0, expected 1 or more"):
    units.Spec(prepared_dir=str(prepared_dir), max_history=0).generator()


def test_template_files_of_ones_own_are_used(prepared_dir, tmp_path):
  path = tmp_path / "mine.yaml"
  path.write_text(
    "templates:\n"
    "  - {id: mine, task: sequential, preference: [P1], form: T2,\n"
    '     inputs: "After {history} comes what?"}\n'
  )
  spec = units.Spec(prepared_dir=str(prepared_dir), template_files=(str(path),))
  with pytest.raises(
    ValueError, match=r"no template is called 'seq_next_item'.*--eval_template"
  ):
    spec.generator()


_KILLED = """
import concurrent.futures, multiprocessing, os, signal
from instructrec.instructions import units

if __name__ == "__main__":
  pool = concurrent.futures.ProcessPoolExecutor(
    1,
    mp_context=multiprocessing.get_context("spawn"),
    initializer=units.end_with_parent,
  )
  print(pool.submit(os.getpid).result(), flush=True)
  os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
  """What they print to is closed once the last of them has ended."""
  script = tmp_path / "killed.py"
  script.write_text(_KILLED)
  with subprocess.Popen(
    [sys.executable, str(script)],
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
  ) as parent:
    worker = int(parent.stdout.readline())
    try:
      assert parent.communicate(timeout=60) == ("", None)
    except subprocess.TimeoutExpired:
      os.kill(worker, signal.SIGKILL)
      raise
  assert parent.returncode == -signal.SIGKILL
