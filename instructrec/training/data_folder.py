"""The folder that `instructrec generate` wrote, as runs read it: checked first.

Only what is asked for is checked: shards of a task are large, and once they
are in the token cache nobody reads them.
"""

import os
import pathlib
from typing import Any

from instructrec import checksums, records
from instructrec.training import item_table

MANIFEST = "manifest.json"
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"
_KEYS = ("fingerprint", "prepared_dir", "prepared_fingerprint")


def check(folder: str | os.PathLike[str], *names: str | pathlib.Path) -> None:
  """Checks files of a data folder against their hashes.

  Args:
    folder: what `instructrec generate` wrote.
    names: the files and folders in it.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where a file was changed.
  """
  path, remedy = pathlib.Path(folder), _remedy(folder)
  if not (path / VOCABULARY).is_file() and (
    checksums.listed(path, VOCABULARY.as_posix(), remedy) is None
  ):
    raise FileNotFoundError(
      f"{folder} holds no instructions ({VOCABULARY} is missing); "
      f"`instructrec generate --output={folder}` writes them"
    )
  checksums.verify(path, remedy, names)


def manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """What `manifest.json` of a data folder says.

  Args:
    folder: what `instructrec generate` wrote.

  Returns:
    How the instructions were made.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where the file was changed.
  """
  check(folder, MANIFEST)
  path = pathlib.Path(folder) / MANIFEST
  return records.read(path, keys=_KEYS, remedy=_remedy(folder))


def vocabulary(folder: str | os.PathLike[str]) -> pathlib.Path:
  """The SentencePiece model of a data folder, as an absolute path.

  Args:
    folder: what `instructrec generate` wrote.

  Returns:
    The path.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where the file was changed.
  """
  check(folder, VOCABULARY)
  return pathlib.Path(folder).absolute() / VOCABULARY


def items(folder: str | os.PathLike[str]) -> item_table.ItemTable:
  """The item table of a data folder.

  Args:
    folder: what `instructrec generate` wrote.

  Returns:
    The table.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where the file was changed.
  """
  check(folder, item_table.FILE)
  return item_table.ItemTable.load(folder)


def _remedy(folder: str | os.PathLike[str]) -> str:
  return (
    f"make it again with `instructrec generate ... --output={folder} "
    "--overwrite`, or copy the folder again"
  )
