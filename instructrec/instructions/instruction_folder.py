"""The folder that `generate` wrote, opened: its record, words and data."""

import dataclasses
import functools
import json
import os
import pathlib
from typing import Any, Self

from instructrec.data import dataset
from instructrec.instructions import domains, templates

MANIFEST = "manifest.json"
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"
FORMAT_VERSION = 3


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
      ValueError: where the format is another one, or the data were prepared
        anew since.
    """
    folder = pathlib.Path(directory)
    path = folder / MANIFEST
    if not path.is_file():
      raise FileNotFoundError(
        f"{folder} holds no instructions ({MANIFEST} is missing); `instructrec "
        f"generate --output={folder}` makes them"
      )
    manifest = json.loads(path.read_text())
    if manifest.get("format_version") != FORMAT_VERSION:
      raise ValueError(
        f"{path} has format version {manifest.get('format_version')!r}, "
        f"expected {FORMAT_VERSION} of instructions; generate them anew"
      )
    # Of other data, what was trained on may be tested on without a word.
    prepared = dataset.load(
      manifest["prepared_dir"], fingerprint=manifest["prepared_fingerprint"]
    )
    return cls(folder, manifest, prepared)

  @property
  def vocabulary(self) -> pathlib.Path:
    """The SentencePiece model of the instructions."""
    return self.directory.absolute() / VOCABULARY

  @functools.cached_property
  def template_set(self) -> templates.TemplateSet:
    """The wordings, in the words of the data's domain."""
    domain = domains.Domain(self.manifest["domain"])
    return templates.load().reworded(domain)
