"""T5X's old form, that of the public checkpoints under gs://t5-data.

A folder `checkpoint_<step>` with a msgpack file `checkpoint`, which holds the
tree, and a zarr array per large leaf in a folder named after its path.
"""

import os
from collections.abc import Mapping
from typing import Any

import flax.serialization
import flax.traverse_util
import numpy as np
import tensorstore as ts
from etils import epath

from instructrec import limits
from instructrec.models.checkpoint import stacking, storage
from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  Tensor,
  from_array,
)

FILE = "checkpoint"
_VERSION = 3
_SPEC_KEYS = {"driver", "kvstore", "metadata"}
_MOST_SHOWN = 200
_CHUNK_BYTES = 64 * 2**20
Path = tuple[str, ...]


def read(path: str | os.PathLike[str]) -> Checkpoint:
  """Opens a checkpoint folder, on disk or under gs://.

  Args:
    path: the folder `checkpoint_<step>`.

  Returns:
    The checkpoint; the optimizer's state counts as left.

  Raises:
    CheckpointError: where the file is no T5X checkpoint of version 3, or
      names arrays elsewhere.
    LimitError: where a size is beyond what is read.
  """
  folder = epath.Path(path)
  params, left = {}, {}
  step = 0
  for leaf_path, leaf in _leaves(folder / FILE).items():
    name = "/".join(leaf_path)
    if leaf_path[0] == "target":
      params["/".join(leaf_path[1:])] = _tensor(folder, name, leaf)
    elif leaf_path == ("state", "step"):
      step = _tensor(folder, name, leaf).number()
    elif leaf is not None:  # As of what no optimizer updates.
      left[name] = "state of the optimizer"
  stacked = stacking.is_stacked(params)
  return Checkpoint(
    path=os.fspath(path),
    form="t5x_legacy",
    step=step,
    params=stacking.unstack(params) if stacked else params,
    left=left,
    stacked=stacked,
  )


def _leaves(file: epath.Path) -> dict[Path, Any]:
  """Arrays and TensorStore specifications by path."""
  limits.TREE_BYTES.check(file.stat().length, str(file))
  try:
    content = flax.serialization.msgpack_restore(file.read_bytes())
  except (TypeError, ValueError, RecursionError) as error:
    raise CheckpointError(
      f"{file} cannot be read as msgpack: {error}"
    ) from error
  version = content.get("version") if isinstance(content, dict) else None
  tree = content.get("optimizer") if isinstance(content, dict) else None
  if version != _VERSION or not (isinstance(tree, dict) and "target" in tree):
    raise CheckpointError(
      f"{file} holds version {version!r}, expected T5X's version {_VERSION} "
      "with optimizer/target; let T5X itself read and save it anew"
    )
  leaves = flax.traverse_util.flatten_dict(
    tree,
    is_leaf=lambda _, value: _SPEC_KEYS.issubset(value),
  )
  limits.ARRAYS.check(len(leaves), str(file))
  return leaves


def _tensor(folder: epath.Path, name: str, leaf: Any) -> Tensor:
  if not isinstance(leaf, dict):
    return from_array(np.asarray(leaf), name)
  try:
    # TensorStore before 0.1.14 had the path beside the store.
    own = leaf["kvstore"].get("path") or leaf["path"]
    shape = tuple(leaf["metadata"]["shape"])
    dtype = leaf.get("dtype") or np.dtype(leaf["metadata"]["dtype"]).name
    numpy_dtype = ts.dtype(dtype).numpy_dtype
    is_zarr = leaf["driver"] == "zarr"
  except (AttributeError, KeyError, TypeError, ValueError):
    is_zarr = False
  if not is_zarr:
    raise CheckpointError(
      f"{folder / FILE}: {name} is stored as {str(leaf)[:_MOST_SHOWN]}, "
      "expected a zarr array with a path, a shape and a type"
    )
  if dtype == "uint16":
    raise CheckpointError(
      f"{folder / FILE}: {name} is uint16, as T5X wrote bfloat16 before 2021; "
      "let T5X itself read and save it anew"
    )
  array_folder = storage.inside(folder, own, named_by=str(folder / FILE))
  # TensorStore refuses an array that is not what the tree says.
  spec = {
    "driver": "zarr",
    "dtype": dtype,
    "kvstore": storage.kvstore(array_folder),
    "metadata": {"shape": shape},
  }

  def read_array() -> np.ndarray:
    try:
      array = ts.open(spec, open=True).result()
      storage.check_chunks(array, str(array_folder))
      return array.read().result()
    except ValueError as error:
      raise CheckpointError(
        f"{array_folder}, which {folder / FILE} names as {name}, cannot be "
        f"read: {error}"
      ) from error

  return Tensor(shape, numpy_dtype, read_array, name)


def write(
  folder: str | os.PathLike[str], tree: Mapping[Path, Tensor | np.ndarray]
) -> None:
  """Writes a checkpoint that T5X restores.

  Args:
    folder: `.../checkpoint_<step>`, which must not exist yet.
    tree: leaves by path: ("target", ...) and ("state", ...). Tensors become
      zarr arrays; arrays go into the msgpack file, where T5X looks for
      Adafactor's factored means.

  Raises:
    FileExistsError: where the folder exists.
  """
  with storage.whole_folder(folder) as temporary:
    leaves = {
      path: _write_leaf(temporary, ".".join(path), leaf)
      for path, leaf in tree.items()
    }
    content = {
      "version": _VERSION,
      "optimizer": flax.traverse_util.unflatten_dict(leaves),
    }
    (temporary / FILE).write_bytes(
      flax.serialization.msgpack_serialize(content)
    )


def _write_leaf(
  folder: epath.Path, name: str, leaf: Tensor | np.ndarray
) -> np.ndarray | dict[str, Any]:
  if isinstance(leaf, np.ndarray):
    return leaf
  rows = 1
  if leaf.shape:
    bytes_a_row = max(leaf.nbytes // leaf.shape[0], 1)
    rows = min(max(_CHUNK_BYTES // bytes_a_row, 1), leaf.shape[0])
  metadata = {
    "shape": list(leaf.shape),
    "chunks": [rows, *leaf.shape[1:]] if leaf.shape else [],
    "compressor": {"id": "gzip", "level": 1},
  }
  spec = {"driver": "zarr", "dtype": leaf.dtype.name, "metadata": metadata}
  stored = ts.open(
    {**spec, "kvstore": storage.kvstore(folder / name)}, create=True
  )
  stored.result().write(leaf.read()).result()
  # Relative, as T5X has it, so that the folder can be moved.
  return {**spec, "kvstore": {"driver": "file", "path": f"{name}/"}}
