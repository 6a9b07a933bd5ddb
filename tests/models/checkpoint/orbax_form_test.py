"""What Orbax writes is read, and what we write Orbax reads."""

import dataclasses

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from instructrec import checksums
from instructrec.models.checkpoint import (
  convert,
  diff,
  opening,
  orbax_form,
  tensors,
)


@pytest.fixture(name="small")
def small_fixture(flan):
  return dataclasses.replace(flan, num_decoder_layers=1)


@pytest.fixture(name="saved")
def saved_fixture(tmp_path, small, random_arrays, as_checkpoint):
  original = as_checkpoint(random_arrays(small), step=12)
  convert.convert(original, tmp_path / "out", convert.Settings(form="t5x"))
  return tmp_path / "out" / "checkpoint_12"


def _nested(flat):
  tree = {}
  for name, array in flat.items():
    *path, last = name.split("/")
    node = tree
    for part in path:
      node = node.setdefault(part, {})
    node[last] = array
  return tree


def _save(folder, tree, step):
  with ocp.CheckpointManager(
    folder,
    options=ocp.CheckpointManagerOptions(step_prefix="checkpoint"),
    item_names=("state", "dataset"),
  ) as manager:
    manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(tree), dataset=ocp.args.JsonSave({"at": 3})
      ),
    )


@pytest.mark.parametrize("form", ["t5x", "instructrec"])
def test_trees_saved_by_orbax_are_read(
  form, tmp_path, small, random_arrays, as_checkpoint, caplog
):
  arrays = random_arrays(small)
  params = jax.tree.map(jax.numpy.asarray, _nested(arrays))
  if form == "t5x":
    states = {"v": np.ones(3)}
    tree = {"target": params, "state": {"step": 12, "param_states": states}}
  else:
    tree = {"params": params, "step": np.int32(12), "opt_state": [np.ones(3)]}
  _save(tmp_path, tree, 12)
  if form == "instructrec":
    with pytest.raises(checksums.DamagedError, match="SHA256SUMS is missing"):
      opening.open_checkpoint(tmp_path)
    checksums.write(tmp_path / "checkpoint_12")
  found = opening.open_checkpoint(tmp_path)
  assert ("cannot be checked" in caplog.text) == (form == "t5x")
  assert (found.form, found.step, found.stacked) == (form, 12, False)
  assert list(found.left.values()) == ["state of the optimizer"]
  assert diff.diff(as_checkpoint(arrays), found) == []


@pytest.mark.parametrize("form", ["t5x", "instructrec"])
def test_orbax_restores_what_we_write(
  form, tmp_path, small, random_arrays, as_checkpoint
):
  arrays = random_arrays(small, "bfloat16")
  convert.convert(
    as_checkpoint(arrays),
    tmp_path / "out",
    convert.Settings(form=form, step=5, optimizer="none"),
  )
  with ocp.CheckpointManager(
    tmp_path / "out",
    options=ocp.CheckpointManagerOptions(step_prefix="checkpoint"),
    item_handlers={"state": ocp.PyTreeCheckpointHandler()},
  ) as manager:
    assert manager.latest_step() == 5
    restored = manager.restore(
      5, args=ocp.args.Composite(state=ocp.args.PyTreeRestore())
    ).state
  step = {"params": {"step": 5}, "target": {"state": {"step": 5}}}
  root = "params" if form == "instructrec" else "target"
  assert restored.keys() - {root} == step[root].keys()
  jax.tree.map(
    np.testing.assert_array_equal,
    restored,
    {root: _nested(arrays), **step[root]},
  )


def test_a_tree_of_something_else(tmp_path):
  _save(tmp_path, {"weights": {"a": np.ones(3)}, "epoch": np.ones(())}, 1)
  with pytest.raises(
    tensors.CheckpointError, match=r"holds epoch, weights; expected `target`"
  ):
    opening.open_checkpoint(tmp_path)


def test_in_a_bucket_the_list_comes_last(
  tmp_path, small, random_arrays, as_checkpoint, monkeypatch
):
  """Nothing is renamed there; this disk stands in for it."""
  monkeypatch.setattr(
    orbax_form,
    "temporary_path_class",
    lambda unused: orbax_form._HashedInBucket,
  )
  original = as_checkpoint(random_arrays(small))
  convert.convert(
    original, tmp_path, convert.Settings(form="instructrec", step=5)
  )
  listed = (tmp_path / "checkpoint_5" / checksums.FILE).read_text()
  assert "  commit_success.txt\n" in listed
  assert "  state/manifest.ocdbt\n" in listed
  assert diff.diff(original, opening.open_checkpoint(tmp_path)) == []


def test_a_damaged_manifest_is_named(saved):
  (saved / "state" / "manifest.ocdbt").write_bytes(b"\0" * 40)
  with pytest.raises(checksums.DamagedError, match=r"manifest\.ocdbt is damag"):
    opening.open_checkpoint(saved)
  (saved / checksums.FILE).unlink()  # As if it were T5X's.
  with pytest.raises(
    tensors.CheckpointError, match=r"checkpoint_12/state cannot be read"
  ):
    opening.open_checkpoint(saved)


def test_damaged_numbers_are_named_when_they_are_read(tmp_path, saved):
  found = opening.open_checkpoint(saved)
  for file in saved.rglob("d/*"):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  with pytest.raises(tensors.CheckpointError, match=r"cannot be read: "):
    convert.convert(
      found, tmp_path / "hf", convert.Settings(form="huggingface")
    )
  assert not (tmp_path / "hf").exists()
