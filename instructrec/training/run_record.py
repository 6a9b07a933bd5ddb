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
  replace(folder / FILE, f"{text}\n", seal=True)


def replace(path: pathlib.Path, text: str, *, seal: bool = False) -> None:
  """Writes a file of a run at once, or not at all.

  Args:
    path: the file.
    text: its content.
    seal: whether the text has the place of its hash, which is put there.
  """
  temporary = path.with_name(f"{path.name}.tmp")
  temporary.write_text(text)
  if seal:
    checksums.seal(temporary)
  temporary.replace(path)
