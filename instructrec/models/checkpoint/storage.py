"""Where files lie, on disk or in a bucket, and how they appear only whole."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from instructrec import checksums, output_folder

_BUCKET = re.compile(r"^gs://([^/]+)/(.+)$")


def kvstore(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """A TensorStore key-value store over the files of a folder.

  Args:
    folder: a path on disk, or "gs://bucket/folder".

  Returns:
    The store's JSON specification; its path ends in "/".
  """
  path = os.fspath(folder).rstrip("/")
  if match := _BUCKET.match(path):
    return {"driver": "gcs", "bucket": match[1], "path": f"{match[2]}/"}
  return {"driver": "file", "path": f"{os.path.abspath(path)}/"}


def local(path: str | os.PathLike[str]) -> pathlib.Path:
  """A path for those that cannot do with a bucket.

  Args:
    path: any path.

  Returns:
    The path.

  Raises:
    ValueError: where it is a URL.
  """
  if "://" in os.fspath(path):
    raise ValueError(
      f"{path} is not on disk, where Hugging Face's form has to be; copy it "
      "there, or write it to disk and copy it from there"
    )
  return pathlib.Path(path)


@contextlib.contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[epath.Path]:
  """Gives a folder to write into, which gets its name when all is written.

  It gets its `SHA256SUMS` then, too.

  Args:
    folder: the name; nothing may be there yet.

  Yields:
    A folder beside it. It is removed where the body fails.

  Raises:
    FileExistsError: where something has the name already.
  """
  final = epath.Path(folder)
  if final.exists():
    raise FileExistsError(
      f"{final} exists already; remove it or name another output"
    )
  if "://" not in os.fspath(folder):
    with output_folder.making(final, overwrite=False, marker="") as made:
      yield epath.Path(made)
    return
  temporary = final.parent / f"{final.name}.incomplete-{os.getpid()}"
  temporary.mkdir(parents=True)
  try:
    yield temporary
    checksums.write(temporary)
    temporary.rename(final)
  except BaseException:
    temporary.rmtree()
    raise
