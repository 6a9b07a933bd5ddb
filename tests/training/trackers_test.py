import json

from tensorboard.backend.event_processing import event_accumulator

from instructrec.training import trackers


def rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_jsonl_rows_hold_step_split_and_values(tmp_path):
  log = trackers.JsonlTracker(tmp_path)
  log.write(5, "train", {"loss": 1.5})
  log.close()
  assert rows(log.path) == [{"step": 5, "split": "train", "loss": 1.5}]


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
