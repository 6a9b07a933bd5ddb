"""Where the numbers of a run go.

JSONL and TensorBoard event files always; the services of `tracking_services`
where they are asked for.
"""

import contextlib
import json
import math
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import record_writer

from instructrec import records
from instructrec.evaluation import loss_log
from instructrec.training import distributed, tracking_services


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
    self.path = pathlib.Path(directory) / loss_log.FILE
    kept = self._rows(resume_step) if self.path.exists() else []
    records.replace(self.path, "".join(f"{line}\n" for line in kept))
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
    # JSON has no NaN; the mean of nothing is one.
    known = {n: v if math.isfinite(v) else None for n, v in values.items()}
    row = {"step": step, "split": split, **known}
    self._file.write(json.dumps(row, allow_nan=False) + "\n")
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
        made = tracking_services.SERVICES[name](
          directory, resume_step=resume_step, config=config
        )
        logs.append(stack.enter_context(contextlib.closing(made)))
      files: list[Tracker] = [
        JsonlTracker(directory, resume_step=resume_step),
        TensorBoardTracker(directory, resume_step=resume_step),
      ]
      logs += [stack.enter_context(contextlib.closing(file)) for file in files]
    yield logs
