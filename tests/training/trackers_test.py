import json

import pytest
from tensorboard.backend.event_processing import event_accumulator

from instructrec.training import trackers


def rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_jsonl_rows_hold_step_split_and_values(tmp_path):
  log = trackers.JsonlTracker(tmp_path)
  log.write(5, "train", {"loss": 1.5})
  log.close()
  assert rows(log.path) == [{"step": 5, "split": "train", "loss": 1.5}]


def test_what_is_no_number_is_null(tmp_path):
  log = trackers.JsonlTracker(tmp_path)
  log.write(1, "train", {"loss": 2.0, "of_nothing": float("nan")})
  log.close()
  text = (tmp_path / "metrics.jsonl").read_text()
  row = {"step": 1, "split": "train", "loss": 2.0, "of_nothing": None}
  assert json.loads(text, parse_constant=pytest.fail) == row


def test_a_resumed_log_drops_later_rows_and_a_cut_line(tmp_path):
  log = trackers.JsonlTracker(tmp_path)
  for step in (10, 20, 30):
    log.write(step, "train", {"loss": 1.0 / step})
  log.close()
  with log.path.open("a") as file:
    file.write('{"step": 40, "spl')
  again = trackers.JsonlTracker(tmp_path, resume_step=20)
  again.write(30, "train", {"loss": 0.5})
  again.close()
  assert [row["step"] for row in rows(log.path)] == [10, 20, 30]
  assert rows(log.path)[-1]["loss"] == 0.5


def test_tensorboard_reads_the_event_file(tmp_path):
  log = trackers.TensorBoardTracker(tmp_path)
  for step in (1, 2):
    log.write(step, "train", {"loss": float(step)})
  log.close()
  events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
  events.Reload()
  scalars = events.Scalars("train/loss")
  assert [(s.step, s.value) for s in scalars] == [(1, 1.0), (2, 2.0)]


def test_a_resumed_log_drops_later_rows_of_earlier_event_files(tmp_path):
  for start, value, steps in ((0, 1.0, (2, 4, 6)), (4, 2.0, (6, 8))):
    log = trackers.TensorBoardTracker(tmp_path, resume_step=start)
    for step in steps:
      log.write(step, "train", {"loss": value})
      log.write(step, "validation", {"loss": value})
    log.close()
  assert len(list((tmp_path / "tensorboard").iterdir())) == 2
  events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
  events.Reload()
  for name in ("train/loss", "validation/loss"):
    scalars = [(s.step, s.value) for s in events.Scalars(name)]
    assert scalars == [(2, 1.0), (4, 1.0), (6, 2.0), (8, 2.0)]


@pytest.mark.parametrize(
  "line",
  [
    '{"split": "train", "loss": 1.0}',
    '{"step": 20, "loss": 1.0}',
    '{"step": "20", "split": "train"}',
    "[20]",
    "\0\0\0",
    "{",
    "",
    "\u00ff",
  ],
)
def test_lines_that_are_no_rows_do_not_stand_in_the_way(tmp_path, capsys, line):
  rows_10, rows_30 = (
    json.dumps({"step": step, "split": "train"}) for step in (10, 30)
  )
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(f"{rows_10}\n{line}\n{rows_30}\n".encode("latin-1"))
  trackers.JsonlTracker(tmp_path, resume_step=30).close()
  assert path.read_text() == f"{rows_10}\n{rows_30}\n"
  told = capsys.readouterr().err
  assert f"{path}: 1 lines are no rows" in told
  assert "the first is line 2" in told
