"""Where the numbers of a run go.

JSONL and TensorBoard event files always; Weights & Biases and MLflow where they
are asked for, whose packages are imported then alone. Keys and addresses are
theirs to find, in their own environment variables and files: we neither read
nor pass them on.
"""

import contextlib
import importlib
import json
import os
import pathlib
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import record_writer

from instructrec import records
from instructrec.training import distributed

_PROJECT = "instructrec"
_IDS = "trackers.json"


class Tracker(Protocol):
  """Takes the numbers of a run."""

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """Takes a row.

    Args:
      step: updates made.
      split: "train" or "validation".
      values: numbers by name.
    """
    ...

  def close(self) -> None:
    """Flushes and closes."""
    ...


class JsonlTracker:
  """Appends one JSON object a row to `metrics.jsonl`.

  Rows have `step`, `split` and the values. A resumed run drops the rows after
  the step that it goes on from, so that no step stands twice; lines that are no
  rows are named and dropped.

  Args:
    directory: the run's folder.
    resume_step: rows of later steps are dropped.
  """

  def __init__(
    self, directory: str | os.PathLike[str], *, resume_step: int = 0
  ) -> None:
    self.path = pathlib.Path(directory) / "metrics.jsonl"
    kept = self._rows(resume_step) if self.path.exists() else []
    temporary = self.path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept))
    temporary.replace(self.path)
    self._file = self.path.open("a")

  def _rows(self, last: int) -> list[str]:
    """The lines of steps to `last`."""
    text = self.path.read_text(encoding="utf-8", errors="replace")
    kept, bad = [], []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
      step = _step(line)
      if step is not None and step <= last:
        kept.append(line.strip())
      # The last line of a killed run may be cut; its step is done again.
      elif step is None and line.endswith("\n"):
        bad.append(number)
    if bad:
      print(
        f"{self.path}: {len(bad)} lines are no rows with step and split and "
        f"are dropped; the first is line {bad[0]}",
        file=sys.stderr,
      )
    return kept

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """Appends a row; see `Tracker.write`."""
    row = {"step": step, "split": split, **values}
    self._file.write(json.dumps(row) + "\n")
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def _step(line: str) -> int | None:
  """The step of a row; None where a line is none."""
  try:
    row = json.loads(line)
  except ValueError:
    return None
  if not isinstance(row, dict) or not isinstance(row.get("split"), str):
    return None
  step = row.get("step")
  return step if isinstance(step, int) else None


class TensorBoardTracker:
  """Writes TensorBoard scalars, without TensorFlow.

  Each start has an event file of its own, which says that later steps in
  earlier files count no more; TensorBoard leaves them out.

  Args:
    directory: the run's folder; the event file goes to its `tensorboard`.
    resume_step: the step that the run goes on from.
  """

  def __init__(
    self, directory: str | os.PathLike[str], *, resume_step: int = 0
  ) -> None:
    folder = pathlib.Path(directory) / "tensorboard"
    folder.mkdir(parents=True, exist_ok=True)
    name = (
      f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}"
    )
    self._file = (folder / name).open("wb")
    self._writer = record_writer.RecordWriter(self._file)
    self._add(event_pb2.Event(file_version="brain.Event:2"))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._add(event_pb2.Event(step=resume_step + 1, session_log=start))

  def _add(self, event: event_pb2.Event) -> None:
    event.wall_time = time.time()
    self._writer.write(event.SerializeToString())

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """Writes scalars named `<split>/<name>`; see `Tracker.write`."""
    scalars = [
      summary_pb2.Summary.Value(tag=f"{split}/{name}", simple_value=value)
      for name, value in values.items()
    ]
    self._add(
      event_pb2.Event(step=step, summary=summary_pb2.Summary(value=scalars))
    )
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


class _RunId:
  """The id that a service knows a run by; kept in the run's folder.

  Args:
    directory: the run's folder.
    service: its name.
    resume_step: of a run that begins anew, an id of before does not count.
  """

  def __init__(
    self, directory: str | os.PathLike[str], service: str, resume_step: int
  ) -> None:
    self._path = pathlib.Path(directory) / _IDS
    self._service, self._resumed = service, resume_step > 0

  def _known(self) -> dict[str, Any]:
    if not self._path.exists():
      return {}
    return records.read(self._path, remedy="delete it; rows go to a new run")

  def get(self) -> str | None:
    """The id of the run that goes on; None for a new one."""
    return self._known().get(self._service) if self._resumed else None

  def keep(self, run_id: str) -> None:
    """Writes the id down."""
    text = json.dumps({**self._known(), self._service: run_id}, indent=2)
    temporary = self._path.with_suffix(".tmp")
    temporary.write_text(f"{text}\n")
    temporary.replace(self._path)


def _imported(name: str) -> ModuleType:
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"--tracker={name} needs the package {error.name}, which is not "
      f"installed: pip install 'instructrec[{name}]'"
    ) from error


