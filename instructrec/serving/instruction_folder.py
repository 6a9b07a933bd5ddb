"""The folder that `generate` wrote, opened: its record, words and data."""

import dataclasses
import functools
import json
import os
import pathlib
from typing import Any, Self

from instructrec import recorded_folder
from instructrec.data import dataset
from instructrec.instructions import domains, templates
from instructrec.training import run_dir, trained_run

MANIFEST = "manifest.json"
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
    return self.directory.absolute() / run_dir.VOCABULARY

  @functools.cached_property
  def template_set(self) -> templates.TemplateSet:
    """The wordings, in the words of the data's domain."""
    domain = domains.Domain(self.manifest["domain"])
    return templates.load().reworded(domain)


def read_manifest(directory: _Path) -> dict[str, Any]:
  """How instructions were made.

  Args:
    directory: what `instructrec generate` wrote.

  Returns:
    The manifest.

  Raises:
    FileNotFoundError: where the folder holds no instructions.
  """
  path = pathlib.Path(directory) / MANIFEST
  if not path.is_file():
    raise FileNotFoundError(
      f"{directory} holds no instructions ({MANIFEST} is missing); "
      f"`instructrec generate --output={directory}` makes them"
    )
  found: dict[str, Any] = json.loads(path.read_text())
  return found


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
