"""Where files lie, on disk or in a bucket, and how they appear only whole."""

import contextlib
import math
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import tensorstore as ts
from etils import epath

from instructrec import checksums, limits, output_folder
from instructrec.models.checkpoint.tensors import CheckpointError

# No drive, no scheme of a bucket, no backslash, nothing that cannot be seen.
_RELATIVE = re.compile(r"[^:\\\x00-\x1f\x7f]+")
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


def check_name(folder: str | os.PathLike[str]) -> None:
  """Refuses a folder that Orbax could write checkpoints to and not read again.

  Args:
    folder: where checkpoints are to be written.

  Raises:
    ValueError: where Orbax would take its path for a pattern.
  """
  path = os.path.abspath(folder)
  if found := sorted(set("*?[") & set(path)):
    raise ValueError(
      f"{path} has {' '.join(found)} in its name, which Orbax takes for a "
      "pattern: its checkpoints could not be read again; choose another folder"
    )


def check_chunks(array: ts.TensorStore, what: str) -> None:
  """Refuses an array of which a part cannot be read without reading too much.

  Args:
    array: opened, not read.
    what: names it.

  Raises:
    LimitError: where one of its chunks is beyond the limit of an array.
  """
  size = math.prod(n or 1 for n in array.chunk_layout.read_chunk.shape or ())
  limits.ARRAY_BYTES.check(
    size * array.dtype.numpy_dtype.itemsize, f"a chunk of {what}"
  )


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


def inside(
  folder: str | os.PathLike[str], name: Any, *, named_by: str
) -> epath.Path:
  """A file that an index of a checkpoint names, which must lie in its folder.

  Args:
    folder: of the checkpoint.
    name: what stands in the index.
    named_by: the index, for the message.

  Returns:
    The path; links in the folder, as caches of downloads have, may lead out.

  Raises:
    CheckpointError: where it is no path relative to the folder, or climbs.
  """
  if (
    not isinstance(name, str)
    or not name.strip("/.")
    or name.startswith("/")
    or not _RELATIVE.fullmatch(name)
    or ".." in name.split("/")
  ):
    raise CheckpointError(
      f"{named_by} names the file {name!r}, expected one within {folder}; it "
      "was not read"
    )
  return epath.Path(folder) / name


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
