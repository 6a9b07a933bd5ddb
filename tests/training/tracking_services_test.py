"""What Weights & Biases and MLflow are given, read back from their files."""

import json
import struct
import sys

import pytest

from instructrec.training import trackers, tracking_services

_SETTINGS = {"BATCH_SIZE": "8", "LONG": "x" * 600}


@pytest.fixture
def track(tmp_path, monkeypatch):
  """Tracks a run that is killed after step 4 and goes on from step 2."""
  monkeypatch.setenv("WANDB_MODE", "offline")
  monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
  monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
  folder = tmp_path / "model"
  folder.mkdir()

  def track(service):
    for start, steps, value in ((0, (2, 4), 0.5), (2, (4, 6), 0.25)):
      with trackers.opened(folder, start, [service], _SETTINGS) as logs:
        for step in steps:
          for log in logs:
            log.write(step, "train", {"loss": value})
            log.write(step, "validation", {"NDCG@10": value})
    return folder, json.loads((folder / "trackers.json").read_text())[service]

  return track


@pytest.mark.parametrize("service", tracking_services.SERVICES)
def test_a_package_that_is_missing_is_named(service, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, service, None)
  with (
    pytest.raises(ModuleNotFoundError, match=rf"'instructrec\[{service}\]'"),
    trackers.opened(tmp_path, 0, [service]),
  ):
    pass
  assert not list(tmp_path.iterdir())


def logged(path):
  """The records of a file of wandb, which is a log of LevelDB."""
  from wandb.proto import wandb_internal_pb2

  data, record, place = path.read_bytes(), b"", 7
  assert data[:4] == b":W&B"
  while place < len(data):
    if (left := -place % 32768) < 7:
      place += left
      continue
    _, size, kind = struct.unpack_from("<IHB", data, place)
    record += data[place + 7 : place + 7 + size]
    place += 7 + size
    # The whole of one, or its last part.
    if kind in (1, 4):
      yield wandb_internal_pb2.Record.FromString(record)
      record = b""


def test_wandb_goes_on_with_the_run(track):
  pytest.importorskip("wandb", reason="pip install 'instructrec[wandb]'")

  folder, run_id = track("wandb")
  files = (folder / "wandb").glob(f"offline-run-*/*{run_id}.wandb")
  starts = [list(logged(path)) for path in sorted(files)]
  assert len(starts) == 2
  found = []
  for records in starts:
    run = next(r.run for r in records if r.HasField("run"))
    assert (run.run_id, run.project) == (run_id, "instructrec")
    assert run.display_name == "model"
    settings = {u.key: json.loads(u.value_json) for u in run.config.update}
    assert {**settings, **_SETTINGS} == settings
    found.append(
      {
        record.history.step.num: {
          ".".join([*item.nested_key, item.key]).strip("."): json.loads(
            item.value_json
          )
          for item in record.history.item
        }
        for record in records
        if record.HasField("history")
      }
    )
  for rows, steps, value in zip(
    found, ((2, 4), (4, 6)), (0.5, 0.25), strict=True
  ):
    assert tuple(rows) == steps
    for row in rows.values():
      assert row["train/loss"] == row["validation/NDCG@10"] == value


def test_mlflow_keeps_each_step_once(track, tmp_path):
  mlflow = pytest.importorskip(
    "mlflow", reason="pip install 'instructrec[mlflow]'"
  )
  _, run_id = track("mlflow")
  client = mlflow.MlflowClient()
  run = client.get_run(run_id)
  assert run.info.run_name == "model"
  assert run.info.status == "FINISHED"
  assert run.data.params == {"BATCH_SIZE": "8", "LONG": "x" * 500}
  experiment = client.get_experiment(run.info.experiment_id)
  assert experiment.name == "instructrec"
  for name in ("train/loss", "validation/NDCG_at_10"):
    rows = client.get_metric_history(run_id, name)
    assert [(row.step, row.value) for row in rows] == [
      (2, 0.5),
      (4, 0.5),
      (6, 0.25),
    ]


@pytest.mark.parametrize(
  ("error", "status"),
  [(SystemExit(143), "KILLED"), (ValueError("nan"), "FAILED")],
)
def test_mlflow_knows_how_a_run_ended(error, status, tmp_path, monkeypatch):
  mlflow = pytest.importorskip(
    "mlflow", reason="pip install 'instructrec[mlflow]'"
  )
  monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
  monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
  with (
    pytest.raises(type(error)),
    trackers.opened(tmp_path, 0, ["mlflow"]),
  ):
    raise error
  run_id = json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
  assert mlflow.MlflowClient().get_run(run_id).info.status == status


def test_where_mlflow_cannot_log_is_named(tmp_path, monkeypatch):
  pytest.importorskip("mlflow", reason="pip install 'instructrec[mlflow]'")
  monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://host/runs")
  with (
    pytest.raises(ValueError, match="cannot log to nowhere://host/runs: set"),
    trackers.opened(tmp_path, 0, ["mlflow"]),
  ):
    pass
  assert not list(tmp_path.iterdir())
