"""Folders that commands make: complete or not there, in place of their like."""

import os
import pathlib
import shutil


def check(
  folder: str | os.PathLike[str], *, overwrite: bool, marker: str
) -> None:
  """Fails where an output may not be made; asked before the work.

  Args:
    folder: the folder to make.
    overwrite: whether an earlier output is replaced.
    marker: a file that every output of this kind has.

  Raises:
    FileExistsError: where there is one that is not to be replaced, or anything
      else, which replacing would delete.
  """
  folder = pathlib.Path(folder)
  if not folder.exists():
    return
  if not overwrite:
    raise FileExistsError(
      f"{folder} exists; choose another --output, or pass --overwrite"
    )
  if not folder.is_dir() or (
    any(folder.iterdir()) and not (folder / marker).is_file()
  ):
    raise FileExistsError(
      f"{folder} was not made by this command (it has no {marker}), and "
      "--overwrite would delete all of it; choose another --output"
    )


def publish(
  complete: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> None:
  """Gives a complete folder its name; what had it is deleted afterwards.

  Args:
    complete: what was made, beside `folder`.
    folder: the name; see `check` for what may stand there.
  """
  folder = pathlib.Path(folder)
  replaced = folder.with_name(f"{folder.name}.replaced")
  shutil.rmtree(replaced, ignore_errors=True)
  if folder.exists():
    folder.rename(replaced)
  pathlib.Path(complete).rename(folder)
  shutil.rmtree(replaced, ignore_errors=True)
