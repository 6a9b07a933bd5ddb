"""Checkpoints that are damaged are passed over loudly, and never restored."""

import concurrent.futures
import shutil
import subprocess
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec import checksums
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
  restored = store().restore_params(ABSTRACT.params)
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
