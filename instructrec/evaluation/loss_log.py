"""The log of a run's training, for the report's loss curve."""

import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

_LOG = logging.getLogger(__name__)
FILE = "metrics.jsonl"
"""Name of the file, in the folder of a run."""


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Reads the rows of a run's `metrics.jsonl`.

  No figure depends on it: a log that is gone and lines that are no rows (the
  last one of a killed run may be cut) are named in a warning and left out.

  Args:
    path: the file; each line an object with `step`, `split` and numbers.

  Returns:
    The rows.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    _LOG.warning("%s is missing; the report goes without a loss curve", file)
    return []
  lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
  rows = [_row(line) for line in lines]
  if bad := [number for number, row in enumerate(rows, 1) if row is None]:
    _LOG.warning(
      "%s: %d of %d lines are no rows with step, split and numbers and are "
      "left out; the first is line %d",
      file,
      len(bad),
      len(lines),
      bad[0],
    )
  return [row for row in rows if row is not None]


def _row(line: str) -> dict[str, Any] | None:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict) or not isinstance(row.get("split"), str):
    return None
  if not isinstance(row.get("step"), int):
    return None
  values = [value for name, value in row.items() if name != "split"]
  numbers = all(v is None or isinstance(v, int | float) for v in values)
  return row if numbers else None


def has_curve(rows: Sequence[Mapping[str, Any]]) -> bool:
  """Whether a log has a training loss to draw.

  Args:
    rows: what `read` gave.

  Returns:
    Whether it has.
  """
  return any(
    row["split"] == "train" and row.get("loss") is not None for row in rows
  )
