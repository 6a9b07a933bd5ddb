"""`instructrec train`: what it refuses, and what it writes down."""

import json
import os
import shutil

import pytest
from command_line import result_of

from instructrec import folder_lock, output_folder
from instructrec.training import run_dir, run_record


@pytest.mark.tf
def test_a_start_that_is_refused_leaves_the_run_as_it_was(work, train_args):
  """Else the run would be evaluated with another network than it has."""
  files = [work / "model" / name for name in ("config.gin", "run.json")]
  before = [file.read_text() for file in files]
  with pytest.raises(ValueError, match="was trained with batch_size = 4"):
    result_of(
      *train_args,
      "--gin.BATCH_SIZE=8",
      "--gin.DROPOUT_RATE=0.3",
      f"--tfds_data_dir={work / 'instructions'}",
      f"--model_dir={work / 'model'}",
    )
  assert [file.read_text() for file in files] == before


@pytest.mark.tf
def test_the_record_is_of_what_was_trained(work, tmp_path, train_args):
  """Each start with settings of its own; the time is of all steps, or not."""
  model = tmp_path / "model"
  shutil.copytree(work / "model", model)
  args = [
    *train_args,
    f"--tfds_data_dir={work / 'instructions'}",
    f"--model_dir={model}",
  ]
  names = ("config.gin", "run.json")

  def start(*more, left):
    result = result_of(
      *args, f"--model_dir={model}", "--gin.DROPOUT_RATE=0.3", *more
    )
    assert result.exit_code == 0, result.output
    assert f"goes on from checkpoint_6 in {model}: {left}" in result.output
    return result.output

  before = [(model / name).read_bytes() for name in names]
  record = json.loads((model / "run.json").read_text())
  assert record["train_seconds"] > 0
  assert record["settings"]["DROPOUT_RATE"] == "0.0"
  # Nothing is left to train: with other settings, nothing was.
  told = start(left="0 of 6 steps")
  assert "the record of the run stays: DROPOUT_RATE 0.3 (was 0.0)" in told
  assert [(model / name).read_bytes() for name in names] == before
  assert not (model / "run.lock").exists()
  # Gone on with, it is another run from here.
  assert "stays" not in start("--gin.TRAIN_STEPS=8", left="2 of 8 steps")
  record = json.loads((model / "run.json").read_text())
  assert [entry["step"] for entry in record["starts"]] == [0, 6]
  assert record["starts"][1]["changed"] == {
    "DROPOUT_RATE": {"from": "0.0", "to": "0.3"},
    "TRAIN_STEPS": {"from": "6", "to": "8"},
  }
  assert "DROPOUT_RATE = 0.3" in (model / "config.gin").read_text()
  assert "train_seconds" not in record


@pytest.mark.tf
def test_a_run_that_was_stopped_after_its_last_step_is_written_down(
  work, tmp_path, train_args
):
  """All is trained and saved, and the signal came before the record's end."""
  model = tmp_path / "model"
  shutil.copytree(work / "model", model)
  record = run_record.read(model)
  best = record.pop("best_checkpoint")
  assert best["metric"] == "NDCG@10"
  run_record.write(model, record)
  result = result_of(
    *train_args,
    f"--tfds_data_dir={work / 'instructions'}",
    f"--model_dir={model}",
  )
  assert "0 of 6 steps are left" in result.output
  assert run_record.read(model) == {**record, "best_checkpoint": best}


@pytest.mark.tf
def test_a_second_run_in_a_folder_is_refused(work, train_args):
  """Before it reads or writes anything there."""
  model = work / "model"
  before = {p: p.stat().st_mtime_ns for p in model.rglob("*")}
  lock = folder_lock.FolderLock(
    model / run_dir.LOCK, folder=model, command="train", tell=print
  )
  with (
    lock,
    pytest.raises(
      folder_lock.InUseError,
      match=rf"model is in use: process {os.getpid()} on \S+ \(instructrec "
      r"train, since .*name another folder",
    ),
  ):
    result_of(*train_args, "--tfds_data_dir=nowhere", f"--model_dir={model}")
  after = {p: p.stat().st_mtime_ns for p in model.rglob("*")}
  assert after | {model: 0} == before | {model: 0}


@pytest.mark.parametrize(
  ("folder", "file", "message"),
  [
    ("model", "model/checkpoints", "model/checkpoints is a file, expected the"),
    ("model", "model", "model is a file, expected a folder"),
    ("a/b", "a", r"a/b cannot be written to .*Not a directory"),
  ],
)
def test_a_folder_that_cannot_hold_a_run_is_found_first(
  tmp_path, train_args, folder, file, message
):
  """Before data are looked for, and long before anything is compiled."""
  (tmp_path / file).parent.mkdir(exist_ok=True)
  (tmp_path / file).write_text("kept")
  with pytest.raises(OSError, match=message):
    result_of(
      *train_args,
      "--tfds_data_dir=nowhere",
      f"--model_dir={tmp_path / folder}",
    )
  assert (tmp_path / file).read_text() == "kept"
  assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / file]


@pytest.mark.tf
@pytest.mark.parametrize(
  ("command", "args"),
  [
    ("generate", ["generate"]),
    ("retrieve fit", ["retrieve", "fit", "--method=popularity"]),
  ],
)
def test_two_commands_do_not_make_one_output(tmp_path, command, args):
  """The second is refused before it reads anything, for hours perhaps."""
  output = tmp_path / "output"
  with (
    output_folder.locked(output, command, print),
    pytest.raises(
      folder_lock.InUseError,
      match=rf"{output} is in use: .* \(instructrec {command}, since",
    ),
  ):
    result_of(*args, "--data=nowhere", f"--output={output}", "--overwrite")
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(FileNotFoundError, match="nowhere"):
    result_of(*args, "--data=nowhere", f"--output={output}")
  assert list(tmp_path.iterdir()) == []
