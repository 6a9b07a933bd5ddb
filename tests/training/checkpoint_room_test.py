"""What checkpoints need is known before anything is computed."""

import shutil
import types

import jax
import jax.numpy as jnp
import pytest

from instructrec.training import checkpoint_room, checkpoints, train_step

_MIB = 1 << 20
_STATE = {
  "params": jax.ShapeDtypeStruct((1024, 1024), jnp.float32),
  "step": jax.ShapeDtypeStruct((), jnp.int32),
}


def check(folder, monkeypatch, *, free, **options):
  found = []

  def disk_usage(path):
    found.append(path)
    return types.SimpleNamespace(free=free)

  monkeypatch.setattr(shutil, "disk_usage", disk_usage)
  options = {"saves": 10, "keep": 3, "present": 0, **options}
  checkpoint_room.check(folder, _STATE, **options)
  return found


def test_a_checkpoint_takes_no_more_than_is_said(tmp_path):
  state = train_step.TrainState(
    step=jnp.int32(1),
    params={"w": jax.random.normal(jax.random.key(0), (512, 1024))},
    opt_state={"m": jax.random.normal(jax.random.key(1), (512, 1024))},
  )
  store = checkpoints.Checkpoints(tmp_path / "checkpoints")
  store.save(state, {}, {})
  store.close()
  files = [p for p in tmp_path.rglob("*") if p.is_file()]
  taken = sum(p.stat().st_size for p in files)
  said = checkpoint_room.checkpoint_bytes(state)
  assert 0.5 * said < taken <= said


def test_where_not_one_fits_nothing_is_begun(tmp_path, monkeypatch):
  with pytest.raises(
    OSError, match=r"has 0.00 GiB free, .* takes up to 0.00 GiB; make room"
  ):
    check(tmp_path, monkeypatch, free=5 * _MIB - 1)
  check(tmp_path, monkeypatch, free=5 * _MIB + 4, saves=1)


@pytest.mark.parametrize(
  ("options", "most"),
  [
    # One more than is kept: the oldest goes when the next is complete.
    ({}, 4),
    ({"present": 2}, 2),
    ({"present": 3}, 1),
    ({"present": 5}, 1),
    ({"saves": 2}, 2),
    ({"keep": None}, 10),
  ],
)
def test_where_not_all_fit_it_is_said(
  tmp_path, monkeypatch, capsys, options, most
):
  size = checkpoint_room.checkpoint_bytes(_STATE)
  check(tmp_path, monkeypatch, free=most * size, **options)
  assert capsys.readouterr().err == ""
  if most > 1:
    check(tmp_path, monkeypatch, free=most * size - 1, **options)
    assert f"and {most} checkpoints more" in capsys.readouterr().err


def test_a_finished_run_needs_no_room(tmp_path, monkeypatch):
  assert check(tmp_path, monkeypatch, free=0, saves=0) == []


def test_the_disk_is_that_of_the_folder_to_be(tmp_path, monkeypatch):
  folder = tmp_path / "model" / "checkpoints"
  assert check(folder, monkeypatch, free=1 << 40) == [tmp_path]
