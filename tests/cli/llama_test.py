"""A decoder-only network by the command line: killed, resumed, put to use."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import instructrec
from instructrec.cli import main
from instructrec.training import item_table, run_dir

pytestmark = [pytest.mark.tf, pytest.mark.slow]

_SETTINGS = {
  "TRAIN_STEPS": 40,
  "WARMUP_STEPS": 4,
  "BATCH_SIZE": 4,
  "INPUTS_LENGTH": 128,
  "TARGETS_LENGTH": 32,
  "LOG_PERIOD": 4,
  "EVAL_PERIOD": 20,
  "EVAL_STEPS": 1,
  "EVAL_LISTS": 4,
  "CHECKPOINT_PERIOD": 5,
}


def _train(instructed, folder):
  return [
    "train",
    "--gin_file=gin/quickstart_llama.gin",
    "--gin_file=gin/overrides/catalog.gin",
    *(f"--gin.{name}={value}" for name, value in _SETTINGS.items()),
    f"--tfds_data_dir={instructed / 'instructions'}",
    f"--model_dir={folder}",
  ]


def _call(*args):
  result = CliRunner().invoke(main.app, [str(a) for a in args])
  assert result.exit_code == 0, result.output
  return result.output


@pytest.fixture(scope="module", name="killed")
def killed_fixture(instructed, tmp_path_factory):
  """The folder of a run that was killed after a checkpoint, and resumed."""
  folder = tmp_path_factory.mktemp("llama") / "killed"
  process = subprocess.Popen(
    [sys.executable, "-m", "instructrec.cli.main", *_train(instructed, folder)],
    env={
      **os.environ,
      "PYTHONPATH": str(pathlib.Path(instructrec.__file__).parents[1]),
    },
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  saved = folder / "checkpoints"
  while process.poll() is None and not list(saved.glob("checkpoint_?")):
    time.sleep(0.01)
  process.kill()
  process.wait()
  assert not (saved / "checkpoint_40").exists()
  assert "goes on from" in _call(*_train(instructed, folder))
  return folder


def test_a_killed_run_comes_to_what_an_unbroken_one_does(
  killed, instructed, tmp_path
):
  _call(*_train(instructed, tmp_path / "unbroken"))
  runs = [run_dir.load(folder) for folder in (killed, tmp_path / "unbroken")]
  ours, theirs = (run.params("latest")[0] for run in runs)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  losses = [
    [
      row["loss"]
      for line in run.log.read_text().splitlines()
      if "loss" in (row := json.loads(line))
    ]
    for run in runs
  ]
  assert losses[0] == losses[1]
  assert losses[0][-1] < losses[0][0] - 0.5


def test_it_is_evaluated(killed):
  _call(
    "evaluate",
    f"--model_dir={killed}",
    "--task_type=sequential_p1_i0",
    "--task_type=personalized_search_p1_i1",
    "--num_requests=20",
    "--num_validation=20",
    "--num_beams=10",
  )
  report = json.loads((killed / "report" / "report.json").read_text())
  groups = {one["group"]: one["methods"] for one in report["results"]}
  assert any(name.endswith("whole catalogue") for name in groups)
  for name, methods in groups.items():
    own = "titles, 10 beams" if "whole" in name else "trained model"
    assert 0 < methods[own]["MRR"]["mean"] <= 1


def test_it_generates_titles_of_its_catalogue(killed):
  run = run_dir.load(killed)
  params, _ = run.params()
  words, table = run.tokenizer, item_table.ItemTable.load(killed)
  prompts = [words.encode(text) for text in ("What next?", "And then?")]
  width = max(map(len, prompts))
  batch = {
    "encoder_input_tokens": np.array(
      [row + [0] * (width - len(row)) for row in prompts], np.int32
    )
  }
  tokens, aux = jax.jit(run.model.predict_batch_with_aux)(params, batch)
  for rows, items in zip(np.asarray(tokens), aux["items"], strict=True):
    texts = [words.decode(row[row > 0]) for row in rows]
    assert len(set(texts)) == 10
    assert texts == [table.titles[item - 1] for item in items]
