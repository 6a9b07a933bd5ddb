"""What the harness takes for equal; and one kill of each command."""

import gzip
import json
import random
import runpy
import signal

import commands
import interruption
import jax.numpy as jnp
import outcome
import pytest

from instructrec.training import checkpoints, trackers, train_step


def write(folder, *, seconds=1.0, loss=2.0, weight=0.5, text=b"rows"):
  """Some of all that commands leave; `seconds` is of the clock."""
  folder.mkdir()
  (folder / "rows.npy").write_bytes(text)
  with gzip.GzipFile(folder / "a.run.gz", "wb", mtime=int(seconds)) as file:
    file.write(text)
  record = {"train_seconds": seconds, "starts": [seconds], "step": loss}
  (folder / "run.json").write_text(json.dumps(record))
  (folder / "report.md").write_text(f"loss {loss}, took {seconds} s\n")
  rates = {"steps_per_s": seconds, "tokens_per_s": seconds}
  for tracker in (
    trackers.JsonlTracker(folder),
    trackers.TensorBoardTracker(folder),
  ):
    tracker.write(1, "train", {"loss": loss, **rates})
    tracker.close()
  store = checkpoints.Checkpoints(folder / "checkpoints")
  params = {"w": jnp.array([1.0, weight])}
  store.save(train_step.TrainState(jnp.int32(3), params, {}), {"seed": 0}, {})
  store.close()
  return outcome.outcome(folder)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  return write(tmp_path_factory.mktemp("found") / "run")


def test_the_clock_makes_no_difference(found, tmp_path):
  later = write(tmp_path / "run", seconds=77.5)
  assert outcome.differences(found, later) == []
  assert "tensorboard" in found
  assert "checkpoints/checkpoint_3/data" in found


@pytest.mark.parametrize(
  ("changes", "differ"),
  [
    (
      {"loss": 2.5},
      ["metrics.jsonl", "report.md", "run.json", "tensorboard"],
    ),
    ({"weight": 0.5000001}, ["checkpoints/checkpoint_3/params/w"]),
    ({"text": b"rowz"}, ["a.run.gz", "rows.npy"]),
  ],
)
def test_anything_else_does(found, tmp_path, changes, differ):
  other = write(tmp_path / "run", **changes)
  assert outcome.differences(found, other) == differ


def test_what_is_missing_differs(found):
  less = {name: found[name] for name in found if name != "rows.npy"}
  assert outcome.differences(less, found) == ["rows.npy"]


def test_what_is_left_behind_is_seen(tmp_path):
  left = [
    "checkpoints/checkpoint_4.orbax-checkpoint-tmp-12",
    "config.gin.tmp",
    "out.incomplete-3f",
    "out.unfinished",
    "run.lock",
  ]
  for name in (*left, "config.gin", "checkpoints/checkpoint_4"):
    (tmp_path / name).mkdir(parents=True)
  assert outcome.unfinished(tmp_path) == left


@pytest.mark.parametrize("total", [1, 12, 100])
def test_a_quarter_of_the_kills_meet_training(total):
  shares = runpy.run_path(f"{commands.__file__}/../__main__.py")["_shares"]
  counts = shares(list(commands.COMMANDS), total)
  assert sum(counts.values()) == total
  assert counts.get(commands.COMMANDS[2], 0) >= total // 4


class _Trials:
  """Stands for a bench whose trials of `retrieve fit` go wrong."""

  def __init__(self, work):
    del work

  def refer(self, command):
    del command
    return interruption.Reference({}, 1.0, 1.0)

  def interrupt(self, command, number, most, rng, tally):
    del number, rng
    is_wrong = command.name == "retrieve fit"
    tally.sent += most
    tally.finished += 1
    tally.equal += not is_wrong
    tally.problems += ["differs in ['log']"] * is_wrong


@pytest.mark.parametrize(
  ("options", "status", "said"),
  [
    (["--command=prepare", "--command=train"], 0, "; 0 problems. Seed 7,"),
    (["--command=retrieve fit"], 1, "fit under SIGTERM: differs in ['log']"),
    (["--minutes=0"], 1, "train under SIGKILL: 0 of 5 signals sent"),
  ],
)
def test_the_table_stands_in_the_page_and_the_status_says_whether_all_is_well(
  options, status, said, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(interruption, "Bench", _Trials)
  main = runpy.run_path(f"{commands.__file__}/../__main__.py")["main"]
  page = tmp_path / "page.md"
  page.write_text("before\n<!-- chaos -->\nold\n<!-- end -->\nafter\n")
  options = [*options, f"--page={page}", "--seed=7", "--kills=20"]
  assert main(options) == status
  output = capsys.readouterr().out
  assert said in output
  text = page.read_text()
  assert text.startswith("before\n<!-- chaos -->\n\n| command | signal |")
  assert text.endswith("\n\n<!-- end -->\nafter\n")
  assert "old" not in text
  table = text.split("<!-- chaos -->")[1].split("<!-- end -->")[0].strip()
  assert output.startswith(table)
  page.write_text("no place")
  with pytest.raises(SystemExit, match="has no <!-- chaos -->"):
    main(options)


@pytest.mark.slow
@pytest.mark.minutes
@pytest.mark.tf
def test_killed_commands_make_the_same_when_they_are_given_again(tmp_path):
  """One kill each; `make chaos` has many, other signals and more commands."""
  # One after another, as each reads what those before it made.
  bench, rng = interruption.Bench(tmp_path), random.Random(0)
  names = ("prepare", "generate", "train", "evaluate")
  killed = [one for one in commands.COMMANDS if one.name in names]
  assert len(killed) == len(names)
  for command in killed:
    bench.refer(command, is_timed=False)
    tally = interruption.Tally()
    while not tally.sent:
      bench.interrupt(command, signal.SIGKILL, 1, rng, tally)
    assert (command.name, tally.problems) == (command.name, [])
    assert tally.equal == tally.finished
