"""The folder that `generate` wrote, opened: its record, words and data.

What is read of it is checked first, and nothing else: the shards of a task are
large, and once they are in the token cache nobody reads them.
"""

import dataclasses
import functools
import os
import pathlib
from typing import Any, Self

from instructrec import checksums, recorded_folder, records
from instructrec.data import dataset
from instructrec.instructions import domains, templates, title_list
from instructrec.training import run_dir, trained_run

MANIFEST = "manifest.json"
_KEYS = ("fingerprint", "prepared_fingerprint", "kinds")
_Path = str | os.PathLike[str]


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
  def open(cls, directory: _Path, *, data: _Path | None = None) -> Self:
    """Opens a folder, and the prepared data that its manifest names.

    Args:
      directory: what `instructrec generate` wrote.
      data: where the prepared data are, if they have moved.

    Returns:
      The folder.

    Raises:
      FileNotFoundError: where it holds no instructions, or the data are gone.
      DamagedError: where what is read was changed.
      ValueError: where the data are others than those that the instructions
        were made from.
    """
    folder = pathlib.Path(directory)
    manifest = read_manifest(folder)
    prepared = recorded_folder.find(
      "prepared_dir", manifest, folder, given=data, option="--data"
    )
    # Of other data, what was trained on may be tested on without a word.
    return cls(
      folder,
      manifest,
      dataset.load(prepared, fingerprint=manifest["prepared_fingerprint"]),
    )

  @classmethod
  def of_run(
    cls,
    run: trained_run.Run,
    *,
    tfds_data_dir: _Path | None = None,
    data: _Path | None = None,
  ) -> Self:
    """Opens the instructions that a run was trained on.

    Args:
      run: the run.
      tfds_data_dir: where they are, if they have moved.
      data: where the prepared data are, if they have moved.

    Returns:
      The folder.

    Raises:
      FileNotFoundError: where the instructions or the data are gone.
      ValueError: where these are others.
    """
    return cls.open(find(run, tfds_data_dir), data=data)

  def trained(self, run: trained_run.Run) -> bool | None:
    """Whether a run was trained on these; None where it does not say."""
    expected = run.record.get("instructions_fingerprint")
    return (
      None if expected is None else self.manifest["fingerprint"] == expected
    )

  @property
  def vocabulary(self) -> pathlib.Path:
    """The SentencePiece model of the instructions."""
    return vocabulary(self.directory)

  @functools.cached_property
  def template_set(self) -> templates.TemplateSet:
    """The wordings, in the words of the data's domain."""
    domain = domains.Domain(self.manifest["domain"])
    return templates.load(kinds=self.manifest["kinds"]).reworded(domain)


def read_manifest(directory: _Path) -> dict[str, Any]:
  """How instructions were made.

  Args:
    directory: what `instructrec generate` wrote.

  Returns:
    The manifest.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where the file was changed.
    ValueError: where its lists of titles are written in another way.
  """
  check(directory, MANIFEST)
  path = pathlib.Path(directory) / MANIFEST
  found = records.read(path, keys=_KEYS, remedy=_remedy(directory))
  if control := found.get("control"):
    version = control.get("list_format")
    if version != title_list.FORMAT_VERSION:
      raise ValueError(
        f"{path} has lists of titles of the format {version!r}, expected "
        f"{title_list.FORMAT_VERSION}: separators say how many titles are "
        f"still to come; {_remedy(directory)}, and train on it anew"
      )
  return found


def vocabulary(directory: _Path) -> pathlib.Path:
  """The SentencePiece model of instructions, as an absolute path.

  Args:
    directory: what `instructrec generate` wrote.

  Returns:
    The path.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where the file was changed.
  """
  check(directory, run_dir.VOCABULARY)
  return pathlib.Path(directory).absolute() / run_dir.VOCABULARY


def check(directory: _Path, *names: _Path) -> None:
  """Checks files of instructions against their hashes, before they are read.

  Args:
    directory: what `instructrec generate` wrote.
    names: the files and folders in it.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
    DamagedError: where a file was changed.
  """
  remedy = _remedy(directory)
  if not checksums.is_known(directory, run_dir.VOCABULARY.as_posix(), remedy):
    raise FileNotFoundError(
      f"{directory} holds no instructions ({run_dir.VOCABULARY} is missing); "
      f"`instructrec generate --output={directory}` makes them"
    )
  checksums.verify(directory, remedy, names)


def _remedy(directory: _Path) -> str:
  return (
    f"make it again with `instructrec generate ... --output={directory} "
    "--overwrite`, or copy the folder again"
  )


def find(run: trained_run.Run, given: _Path | None = None) -> pathlib.Path:
  """The folder of the instructions that a run was trained on.

  Args:
    run: the run.
    given: where the folder is, if it has moved, or the run does not say.

  Returns:
    The folder.

  Raises:
    FileNotFoundError: where it is gone.
    ValueError: where it holds other instructions.
  """
  if given is not None and not run.record:
    return pathlib.Path(given)
  folder = recorded_folder.find(
    "tfds_data_dir",
    run.record,
    run.directory,
    given=given,
    option="--tfds_data_dir",
  )
  found = read_manifest(folder)["fingerprint"]
  expected = run.record["instructions_fingerprint"]
  if found != expected:
    raise ValueError(
      f"{folder} holds the instructions {found}, the run in {run.directory} "
      f"was trained on {expected}: pass the folder of these as "
      "--tfds_data_dir (`evaluate` takes others as well, if they are named)"
    )
  return folder
