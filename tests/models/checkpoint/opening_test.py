"""What lies in a folder is found, or what was looked for is said."""

import dataclasses
import shutil

import numpy as np
import pytest

from instructrec import checksums
from instructrec.models.checkpoint import convert, opening, tensors


@pytest.fixture(name="small")
def small_fixture(flan):
  return dataclasses.replace(flan, num_decoder_layers=1)


@pytest.fixture(name="checkpoint")
def checkpoint_fixture(small, random_arrays, as_checkpoint):
  return as_checkpoint(random_arrays(small))


@pytest.fixture(name="steps", scope="module")
def steps_fixture(tmp_path_factory, flan, random_arrays, as_checkpoint):
  """A folder of checkpoints of both of T5X's forms."""
  folder = tmp_path_factory.mktemp("steps")
  small = dataclasses.replace(flan, num_decoder_layers=1)
  for form, step in (("t5x", 9), ("t5x_legacy", 100), ("instructrec", 20)):
    convert.convert(
      as_checkpoint(random_arrays(small)),
      folder,
      convert.Settings(form=form, step=step, optimizer="none"),
    )
  # What a save that was killed leaves.
  (folder / "checkpoint_300.orbax-checkpoint-tmp-1").mkdir()
  return folder


@pytest.mark.parametrize(
  ("step", "form"),
  [(None, "t5x_legacy"), (9, "t5x"), (20, "instructrec"), (100, "t5x_legacy")],
)
def test_the_newest_step_or_the_one_asked_for(step, form, steps):
  found = opening.open_checkpoint(steps, step)
  assert (found.form, found.step) == (form, step or 100)


def test_a_run_has_its_checkpoints_in_a_folder(steps, tmp_path):
  shutil.copytree(steps, tmp_path / "run" / "checkpoints")
  assert opening.open_checkpoint(tmp_path / "run", 9).step == 9


def test_the_item_in_a_checkpoint_may_be_named(steps):
  assert opening.open_checkpoint(steps / "checkpoint_9" / "state").step == 9


def _flip(folder, name):
  """Changes a bit of the largest file of a name; returns its path."""
  files = [p for p in folder.rglob(name) if p.name != checksums.FILE]
  file = max(files, key=lambda path: path.stat().st_size)
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)
  return file


@pytest.mark.parametrize(
  ("step", "name"), [(9, "*"), (20, "*"), (100, "*"), (100, ".zarray")]
)
def test_a_bit_that_was_flipped_is_found(step, name, steps, tmp_path):
  folder = tmp_path / f"checkpoint_{step}"
  shutil.copytree(steps / folder.name, folder)
  file = _flip(folder, name)
  named = [folder, folder / "state"] if step == 20 else [folder]
  for path in named:
    with pytest.raises(checksums.DamagedError, match=f"{file} is damaged"):
      opening.open_checkpoint(path)


def test_what_is_exported_for_others_is_checked_as_well(checkpoint, tmp_path):
  convert.convert(
    checkpoint, tmp_path / "hf", convert.Settings(form="huggingface")
  )
  # What belongs to a tokenizer may come beside it.
  (tmp_path / "hf" / "tokenizer.json").write_text("{}")
  opening.open_checkpoint(tmp_path / "hf")
  file = _flip(tmp_path / "hf", "*.safetensors")
  for path in (tmp_path / "hf", file):
    with pytest.raises(checksums.DamagedError, match="is meant, delete SHA256"):
      opening.open_checkpoint(path)


def test_a_damaged_newest_step_is_passed_over_with_its_file(
  steps, tmp_path, caplog
):
  run = tmp_path / "run"
  shutil.copytree(steps, run)
  (run / "checkpoint_300").mkdir()
  file = _flip(run / "checkpoint_100", "*")
  assert opening.open_checkpoint(run).step == 20
  assert f"{file} is damaged" in caplog.text
  assert "checkpoint_300 holds no checkpoint" in caplog.text
  assert caplog.text.count("Opens checkpoint_20 instead") == 2
  with pytest.raises(checksums.DamagedError, match=f"{file} is damaged"):
    opening.open_checkpoint(run, 100)
  for step in (9, 20):
    _flip(run / f"checkpoint_{step}", "*")
  with pytest.raises(FileNotFoundError, match="checkpoint_300 holds no check"):
    opening.open_checkpoint(run)


def test_a_step_that_is_not_there(steps):
  with pytest.raises(
    FileNotFoundError, match=r"has no checkpoint_7; it has \[9, 20, 100\]"
  ):
    opening.open_checkpoint(steps, 7)


@pytest.mark.parametrize("name", ["checkpoint_9", "checkpoint_100"])
def test_a_step_of_a_single_checkpoint(name, steps):
  with pytest.raises(
    ValueError, match=f"step 9 was asked for, but .*{name} is"
  ):
    opening.open_checkpoint(steps / name, 9)


def test_a_path_that_is_not_there(tmp_path):
  with pytest.raises(FileNotFoundError, match="nothing does not exist"):
    opening.open_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize(
  ("files", "message"),
  [
    ((), r"holds no checkpoint: none of model\.safetensors, .*<step>$"),
    (("pytorch_model.bin", "config.json"), "PyTorch's pickles, which are not"),
    (("pytorch_model-00001-of-00002.bin",), "save it anew as safetensors$"),
  ],
)
def test_folders_of_something_else(files, message, tmp_path):
  for name in files:
    (tmp_path / name).write_bytes(b"")
  with pytest.raises(FileNotFoundError, match=message):
    opening.open_checkpoint(tmp_path)


def test_a_step_without_a_checkpoint_in_it(tmp_path):
  (tmp_path / "checkpoint_3" / "checkpoint_4").mkdir(parents=True)
  with pytest.raises(FileNotFoundError, match="checkpoint_3 holds no checkp"):
    opening.open_checkpoint(tmp_path)


def test_a_whole_network_passes(checkpoint, small):
  assert opening.check(checkpoint) == small
  assert opening.check(checkpoint, small) == small


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"encoder/layers_1/mlp/wi_1/kernel": None},
      r"missing \(1\):\n    encoder/layers_1/mlp/wi_1/kernel \[24, 40\]$",
    ),
    (
      {"encoder/layers_1/mlp/wi_2/kernel": (24, 40)},
      r"unknown \(1\):\n    encoder/layers_1/mlp/wi_2/kernel \[24, 40\] "
      r"\(nearest known: encoder/layers_1/mlp/wi_[01]/kernel\)$",
    ),
    (
      {"decoder/decoder_norm/scale": (23,)},
      r"decoder/decoder_norm/scale: found \[23\], expected \[24\]$",
    ),
    (
      {"decoder/layers_2/mlp/wo/kernel": (40, 24)},
      r"2 \+ 3 layers \(sizes from shapes\)\n  missing \(27\)",
    ),
  ],
)
def test_what_does_not_fit_is_named(change, message, checkpoint):
  for name, shape in change.items():
    checkpoint.params.pop(name, None)
    if shape:
      array = np.zeros(shape, np.float32)
      checkpoint.params[name] = tensors.from_array(array, name)
  with pytest.raises(tensors.CheckpointError, match=message):
    opening.check(checkpoint)


def test_the_network_that_is_expected_counts(checkpoint, small):
  with pytest.raises(
    tensors.CheckpointError, match=r"\(sizes from the caller\)\n  of another"
  ):
    opening.check(checkpoint, dataclasses.replace(small, vocab_size=48))
