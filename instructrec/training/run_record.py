"""`run.json`: what is known of a run, with the hash of it."""

import json
import pathlib
from typing import Any

from instructrec import checksums, records

FILE = "run.json"
_SEAL = "sha256"


def read(folder: pathlib.Path) -> dict[str, Any]:
  """The record of a run.

  Args:
    folder: of the run.

  Returns:
    Its entries; none where there is no record.

  Raises:
    DamagedError: where it was changed.
  """
  path = folder / FILE
  if not path.is_file():
    return {}
  remedy = (
    "put back a copy of it, or remove it and train on, which loses what is "
    "known of the run's settings so far"
  )
  checksums.verify_seal(path, remedy)
  record = records.read(path, keys=[_SEAL], remedy=remedy)
  return {name: value for name, value in record.items() if name != _SEAL}


def write(folder: pathlib.Path, record: dict[str, Any]) -> None:
  """Replaces the record of a run, with its own hash.

  Args:
    folder: of the run.
    record: JSON values.
  """
  # The last entry is the place for the file's own hash.
  text = json.dumps({**record, _SEAL: checksums.UNSEALED}, indent=2)
  records.replace(folder / FILE, f"{text}\n", seal=True)
