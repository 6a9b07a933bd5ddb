"""Gin files for T5X as data: ours are read, T5X's own are left out."""

import pathlib
from collections.abc import Sequence
from typing import Any

from instructrec.training import gin_config, gin_data


def is_t5xs(file: str) -> bool:
  """Whether a gin file, by its path, is one of T5X's own."""
  return file.startswith("t5x/")


def find(file: str, folders: Sequence[str] | None = None) -> pathlib.Path:
  """Where a gin file lies.

  Args:
    file: a path, absolute or below one of the folders.
    folders: first to last; None for `gin_config.search_paths()`.

  Raises:
    FileNotFoundError: where it is in none of them.
  """
  folders = folders or gin_config.search_paths()
  for folder in folders:
    path = pathlib.Path(folder) / file
    if path.is_file():
      return path
  raise FileNotFoundError(
    f"no gin file {file!r}; looked in {', '.join(folders)}"
  )


def read(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  folders: Sequence[str] | None = None,
) -> gin_data.GinData:
  """Reads gin files, then bindings over them.

  Args:
    files: as in `find`.
    bindings: such as `TRAIN_STEPS=10`.
    folders: as in `find`.

  Returns:
    What they say; T5X's own files are among those that are left out.

  Raises:
    FileNotFoundError: where there is no such file.
    GinDataError: where one does not parse.
  """

  def text(file: str) -> str | None:
    return None if is_t5xs(file) else find(file, folders).read_text()

  data = gin_data.GinData()
  for file in files:
    content = text(file)
    if content is None:
      data.left_out.append(file)
    else:
      data.read(content, file, text)
  for binding in bindings:
    data.read(binding, option(binding))
  return data


def option(binding: str) -> str:
  """What a binding of the command line is called in messages."""
  return f"--gin.{binding.partition('=')[0].strip()}"


def need_t5x(
  files: Sequence[str], folders: Sequence[str] | None = None
) -> bool:
  """Whether gin files include files of T5X, and so can be run by T5X alone.

  Args:
    files: as in `find`.
    folders: as in `find`.

  Raises:
    FileNotFoundError: where there is no such file.
    GinDataError: where one does not parse.
  """
  return bool(read(files, folders=folders).left_out)


def mentioned(
  value: Any,
) -> tuple[list[gin_data.Macro], list[gin_data.Reference]]:
  """The macros and the references in a value, however deep."""
  macros: list[gin_data.Macro] = []
  references: list[gin_data.Reference] = []
  gin_data.resolve(value, macros.append, references.append)
  return macros, references