class WandbTracker:
  """Logs to Weights & Biases, or beside it with WANDB_MODE=offline.

  WANDB_PROJECT and the other variables of wandb hold; what is printed, code and
  the machine's settings are not sent. Steps that are done again after a kill
  have the rows of before, and wandb drops them.

  Args:
    directory: the run's folder, in whose `wandb` its files lie.
    resume_step: the step that the run goes on from.
    config: settings of the run, by name.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    *,
    resume_step: int = 0,
    config: Mapping[str, Any] | None = None,
  ) -> None:
    wandb = _imported("wandb")
    kept = _RunId(directory, "wandb", resume_step)
    folder = pathlib.Path(directory)
    self._run = wandb.init(
      project=os.environ.get("WANDB_PROJECT", _PROJECT),
      name=folder.resolve().name,
      dir=folder,
      id=kept.get(),
      resume="allow",
      config=dict(config or {}),
      settings=wandb.Settings(
        console="off", save_code=False, disable_git=True, silent=True
      ),
    )
    kept.keep(self._run.id)

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """Logs values named `<split>/<name>`; see `Tracker.write`."""
    named = {f"{split}/{name}": value for name, value in values.items()}
    self._run.log(named, step=step)

  def close(self) -> None:
    """Sends what is left."""
    self._run.finish(exit_code=int(sys.exc_info()[0] is not None))


class MlflowTracker:
  """Logs to MLflow: MLFLOW_TRACKING_URI says where.

  MLFLOW_EXPERIMENT_NAME holds, too. MLflow keeps every row that it is given, so
  that those of steps that are done again after a kill are left out. Its names
  have no @: NDCG@10 is NDCG_at_10.

  Args:
    directory: the run's folder.
    resume_step: the step that the run goes on from.
    config: settings of the run, by name.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    *,
    resume_step: int = 0,
    config: Mapping[str, Any] | None = None,
  ) -> None:
    mlflow = _imported("mlflow")
    self._entities = mlflow.entities
    self._client = mlflow.MlflowClient()
    kept = _RunId(directory, "mlflow", resume_step)
    self._id = kept.get() or self._new(directory, config or {})
    kept.keep(self._id)
    self._last: dict[str, int] = {}

  def _new(
    self, directory: str | os.PathLike[str], config: Mapping[str, Any]
  ) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    known = self._client.get_experiment_by_name(name)
    experiment = (
      known.experiment_id
      if known is not None
      else self._client.create_experiment(name)
    )
    made = self._client.create_run(
      experiment, run_name=pathlib.Path(directory).resolve().name
    ).info.run_id
    for setting, value in config.items():
      # A name has other limits there, and long values are cut.
      self._client.log_param(made, _mlflow_name(setting), str(value)[:500])
    return made

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """Logs values named `<split>/<name>`; see `Tracker.write`."""
    named = {
      _mlflow_name(f"{split}/{name}"): value for name, value in values.items()
    }
    if split not in self._last:
      history = self._client.get_metric_history(self._id, next(iter(named)))
      self._last[split] = max((row.step for row in history), default=-1)
    if step <= self._last[split]:
      return
    now = int(time.time() * 1000)
    metric = self._entities.Metric
    self._client.log_batch(
      self._id,
      metrics=[metric(name, value, now, step) for name, value in named.items()],
    )
    self._last[split] = step

  def close(self) -> None:
    """Says how the run ended."""
    failed = sys.exc_info()[0] is not None
    self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


def _mlflow_name(name: str) -> str:
  return name.replace("@", "_at_")


_SERVICES: dict[str, Callable[..., Tracker]] = {
  "wandb": WandbTracker,
  "mlflow": MlflowTracker,
}


@contextlib.contextmanager
def opened(
  directory: str | os.PathLike[str],
  resume_step: int,
  services: Sequence[str] = (),
  config: Mapping[str, Any] | None = None,
) -> Iterator[list[Tracker]]:
  """Where rows are written: by the lead, from a step on.

  Args:
    directory: the run's folder.
    resume_step: the step that the run goes on from.
    services: names of `--tracker`, beside the files.
    config: settings of the run, by name, for the services.

  Yields:
    The trackers; none in other processes than the lead.

  Raises:
    ModuleNotFoundError: where the package of a service is not installed.
  """
  with contextlib.ExitStack() as stack:
    logs: list[Tracker] = []
    if distributed.is_lead():
      # First what may be missing.
      for name in services:
        made = _SERVICES[name](
          directory, resume_step=resume_step, config=config
        )
        logs.append(stack.enter_context(contextlib.closing(made)))
      files: list[Tracker] = [
        JsonlTracker(directory, resume_step=resume_step),
        TensorBoardTracker(directory, resume_step=resume_step),
      ]
      logs += [stack.enter_context(contextlib.closing(file)) for file in files]
    yield logs
