"""Control tasks from prepared data to a network, by the command line."""

import json

import pytest
from typer.testing import CliRunner

from instructrec.cli import main

pytestmark = pytest.mark.tf


def call(*args):
  return CliRunner().invoke(main.app, [str(a) for a in args])


_SHORT = {
  "TRAIN_STEPS": 4,
  "WARMUP_STEPS": 1,
  "BATCH_SIZE": 8,
  "EVAL_PERIOD": 4,
  "EVAL_STEPS": 1,
  "CHECKPOINT_PERIOD": 4,
  "LOG_PERIOD": 2,
  # Forty items are too few to begin with what occurs with what.
  "INITIAL_EMBEDDINGS": "'random'",
}


@pytest.mark.slow
def test_a_network_learns_lists_beside_single_items(work, tmp_path):
  result = call(
    "retrieve",
    "fit",
    f"--data={work / 'prepared'}",
    "--method=itemknn",
    "--num_trials=1",
    f"--output={tmp_path / 'itemknn'}",
  )
  assert result.exit_code == 0, result.output
  result = call(
    "generate",
    f"--data={work / 'prepared'}",
    *(f"--kind={kind}" for kind in ("control", "instructrec", "genrec")),
    f"--retriever={tmp_path / 'itemknn'}",
    "--num_epochs=2",
    "--vocab_size=500",
    "--num_workers=1",
    f"--output={tmp_path / 'instructions'}",
  )
  assert result.exit_code == 0, result.output
  assert "control_wanted: " in result.output
  result = call(
    "train",
    "--gin_file=gin/control_cpu.gin",
    *(f"--gin.{name}={value}" for name, value in _SHORT.items()),
    f"--tfds_data_dir={tmp_path / 'instructions'}",
    f"--model_dir={tmp_path / 'model'}",
  )
  assert result.exit_code == 0, result.output
  lines = (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()
  losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
  assert losses
  assert losses[-1] < losses[0]
  result = call(
    "evaluate",
    f"--model_dir={tmp_path / 'model'}",
    f"--teacher={tmp_path / 'itemknn'}",
    "--num_requests=6",
    "--num_validation=20",
    "--num_histories=0",
  )
  assert result.exit_code == 0, result.output
  page = (tmp_path / "model" / "report" / "report.md").read_text()
  for group in ("plain", "wanted", "proportion", "cold_unwanted", "category"):
    assert f"## Control: {group}, seen" in page
  for method in ("teacher, filtered", "state vector, filtered"):
    assert f"| {method} - model |" in page
  result = call(
    "train",
    "--gin_file=gin/align_cpu.gin",
    *(f"--gin.{name}={value}" for name, value in _SHORT.items()),
    f"--gin.INITIAL_CHECKPOINT_PATH='{tmp_path / 'model'}'",
    f"--tfds_data_dir={tmp_path / 'instructions'}",
    f"--model_dir={tmp_path / 'aligned'}",
  )
  assert result.exit_code == 0, result.output
  assert "adapters alone are trained" in result.output
  lines = (tmp_path / "aligned" / "metrics.jsonl").read_text().splitlines()
  first = json.loads(lines[0])
  # Of two steps, the first of which is of the network that is not to be left.
  assert first["policy/ratio"] == pytest.approx(1.0, abs=1e-4)
  assert first["lists/errors"] == 0.0
  assert "best is checkpoint_4: reward/list" in result.output


def test_a_report_asks_for_lists_of_the_rows_teacher_alone(work, tmp_path):
  """A run that was taught no lists is refused before anything is ranked."""
  result = call(
    "evaluate",
    f"--model_dir={work / 'model'}",
    f"--output={tmp_path / 'report'}",
    f"--teacher={tmp_path}",
  )
  assert result.exit_code
  said = result.output + str(result.exception)
  assert "has no control task" in " ".join(said.split())
  assert not (tmp_path / "report").exists()


def test_what_does_not_fit_is_said_before_anything_is_made(work, tmp_path):
  data, output = f"--data={work / 'prepared'}", f"--output={tmp_path / 'made'}"
  for options, message in (
    (["--kind=control"], "needs the folder of a fitted retriever"),
    ([f"--retriever={tmp_path}"], "which nothing else reads"),
    (["--kind=control", f"--retriever={tmp_path}"], "holds no retriever"),
    (
      [
        *("--kind=control", f"--retriever={tmp_path}"),
        "--template_file=mine.yaml",
      ],
      "name another --kind as well",
    ),
  ):
    result = call("generate", data, output, *options)
    assert result.exit_code
    said = " ".join((result.output + str(result.exception)).split())
    assert message in said.replace("│ ", ""), said
  assert not (tmp_path / "made").exists()
