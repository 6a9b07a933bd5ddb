"""Weights & Biases and MLflow, where a run's numbers go if they are asked for.

Their packages are imported then alone. Keys and addresses are theirs to find,
in their own environment variables and files: we neither read nor pass them on.
"""

import abc
import importlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

from instructrec import records

_PROJECT = "instructrec"
_IDS = "trackers.json"
_AT_ONCE = 100
"""Settings that a server of MLflow takes in one request."""


class _Service(abc.ABC):
  """A service whose run goes on where ours does.

  The id that it knows the run by is kept in the run's folder; of a run that
  begins anew, an id of before does not count.

  Args:
    directory: the run's folder.
    resume_step: the step that the run goes on from.
    config: settings of the run, by name.

  Raises:
    ModuleNotFoundError: where the service's package is not installed.
  """

  name: ClassVar[str]
  """Of the package, and of `--tracker`."""

  def __init__(
    self,
    directory: str | os.PathLike[str],
    *,
    resume_step: int = 0,
    config: Mapping[str, Any] | None = None,
  ) -> None:
    package = self._package()
    folder = pathlib.Path(directory)
    ids = folder / _IDS
    known = dict[str, Any]()
    if ids.exists():
      known = records.read(ids, remedy="delete it; rows go to a new run")
    before = known.get(self.name) if resume_step else None
    found = self._open(package, folder, before, dict(config or {}))
    text = json.dumps({**known, self.name: found}, indent=2)
    records.replace(ids, f"{text}\n")

  def _package(self) -> ModuleType:
    try:
      return importlib.import_module(self.name)
    except ModuleNotFoundError as error:
      raise ModuleNotFoundError(
        f"--tracker={self.name} needs the package {error.name}, which is not "
        f"installed: pip install 'instructrec[{self.name}]'"
      ) from error

  @abc.abstractmethod
  def _open(
    self,
    package: ModuleType,
    folder: pathlib.Path,
    before: str | None,
    config: dict[str, Any],
  ) -> str:
    """Goes on with the run of an id, or begins one; returns its id."""

  @abc.abstractmethod
  def _log(self, step: int, split: str, named: Mapping[str, float]) -> None:
    """Takes a row whose values are named `<split>/<name>`."""

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """Logs values named `<split>/<name>`; see `trackers.Tracker.write`."""
    named = {f"{split}/{name}": value for name, value in values.items()}
    self._log(step, split, named)


class WandbTracker(_Service):
  """Logs to Weights & Biases, or beside it with WANDB_MODE=offline.

  WANDB_PROJECT and the other variables of wandb hold. Neither what is printed
  nor code is sent; the command, the packages, the host and its load are, as
  wandb does. Its files lie in the `wandb` of the run's folder. Steps that are
  done again after a kill have the rows of before, and wandb drops them.
  """

  name = "wandb"

  def _open(
    self,
    package: ModuleType,
    folder: pathlib.Path,
    before: str | None,
    config: dict[str, Any],
  ) -> str:
    self._run = package.init(
      project=os.environ.get("WANDB_PROJECT", _PROJECT),
      name=folder.resolve().name,
      dir=folder,
      id=before,
      resume="allow",
      config=config,
      settings=package.Settings(
        console="off", save_code=False, disable_git=True, silent=True
      ),
    )
    return self._run.id

  def _log(self, step: int, split: str, named: Mapping[str, float]) -> None:
    self._run.log(dict(named), step=step)

  def close(self) -> None:
    """Sends what is left, and says how the run ended."""
    error = sys.exc_info()[1]
    status = error.code if isinstance(error, SystemExit) else bool(error)
    self._run.finish(exit_code=int(status or 0))


class MlflowTracker(_Service):
  """Logs to MLflow: MLFLOW_TRACKING_URI says where.

  MLFLOW_EXPERIMENT_NAME holds, too. MLflow keeps every row that it is given, so
  that those of steps that are done again after a kill are left out. Its names
  have no @: NDCG@10 is NDCG_at_10.
  """

  name = "mlflow"

  def _open(
    self,
    package: ModuleType,
    folder: pathlib.Path,
    before: str | None,
    config: dict[str, Any],
  ) -> str:
    self._entities = package.entities
    try:
      self._client = package.MlflowClient()
    except package.exceptions.MlflowException as error:
      raise ValueError(
        f"MLflow cannot log to {package.get_tracking_uri()}: set "
        "MLFLOW_TRACKING_URI to a server's address; a database in a file, such "
        "as sqlite:///runs.db, needs more than its client: pip install mlflow"
      ) from error
    self._last: dict[str, int] = {}
    if before is not None:
      self._client.update_run(before, status="RUNNING")
      self._id = before
      return before
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    known = self._client.get_experiment_by_name(experiment)
    made = self._client.create_run(
      self._client.create_experiment(experiment)
      if known is None
      else known.experiment_id,
      run_name=folder.resolve().name,
    )
    self._id = made.info.run_id
    # Long values are cut: there are limits.
    settings = [
      self._entities.Param(_mlflow_name(name), str(value)[:500])
      for name, value in config.items()
    ]
    for first in range(0, len(settings), _AT_ONCE):
      self._client.log_batch(
        self._id, params=settings[first : first + _AT_ONCE]
      )
    return self._id

  def _log(self, step: int, split: str, named: Mapping[str, float]) -> None:
    rows = {_mlflow_name(name): value for name, value in named.items()}
    if split not in self._last:
      history = self._client.get_metric_history(self._id, next(iter(rows)))
      self._last[split] = max((row.step for row in history), default=-1)
    if step <= self._last[split]:
      return
    now = int(time.time() * 1000)
    metric = self._entities.Metric
    self._client.log_batch(
      self._id,
      metrics=[metric(name, value, now, step) for name, value in rows.items()],
    )
    self._last[split] = step

  def close(self) -> None:
    """Says how the run ended; stopped by a signal, it was killed."""
    error = sys.exc_info()[1]
    status = "FINISHED" if error is None else "FAILED"
    if isinstance(error, SystemExit) and error.code:
      status = "KILLED"
    self._client.set_terminated(self._id, status)


def _mlflow_name(name: str) -> str:
  return name.replace("@", "_at_")


SERVICES: dict[str, type[WandbTracker] | type[MlflowTracker]] = {
  service.name: service for service in (WandbTracker, MlflowTracker)
}
