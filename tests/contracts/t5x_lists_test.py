"""Real T5X trains on lists, writes and measures them, and learns from rewards.

On four devices, two of which share each copy of the weights.
"""

import json
import shutil

import numpy as np
import pytest
from event_files import scalars

from instructrec.alignment import list_objective
from instructrec.models.checkpoint import convert, opening
from instructrec.models.networks import adapters
from instructrec.training import t5x_run

pytestmark = [pytest.mark.t5x, pytest.mark.slow, pytest.mark.tf]

TASKS = ("plain", "wanted", "unwanted", "proportion", "combined")
COMMON = (
  "--gin_file=gin/control_xl.gin",
  "--gin_file=gin/overrides/tiny.gin",
  "--gin.TARGETS_LENGTH=192",
  "--gin.LOG_PERIOD=1",
  "--gin.EVAL_STEPS=1",
  "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
)


@pytest.fixture(scope="module")
def trained(t5x_lists, tmp_path_factory):
  """A small network that is taught lists, and what T5X said."""
  folder = tmp_path_factory.mktemp("taught") / "model"
  output = t5x_lists.run(
    "train",
    *COMMON,
    f"--gin.MODEL_DIR='{folder}'",
    "--gin.MIXTURE_OR_TASK_NAME='control_v1_mixture'",
    "--gin.TRAIN_STEPS=10",
    "--gin.EVALUATOR_NUM_EXAMPLES=6",
    devices=4,
    checked=True,
  )
  assert "global_mesh devices shape: (2, 2)" in output
  return folder


def opened(t5x_lists, folder):
  """A MODEL_DIR as `instructrec evaluate` opens it."""
  return t5x_run.load(
    folder,
    tfds_data_dir=t5x_lists.data,
    vocabulary=t5x_lists.data / "vocabulary" / "sentencepiece.model",
  )


def test_lists_are_learnt_written_and_measured(t5x_lists, trained):
  assert opened(t5x_lists, trained).data.mixture == "control_v1_mixture"
  losses = scalars(trained / "train")["loss"]
  assert losses[10] < losses[1] - 0.5
  for task in TASKS:
    path = trained / "inference_eval" / f"control_v1_{task}_asked-metrics.jsonl"
    row = json.loads(path.read_text().splitlines()[-1])
    assert row["step"] == 10
    # Titles of the catalogue, as many as were asked for, none twice, none of
    # the history.
    assert row["CorrectCount"] == 1.0, task
    for mistake in ("TooMany", "NonExist", "RepeatItem", "InHistory"):
      assert row[mistake] == 0.0, (task, mistake)
    assert 0.0 <= row["NDCG@10"] <= row["HR@10"] <= 1.0
    assert 0.0 <= row["TCP"] <= 1.0
    logged = scalars(path.parent / f"control_v1_{task}_asked")
    assert logged["eval/HR@10"] == pytest.approx({10: row["HR@10"]})


@pytest.fixture(scope="module")
def align(t5x_lists, trained, tmp_path_factory):
  """Rewards the lists of the network that was taught some."""
  start = tmp_path_factory.mktemp("start")
  convert.convert(
    opening.open_checkpoint(trained, 10),
    start,
    convert.Settings(form="t5x_legacy", step=10),
  )

  def align(folder, *more, last):
    return t5x_lists.run(
      "train",
      *COMMON,
      "--gin_file=gin/runs/t5x_align.gin",
      *more,
      f"--gin.MODEL_DIR='{folder}'",
      f"--gin.INITIAL_CHECKPOINT_PATH='{start / 'checkpoint_10'}'",
      f"--gin.TRAIN_STEPS={last}",
      # None meanwhile: that of lists is tested above.
      "--gin.EVAL_PERIOD=100",
      devices=4,
      checked=True,
    )

  return align


def test_rewarded_lists_are_learnt_from_and_resumed(
  t5x_lists, trained, align, tmp_path
):
  """Twenty steps from what was taught; the last ten again, from the middle."""
  align(tmp_path / "whole", "--gin.NUM_LISTS=2", last=30)
  left = shutil.ignore_patterns("checkpoint_30", "train")
  shutil.copytree(tmp_path / "whole", tmp_path / "again", ignore=left)
  output = align(tmp_path / "again", "--gin.NUM_LISTS=2", last=30)
  assert "Starting main loop over steps 20-30" in output
  whole, again = (
    scalars(tmp_path / name / "train") for name in ("whole", "again")
  )
  assert list(whole["loss"]) == list(range(11, 31))
  for name in ("loss", "reward/list", "policy/divergence", "lists/distinct"):
    last_ten = {step: whole[name][step] for step in range(21, 31)}
    assert again[name] == last_ten, name
  assert whole["policy/ratio"][11] == pytest.approx(1.0, abs=1e-5)
  assert whole["policy/divergence"][11] == pytest.approx(0.0, abs=1e-6)
  assert whole["policy/divergence"][30] > 1e-6
  run = opened(t5x_lists, tmp_path / "again")
  assert run.data.mixture == "control_v1_lists"
  assert isinstance(
    run.model.objective.objectives[0], list_objective.ListObjective
  )
  first = opening.open_checkpoint(trained, 10).params
  last = opening.open_checkpoint(tmp_path / "again", 30).params
  changed = set()
  for name, tensor in last.items():
    if name in first:
      np.testing.assert_array_equal(tensor.read(), first[name].read(), name)
    elif np.any(tensor.read()):
      changed.add(name)
  assert changed
  assert all(adapters.is_adapter(name) for name in last.keys() - first.keys())


@pytest.mark.parametrize(
  ("more", "logged"),
  [
    (("list_ppo", "--gin.NUM_UPDATES=1", "--gin.NUM_LISTS=2"), "value/loss"),
    (("list_dpo",), "policy/preferred"),
  ],
)
def test_other_losses_take_a_step(align, tmp_path, more, logged):
  name, *bindings = more
  gin_file = f"--gin_file=gin/objectives/{name}.gin"
  align(tmp_path / name, gin_file, *bindings, last=11)
  found = scalars(tmp_path / name / "train")
  # The policy is the reference still.
  assert found["policy/divergence"] == pytest.approx({11: 0.0}, abs=1e-6)
  assert found["policy/ratio"] == pytest.approx({11: 1.0}, abs=1e-5)
  assert np.isfinite(found[logged][11])
  assert found["lists/errors"] == {11: 0.0}
