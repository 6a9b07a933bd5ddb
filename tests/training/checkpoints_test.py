"""Checkpoints: damaged ones are passed over loudly, and the best one stays."""

import concurrent.futures
import contextlib
import shutil
import subprocess
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec import checkpoint_steps, checksums
from instructrec.models.checkpoint import evaluations, opening
from instructrec.training import checkpoints, train_step

POSITION = {"seed": 3}


def state(step):
  return train_step.TrainState(
    step=jnp.asarray(step, jnp.int32),
    params={"layer": {"kernel": jnp.arange(64.0) + step}},
    opt_state=(jnp.full(5, step, jnp.float32),),
  )


ABSTRACT = checkpoints.abstract(
  state(0), jax.tree.map(lambda x: x.sharding, state(0))
)


@pytest.fixture
def store(tmp_path):
  """A function that opens the folder of the test; all are closed."""
  opened = []

  def open_store():
    opened.append(checkpoints.Checkpoints(tmp_path / "run", keep=None))
    return opened[-1]

  yield open_store
  for one in opened:
    one.close()


def save(found, *steps):
  for step in steps:
    found.save(state(step), POSITION, {})
  found.wait()


def flip(folder, name="*"):
  """Changes a bit of the largest file; returns its path."""
  files = [p for p in folder.rglob(name) if p.name != checksums.FILE]
  path = max(files, key=lambda p: p.stat().st_size if p.is_file() else -1)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  return path


def assert_is(restored, step):
  jax.tree.map(np.testing.assert_array_equal, restored, state(step))


def test_what_is_saved_carries_its_hashes(store, tmp_path):
  save(store(), 1)
  folder = tmp_path / "run" / "checkpoint_1"
  checksums.verify(folder, "")
  listed = (folder / checksums.FILE).read_text()
  assert " state/manifest.ocdbt\n" in listed
  assert " data/metadata\n" in listed
  assert " _CHECKPOINT_METADATA\n" in listed
  program = shutil.which("sha256sum")
  if program is None:
    pytest.skip("no sha256sum on this machine")
  command = [program, "--check", "--strict", checksums.FILE]
  subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_a_damaged_newest_is_passed_over_and_made_anew(store, tmp_path, caplog):
  save(store(), 1, 2, 3)
  damaged = flip(tmp_path / "run" / "checkpoint_3")
  again = store()
  assert_is(again.restore(ABSTRACT, POSITION), 2)
  assert f"{damaged} is damaged" in caplog.text
  assert "Restores checkpoint_2 instead" in caplog.text
  # Its step will be saved again, so it makes room, and is not lost.
  assert again.steps == [1, 2]
  (aside,) = (tmp_path / "run").glob("checkpoint_3.damaged-*")
  assert (aside / damaged.relative_to(tmp_path / "run/checkpoint_3")).is_file()
  save(again, 3)
  assert_is(store().restore(ABSTRACT, POSITION), 3)


def in_processes(found, monkeypatch, count=2):
  """The step that each of several processes takes for whole.

  Threads stand for them: they meet where processes would.
  """
  here, seen, meet = threading.local(), {}, threading.Barrier(count)

  def allgather(value):
    seen[here.index] = value
    meet.wait(60)
    every = np.stack([seen[i] for i in range(count)])
    meet.wait(60)
    return every

  def whole(index):
    here.index = index
    return found.whole()

  monkeypatch.setattr(
    checkpoints,
    "jax",
    types.SimpleNamespace(
      process_index=lambda: here.index, process_count=lambda: count
    ),
  )
  monkeypatch.setattr(
    checkpoints.multihost_utils, "process_allgather", allgather
  )
  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    return list(pool.map(whole, range(count)))


@pytest.mark.parametrize("place", [0, 1])
def test_processes_that_read_a_part_each_decide_alike(
  store, tmp_path, monkeypatch, caplog, place
):
  """One of them reads the file that is damaged; each file is read by one."""
  save(store(), 1, 2)
  folder = tmp_path / "run" / "checkpoint_2"
  lines = (folder / checksums.FILE).read_text().splitlines()
  name = lines[place][66:]
  (folder / name).write_bytes(b"damaged")
  read, digests = [], checksums._digests
  monkeypatch.setattr(
    checksums,
    "_digests",
    lambda root, names: read.extend(names) or digests(root, names),
  )
  assert in_processes(store(), monkeypatch) == [1, 1]
  assert f"{folder / name} is damaged" in caplog.text
  assert f"{folder} is damaged, process {place} found" in caplog.text
  whole = (tmp_path / "run/checkpoint_1" / checksums.FILE).read_text()
  wanted = [line[66:] for line in [*lines, *whole.splitlines()]]
  assert sorted(read) == sorted(wanted)


def test_who_only_reads_leaves_a_damaged_one_where_it_is(store, tmp_path):
  save(store(), 1, 2)
  flip(tmp_path / "run" / "checkpoint_2")
  found = store()
  restored = found.restore_params(ABSTRACT.params, found.whole().step)
  jax.tree.map(np.testing.assert_array_equal, restored, state(1).params)
  assert (tmp_path / "run" / "checkpoint_2").is_dir()


def test_a_step_that_was_asked_for_is_not_replaced(store, tmp_path):
  save(store(), 1, 2)
  damaged = flip(tmp_path / "run" / "checkpoint_2")
  again = store()
  for restore in (
    lambda: again.restore(ABSTRACT, POSITION, 2),
    lambda: again.restore_params(ABSTRACT.params, 2),
  ):
    with pytest.raises(
      checksums.DamagedError, match=rf"{damaged} is .*; there are \[1, 2\]"
    ):
      restore()
  assert_is(again.restore(ABSTRACT, POSITION, 1), 1)
  assert again.steps == [1, 2]


