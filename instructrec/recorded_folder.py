"""Folders that others were made from, found again where both have moved.

A record names such a folder twice: where it was, and where it lies seen from
the folder of the record. What is found is a place; that it holds what it held
is told by the fingerprint beside it.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

_RELATIVE = "_relative"


def record(
  name: str, folder: str | os.PathLike[str], beside: str | os.PathLike[str]
) -> dict[str, str]:
  """What a record says of a folder.

  Args:
    name: of the folder, such as "prepared_dir".
    folder: where it is.
    beside: the folder of the record.

  Returns:
    Two entries: the absolute path, and the one from `beside`.
  """
  path = pathlib.Path(folder).absolute()
  relative = os.path.relpath(path, pathlib.Path(beside).absolute())
  return {
    name: str(path),
    f"{name}{_RELATIVE}": pathlib.PurePath(relative).as_posix(),
  }


def find(
  name: str,
  found: Mapping[str, Any],
  beside: str | os.PathLike[str],
  *,
  given: str | os.PathLike[str] | None = None,
  option: str,
) -> pathlib.Path:
  """Where a folder is.

  Args:
    name: of the folder.
    found: the record.
    beside: the folder of the record.
    given: where the user says that it is; None where nothing was said.
    option: by which it can be said, such as "--data".

  Returns:
    The folder that was given, else where it was, else where it lies beside the
    record now.

  Raises:
    FileNotFoundError: where it is at none of these places.
    ValueError: where the record does not name it.
  """
  if given is not None:
    return pathlib.Path(given)
  folder = pathlib.Path(beside).absolute()
  if missing := {name, f"{name}{_RELATIVE}"} - set(found):
    raise ValueError(
      f"the record of {folder} lacks {', '.join(sorted(missing))}: an earlier "
      f"version wrote it; make the folder anew, or pass {option}=FOLDER"
    )
  # Without following links: the record was made without, too.
  moved = os.path.normpath(folder / found[f"{name}{_RELATIVE}"])
  for path in (pathlib.Path(found[name]), pathlib.Path(moved)):
    if path.is_dir():
      return path
  raise FileNotFoundError(
    f"the {name} of {folder} is neither {found[name]}, as it was, nor {moved}, "
    f"as it lay beside; if it has moved, say where it is: {option}=FOLDER"
  )
