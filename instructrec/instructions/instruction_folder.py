"""The folder that `generate` wrote, opened: its record, words and data.

What is read of it is checked first, and nothing else: the shards of a task are
large, and once they are in the token cache nobody reads them.
"""

import dataclasses
import functools
import os
import pathlib
from typing import Any, Self

from instructrec import checksums, records
from instructrec.data import dataset
from instructrec.instructions import domains, templates

MANIFEST = "manifest.json"
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"
FORMAT_VERSION = 3
_KEYS = (
  "format_version",
  "fingerprint",
  "prepared_dir",
  "prepared_fingerprint",
)


def check(folder: str | os.PathLike[str], *names: str | pathlib.Path) -> None:
  """Checks files of a folder against their hashes, before they are read.

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
      f"`instructrec generate --output={folder}` makes them"
    )
  checksums.verify(path, remedy, names)


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """How the instructions of a folder were made.

  Args:
    folder: what `instructrec generate` wrote.

  Returns:
    What its `manifest.json` holds.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where the file was changed.
    ValueError: where the format is another one.
  """
  check(folder, MANIFEST)
  path = pathlib.Path(folder) / MANIFEST
  found = records.read(path, keys=_KEYS, remedy=_remedy(folder))
  if found["format_version"] != FORMAT_VERSION:
    raise ValueError(
      f"{path} has format version {found['format_version']!r}, expected "
      f"{FORMAT_VERSION} of instructions; {_remedy(folder)}"
    )
  return found


def vocabulary(folder: str | os.PathLike[str]) -> pathlib.Path:
  """The SentencePiece model of a folder, as an absolute path.

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


def _remedy(folder: str | os.PathLike[str]) -> str:
  return (
    f"make it again with `instructrec generate ... --output={folder} "
    "--overwrite`, or copy the folder again"
  )


@dataclasses.dataclass(frozen=True, eq=False)
class InstructionFolder:
  """Instructions, with the prepared data that they were made from.

  Attributes:
    directory: the folder.
    manifest: how the instructions were made.
    prepared: the data; targets and baselines are theirs.
  """

  directory: pathlib.Path
  manifest: dict[str, Any]
  prepared: dataset.PreparedData

  @classmethod
  def open(cls, directory: str | os.PathLike[str]) -> Self:
    """Opens a folder, and the prepared data that its manifest names.

    Args:
      directory: what `instructrec generate` wrote.

    Returns:
      The folder.

    Raises:
      FileNotFoundError: where it holds no instructions, or the data are gone.
      DamagedError: where something that is read was changed.
      ValueError: where the format is another one, or the data were prepared
        anew since.
    """
    manifest = read_manifest(directory)
    # Of other data, what was trained on may be tested on without a word.
    prepared = dataset.load(
      manifest["prepared_dir"], fingerprint=manifest["prepared_fingerprint"]
    )
    return cls(pathlib.Path(directory), manifest, prepared)

  @property
  def vocabulary(self) -> pathlib.Path:
    """The SentencePiece model of the instructions."""
    return vocabulary(self.directory)

  @functools.cached_property
  def template_set(self) -> templates.TemplateSet:
    """The wordings, in the words of the data's domain."""
    domain = domains.Domain(self.manifest["domain"])
    return templates.load().reworded(domain)