def test_an_empty_folder_is_no_parameters(store, tmp_path, caplog):
  save(store(), 1)
  (tmp_path / "run" / "checkpoint_9").mkdir()
  assert_is(store().restore(ABSTRACT, POSITION), 1)
  assert "checkpoint_9/SHA256SUMS is missing" in caplog.text


def test_where_nothing_is_whole_nothing_is_begun_anew(store, tmp_path):
  save(store(), 1, 2)
  for step in (1, 2):
    flip(tmp_path / "run" / f"checkpoint_{step}")
  with pytest.raises(
    checksums.DamagedError,
    match=r"checkpoint_2/.*checkpoint_1/.*no other .* is whole; delete",
  ):
    store().restore(ABSTRACT, POSITION)


def test_what_a_killed_save_left_is_no_checkpoint(store, tmp_path):
  save(store(), 1)
  left = tmp_path / "run" / "checkpoint_2.orbax-checkpoint-tmp-hashed"
  shutil.copytree(tmp_path / "run" / "checkpoint_1", left)
  again = store()
  assert again.steps == [1]
  save(again, 2)
  assert not left.exists()
  assert_is(store().restore(ABSTRACT, POSITION), 2)


VALUES = {1: 0.2, 2: 0.6, 4: 0.3, 6: 0.5}
"""The best is step 2, pushed out of the three newest by step 5."""


def saved(folder, last, *, keep=2, values=VALUES):
  """A folder to which steps 1, 2, ... `last` were saved."""
  found = evaluations.Evaluations("NDCG@10")
  with contextlib.closing(checkpoints.Checkpoints(folder, keep=keep)) as store:
    for step in range(1, last + 1):
      if step in values:
        found = found.added(step, values[step])
      store.save(state(step), POSITION, {}, found)
    store.wait()
    return store.steps


@pytest.fixture(scope="module")
def six(tmp_path_factory):
  folder = tmp_path_factory.mktemp("best") / "six"
  assert saved(folder, 6) == [2, 5, 6]
  return folder


@pytest.fixture
def copy(six, tmp_path):
  return shutil.copytree(six, tmp_path / "checkpoints")


def opened(folder):
  return contextlib.closing(checkpoints.Checkpoints(folder, keep=None))


def test_the_best_is_taken_unless_another_is_asked_for(six):
  with opened(six) as store:
    best = store.whole(checkpoint_steps.BEST)
    assert str(best) == ("checkpoint_2 (the best NDCG@10 of validation, 0.6)")
    assert store.whole(checkpoint_steps.LATEST).step == 6
    assert store.whole(5) == checkpoint_steps.Chosen(5, "asked for")


def test_export_and_initial_checkpoints_take_it_too(six):
  found = opening.open_checkpoint(six)
  assert (found.step, found.reason) == (
    2,
    "the best NDCG@10 of validation, 0.6",
  )
  assert opening.open_checkpoint(six, checkpoint_steps.LATEST).step == 6


def test_what_is_no_longer_the_best_goes(tmp_path):
  values = {**VALUES, 7: 0.7, 9: 0.1}
  assert saved(tmp_path / "run", 9, values=values) == [7, 8, 9]


def test_the_best_of_each_newest_stays_with_it(tmp_path):
  """A run that goes on from 6, as 7 is damaged, has its best of before."""
  folder = tmp_path / "run"
  assert saved(folder, 7, values={**VALUES, 7: 0.7}) == [2, 6, 7]
  flip(folder / "checkpoint_7" / "state")
  with opened(folder) as store:
    assert_is(store.restore(ABSTRACT, POSITION), 6)
    assert store.evaluations("NDCG@10").best == (2, 0.6)
    assert store.whole(checkpoint_steps.BEST).step == 2


@pytest.mark.parametrize("name", ["state", "data"])
def test_where_the_newest_is_damaged_the_one_before_knows_the_best(copy, name):
  flip(copy / "checkpoint_6" / name)
  with opened(copy) as store:
    assert store.whole(checkpoint_steps.BEST).step == 2
    assert store.whole(checkpoint_steps.LATEST).step == 5


def test_where_the_record_of_the_newest_is_gone_as_well(copy):
  (copy / "checkpoint_6" / "data" / "metadata").unlink()
  with opened(copy) as store:
    assert store.whole(checkpoint_steps.BEST).step == 2


def test_a_damaged_best_is_passed_over_loudly_for_the_next_best(copy, caplog):
  flip(copy / "checkpoint_2" / "state")
  with opened(copy) as store:
    found = store.whole(checkpoint_steps.BEST)
  assert found.step == 6
  assert "0.5, of those that are left: checkpoint_2 is not" in found.reason
  assert "Restores checkpoint_6 instead" in caplog.text
  with pytest.raises(checksums.DamagedError), opened(copy) as store:
    store.whole(2)


def test_without_evaluations_the_best_is_the_newest(tmp_path):
  with opened(tmp_path / "run") as store:
    store.save(state(3), POSITION, {})
    store.wait()
    assert str(store.whole(checkpoint_steps.BEST)) == (
      "checkpoint_3 (the newest)"
    )
    assert store.evaluations("loss").values == ()


def test_another_metric_begins_anew(six):
  with opened(six) as store:
    assert store.evaluations("loss") == evaluations.Evaluations("loss")
    assert store.evaluations("NDCG@10").best == (2, 0.6)


@pytest.mark.parametrize("value", ["first", "-3", "2.0", True])
def test_a_step_is_a_word_or_a_number(value):
  with pytest.raises(ValueError, match="'latest' or a step"):
    checkpoint_steps.parse(value)
  assert checkpoint_steps.parse("12") == checkpoint_steps.parse(12) == 12
