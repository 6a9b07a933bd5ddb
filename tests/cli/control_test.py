"""Control tasks from prepared data to a network, by the command line."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from instructrec.cli import align, main
from instructrec.pipelines import control_writing
from instructrec.training import distributed, loop, run_dir, run_record

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


# What four steps have taught writes hardly a title by itself.
_TITLES_ALONE = "--gin.list_objective.ListObjective.constrained=True"


def _gin(**settings):
  found = {**_SHORT, **settings}
  return [f"--gin.{name}={value}" for name, value in found.items()]


def _teach(prepared, folder):
  """Makes a teacher, its rows, and a network that was taught by them."""
  for args in (
    (
      "retrieve",
      "fit",
      f"--data={prepared}",
      "--method=itemknn",
      "--num_trials=1",
      f"--output={folder / 'itemknn'}",
    ),
    (
      "generate",
      f"--data={prepared}",
      *(f"--kind={kind}" for kind in ("control", "instructrec", "genrec")),
      f"--retriever={folder / 'itemknn'}",
      "--num_epochs=2",
      "--vocab_size=500",
      "--num_workers=1",
      f"--output={folder / 'instructions'}",
    ),
    (
      "train",
      "--gin_file=gin/control_cpu.gin",
      *_gin(EVAL_LISTS=4),
      f"--tfds_data_dir={folder / 'instructions'}",
      f"--model_dir={folder / 'model'}",
    ),
  ):
    result = call(*args)
    assert result.exit_code == 0, result.output
    if args[0] == "generate":
      assert "control_wanted: " in result.output


@pytest.fixture(scope="session", name="taught")
def taught_fixture(instructed, made_once):
  """A network that was taught lists, with its teacher and its rows."""
  return made_once(
    "taught", lambda folder: _teach(instructed / "prepared", folder)
  )


@pytest.mark.slow
@pytest.mark.minutes
def test_a_network_learns_lists_beside_single_items(taught, tmp_path):
  lines = (taught / "model" / "metrics.jsonl").read_text().splitlines()
  # The whole loss is of as many tokens as lists happen to have.
  name = "next_item/loss"
  losses = [row[name] for row in map(json.loads, lines) if name in row]
  assert losses
  assert losses[-1] < losses[0]
  # The weights that are fitted stay with the run.
  model = shutil.copytree(taught / "model", tmp_path / "model")
  result = call(
    "evaluate",
    f"--model_dir={model}",
    f"--teacher={taught / 'itemknn'}",
    "--task_type=sequential_p1_i0",
    "--num_requests=6",
    "--num_validation=9",
    "--num_histories=0",
  )
  assert result.exit_code == 0, result.output
  page = (model / "report" / "report.md").read_text()
  for group in ("plain", "wanted", "proportion", "cold_unwanted", "category"):
    assert f"## Control: {group}, seen" in page
  for method in ("teacher, filtered", "state vector, filtered"):
    assert f"| {method} - model |" in page


@pytest.mark.slow
@pytest.mark.minutes
def test_lists_are_rewarded_and_what_is_no_better_is_refused(
  taught, tmp_path, monkeypatch
):
  """After four steps nothing is better for certain."""
  aligned = tmp_path / "aligned"
  command = (
    "align",
    *_gin(NUM_LISTS=2),
    _TITLES_ALONE,
    f"--model_dir={taught / 'model'}",
    f"--teacher={taught / 'itemknn'}",
    f"--output={aligned}",
    "--num_requests=6",
  )
  free, written = control_writing.ControlWriter.free, []

  def interrupted(writer, name):
    written.append(name)
    if len(written) == 2:
      raise KeyboardInterrupt
    return free(writer, name)

  with monkeypatch.context() as patch:
    patch.setattr(control_writing.ControlWriter, "free", interrupted)
    stopped = call(*command)
  assert stopped.exit_code == 128 + signal.SIGINT, stopped.output
  assert "adapters alone are trained" in stopped.output
  assert "best is checkpoint_4: reward/list" in stopped.output
  (reason,) = run_record.read(aligned)["promotion"]["reasons"]
  assert "it is not judged yet" in reason
  result = call(*command, "--split=test")
  assert "holds no run that is judged" in str(result.exception)
  trained = (aligned / "metrics.jsonl").read_bytes()
  result = call(*command)
  assert result.exit_code == align.REFUSED, result.output
  assert (aligned / "metrics.jsonl").read_bytes() == trained
  assert "no metric of control is better for certain" in result.output
  first = json.loads((aligned / "metrics.jsonl").read_text().splitlines()[0])
  # Of two steps, the first of which is of the network that is not to be left.
  assert first["policy/ratio"] == pytest.approx(1.0, abs=1e-4)
  assert first["lists/errors"] == 0.0
  assert 0.0 < first["lists/popularity"] < 1.0
  judged = run_record.read(aligned)["promotion"]
  assert judged["promoted"] is False
  assert judged["model_dir"] == str(taught / "model")
  report = json.loads((aligned / "alignment" / "report.json").read_text())
  methods = report["groups"]["plain, seen"]["methods"]
  assert list(methods) == ["model", "model, free", "state vector"]
  # With the trie on there are no mistakes, before or after.
  mistakes = methods["model"]["mistakes"]
  assert mistakes["before"]["mean"] == mistakes["after"]["mean"] == 0.0
  # Lists of test requests decide nothing.
  result = call(*command, "--split=test")
  assert result.exit_code == align.REFUSED, result.output
  assert run_record.read(aligned)["promotion"] == judged
  other = json.loads((aligned / "alignment_test" / "report.json").read_text())
  assert other["facts"]["split"] == "test"
  assert other["promotion"]["reasons"] == judged["reasons"]
  assert other["promotion"]["control"] != judged["control"]
  # A floor that every policy is below: the run goes on, and collapses.
  result = call(
    *command, "--gin.TRAIN_STEPS=6", "--gin.FLOORS={'entropy/item': 1e9}"
  )
  assert isinstance(result.exception, loop.CollapsedError), result.output
  (reason,) = run_record.read(aligned)["promotion"]["reasons"]
  assert "the policy has collapsed by step 6: entropy/item is" in reason


def _logged(folder):
  """What each step of a run logs, in order."""
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [row for row in map(json.loads, lines) if row["split"] == "train"]


def _reward(taught, folder, *gin_files, **settings):
  """Trains with rewards, by `train`; returns what was raised."""
  result = call(
    "train",
    "--gin_file=gin/align_cpu.gin",
    *(f"--gin_file={path}" for path in gin_files),
    *_gin(**settings),
    _TITLES_ALONE,
    f"--gin.INITIAL_CHECKPOINT_PATH='{taught / 'model'}'",
    f"--tfds_data_dir={taught / 'instructions'}",
    f"--model_dir={folder}",
  )
  return result.exception


@pytest.mark.slow
@pytest.mark.minutes
def test_ppo_learns_several_times_from_what_was_drawn_once(taught, tmp_path):
  folder = tmp_path / "ppo"
  result = call(
    "align",
    "--gin_file=gin/align_cpu.gin",
    "--gin_file=gin/objectives/list_ppo.gin",
    *_gin(LOG_PERIOD=1, NUM_LISTS=2),
    _TITLES_ALONE,
    f"--model_dir={taught / 'model'}",
    f"--teacher={taught / 'itemknn'}",
    f"--output={folder}",
    "--num_requests=2",
  )
  # Of two users, whatever was learnt may seem certain.
  assert result.exit_code in (0, align.REFUSED), result.output
  rows = _logged(folder)
  assert len(rows) == 4
  for row in rows:
    assert 1.0 < row["updates"] <= 4.0
    assert row["value/loss"] > 0.0
  assert rows[-1]["policy/ratio_min"] < 1.0 < rows[-1]["policy/ratio_max"]


@pytest.mark.slow
@pytest.mark.minutes
def test_dpo_prefers_what_the_teacher_would_show(taught, tmp_path):
  folder = tmp_path / "dpo"
  dpo = "gin/objectives/list_dpo.gin"
  assert _reward(taught, folder, dpo, LOG_PERIOD=1) is None
  first, *rows = _logged(folder)
  # The policy is the reference still.
  assert first["policy/divergence"] == pytest.approx(0.0, abs=1e-6)
  assert rows[-1]["policy/divergence"] > 0.0
  for row in (first, *rows):
    # Of the catalogue, as many as were asked for, none of the history.
    assert row["lists/errors"] == 0.0
    assert row["policy/ratio"] == 1.0


class _Killed(Exception):
  """What was not saved is lost."""


@pytest.mark.slow
@pytest.mark.minutes
def test_killed_while_lists_are_rewarded_it_ends_as_if_unbroken(
  taught, tmp_path, monkeypatch
):
  killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"

  settings = {
    "TRAIN_STEPS": 6,
    "CHECKPOINT_PERIOD": 2,
    "EVAL_PERIOD": 6,
    "NUM_LISTS": 2,
  }

  def kill(unused, step):
    if step == 3:
      raise _Killed

  with monkeypatch.context() as patch:
    patch.setattr(distributed.StopOnSignal, "reached", kill)
    assert isinstance(_reward(taught, killed, **settings), _Killed)
  assert not (killed / "checkpoints" / "checkpoint_4").exists()
  for folder in (killed, unbroken):
    assert _reward(taught, folder, **settings) is None
  ended = [run_dir.load(folder).params(6)[0] for folder in (killed, unbroken)]
  for one, other in zip(*map(jax.tree.leaves, ended), strict=True):
    np.testing.assert_array_equal(one, other)
  one, other = (
    [
      {n: v for n, v in json.loads(line).items() if not n.endswith("_per_s")}
      for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    for folder in (killed, unbroken)
  )
  assert one == other


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
