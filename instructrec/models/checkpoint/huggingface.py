"""Hugging Face's form: safetensors files with a config.json.

Neither PyTorch nor transformers is needed. Files are local: a model on a
server is downloaded first.
"""

import functools
import json
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from etils import epath

from instructrec import limits
from instructrec.models.checkpoint import architecture, names, storage
from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  Tensor,
)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
# Hugging Face's own limit for a file for years; still a good size to move.
MAX_SHARD_BYTES = 5 * 10**9

_DTYPES = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_LOGITS = "lm_head.weight"


def read(path: str | os.PathLike[str]) -> Checkpoint:
  """Opens a folder that `save_pretrained` or a download made.

  Args:
    path: the folder, or a .safetensors file in it.

  Returns:
    The checkpoint, unstacked, at step 0.

  Raises:
    FileNotFoundError: where config.json or a weight file is missing.
    CheckpointError: where a file is damaged, an index names a file elsewhere,
      copies of the token embedding differ, or the network is none of ours.
    LimitError: where a size is beyond what is read.
  """
  path = storage.local(path)
  folder = path.parent if path.is_file() else path
  settings = folder / CONFIG
  if not settings.is_file():
    raise FileNotFoundError(
      f"{settings} is missing; the weights alone do not say what network they "
      "belong to"
    )
  found = {
    name: tensor
    for file in ([path] if path.is_file() else _weight_files(folder))
    for name, tensor in open_file(file).items()
  }
  fields = read_json(settings)
  kind = _architecture(fields, found_in=str(settings))
  left = _leave_copies(found, kind, folder)
  tied = _is_tied(fields, found, kind)
  if tied and _LOGITS in found:
    del found[_LOGITS]
    left[_LOGITS] = f"a copy of {kind.table}"
  config = kind.config_from_json(fields, tied, str(settings))
  params = {}
  # The library gives names in no order; ours is that of the network.
  for known in names.parameters(config).values():
    if tensor := found.pop(known.huggingface, None):
      params[known.name] = _from_theirs(tensor, known, config)
  return Checkpoint(
    path=os.fspath(path),
    form="huggingface",
    step=0,
    params=params | found,
    left=left,
    config=config,
  )


def read_json(file: pathlib.Path) -> dict[str, Any]:
  """The object in a JSON file of settings."""
  limits.INDEX_BYTES.check(file.stat().st_size, str(file))
  try:
    content = json.loads(file.read_bytes())
  except (ValueError, RecursionError) as error:
    raise CheckpointError(f"{file} cannot be read as JSON: {error}") from error
  if not isinstance(content, dict):
    raise CheckpointError(f"{file} holds no JSON object")
  return content


def _weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
  if not (folder / INDEX).is_file():
    return [folder / WEIGHTS]
  weight_map = read_json(folder / INDEX).get("weight_map")
  if not isinstance(weight_map, dict):
    raise CheckpointError(f"{folder / INDEX} has no weight_map")
  named_by = str(folder / INDEX)
  files = sorted(
    {
      pathlib.Path(storage.inside(folder, name, named_by=named_by))
      for name in weight_map.values()
    }
  )
  if absent := [file.name for file in files if not file.is_file()]:
    raise FileNotFoundError(
      f"{folder / INDEX} names {', '.join(absent)}, not there; download all "
      f"{len(files)} files"
    )
  return files


def open_file(file: pathlib.Path) -> dict[str, Tensor]:
  """The tensors of a safetensors file by their names in it."""
  found = {}
  with file.open("rb") as start:
    # The file begins with the length of its header.
    length = int.from_bytes(start.read(8), "little")
  # More than the file holds is damage, which the library names.
  length = min(length, file.stat().st_size)
  limits.INDEX_BYTES.check(length, f"the header of {file}")
  try:
    with safetensors.safe_open(file, "np") as opened:
      for name in opened.keys():  # noqa: SIM118 (no mapping)
        view = opened.get_slice(name)
        code = view.get_dtype()
        if code not in _DTYPES:
          raise CheckpointError(
            f"{file}: {name} is of type {code}; expected one of "
            f"{', '.join(_DTYPES)}"
          )
        found[name] = Tensor(
          tuple(view.get_shape()),
          _DTYPES[code],
          functools.partial(_read_tensor, file, name),
          name,
        )
  except safetensors.SafetensorError as error:
    raise CheckpointError(f"{file} cannot be read: {error}") from error
  return found


def _read_tensor(file: pathlib.Path, name: str) -> np.ndarray:
  # Opened anew for each tensor: a mapped file would stay in memory.
  with safetensors.safe_open(file, "np") as opened:
    return opened.get_tensor(name)


def _same(a: Tensor, b: Tensor) -> bool:
  return a.shape == b.shape and bool(np.array_equal(a.read(), b.read()))


def _architecture(
  fields: Mapping[str, Any], *, found_in: str
) -> architecture.Architecture:
  """The kind of network that a config.json is of."""
  known = {
    model_type: kind
    for kind in names.ARCHITECTURES
    for model_type in kind.model_types
  }
  # Files from before it was written are T5's.
  found = fields.get("model_type", "t5")
  if found not in known:
    raise CheckpointError(
      f"{found_in}: model_type is {found!r}, expected one of {list(known)}"
    )
  return known[found]


def _leave_copies(
  found: dict[str, Tensor],
  kind: architecture.Architecture,
  folder: pathlib.Path,
) -> dict[str, str]:
  """Takes out what is no parameter; returns its names with the reasons."""
  left = {}
  for name in kind.copies:
    if name in found and kind.table in found:
      copy = found.pop(name)
      if not _same(copy, found[kind.table]):
        raise CheckpointError(
          f"{folder}: {name} differs from {kind.table}; {kind.name} has one "
          "table for both stacks"
        )
      left[name] = f"a copy of {kind.table}"
    elif name in found:
      # Files without copies may have kept it under any of its names.
      found[kind.table] = found.pop(name)
  for name in [name for name in found if kind.never_read.fullmatch(name)]:
    del found[name]
    left[name] = "in old files; no network reads it"
  return left


def _is_tied(
  fields: Mapping[str, Any],
  found: Mapping[str, Tensor],
  kind: architecture.Architecture,
) -> bool:
  """Whether the logits come from the table: the weights decide.

  transformers 5 writes `tie_word_embeddings: true` for T5s that are not.
  """
  says = fields.get("tie_word_embeddings", kind.tied)
  if _LOGITS not in found or not says or kind.table not in found:
    return says
  return _same(found[_LOGITS], found[kind.table])


_TABLES = (names.EMBEDDING, names.LOGITS)


def _from_theirs(tensor: Tensor, known: names.Parameter, config: Any) -> Tensor:
  if known.name in _TABLES:
    tensor = tensor.with_rows_exchanged(config.padding_row)
  return tensor.transposed() if known.transposed else tensor


def _to_theirs(tensor: Tensor, known: names.Parameter, config: Any) -> Tensor:
  tensor = tensor.transposed() if known.transposed else tensor
  if known.name in _TABLES:
    tensor = tensor.with_rows_exchanged(config.padding_row)
  return tensor


def write(
  folder: str | os.PathLike[str],
  params: Mapping[str, Tensor],
  config: Any,
  *,
  max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
  """Writes what `from_pretrained` of transformers reads.

  Args:
    folder: must not exist yet.
    params: all parameters of `config`, by our unstacked name.
    config: the network.
    max_shard_bytes: largest weight file; more become several with an index.

  Raises:
    FileExistsError: where the folder exists.
    CheckpointError: where Hugging Face has no such network.
    ValueError: where the folder is not on disk.
  """
  folder = storage.local(folder)
  table = names.parameters(config)
  theirs = {
    table[name].huggingface: _to_theirs(tensor, table[name], config)
    for name, tensor in params.items()
  }
  dtypes = {tensor.dtype for tensor in theirs.values()}
  if unknown := dtypes - _CODES.keys():
    raise CheckpointError(
      f"parameters of type {', '.join(map(str, unknown))}; choose one of "
      "float32, bfloat16, float16"
    )
  widest = max(dtypes, key=lambda dtype: dtype.itemsize)
  fields = names.architecture(config).config_to_json(config)
  fields["torch_dtype"] = widest.name
  shards = _shards(theirs, max_shard_bytes)
  with storage.whole_folder(folder) as temporary:
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
      name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
      name = name if len(shards) > 1 else WEIGHTS
      write_file(temporary / name, shard)
      weight_map.update(dict.fromkeys(shard, name))
    if len(shards) > 1:
      total = sum(tensor.nbytes for tensor in theirs.values())
      index = {"metadata": {"total_size": total}, "weight_map": weight_map}
      (temporary / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    (temporary / CONFIG).write_text(json.dumps(fields, indent=2) + "\n")


def _shards(
  params: Mapping[str, Tensor], max_bytes: int
) -> list[dict[str, Tensor]]:
  shards: list[dict[str, Tensor]] = [{}]
  size = 0
  for name, tensor in params.items():
    if shards[-1] and size + tensor.nbytes > max_bytes:
      shards.append({})
      size = 0
    shards[-1][name] = tensor
    size += tensor.nbytes
  return shards


def write_file(file: epath.Path, params: Mapping[str, Tensor]) -> None:
  """Writes one file; the library can only write from memory."""
  header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
  offset = 0
  for name, tensor in params.items():
    header[name] = {
      "dtype": _CODES[tensor.dtype],
      "shape": list(tensor.shape),
      "data_offsets": [offset, offset + tensor.nbytes],
    }
    offset += tensor.nbytes
  encoded = json.dumps(header, separators=(",", ":")).encode()
  # The numbers start at a multiple of 8 bytes.
  encoded += b" " * (-len(encoded) % 8)
  with file.open("wb") as out:
    out.write(struct.pack("<Q", len(encoded)))
    out.write(encoded)
    for tensor in params.values():
      array = np.ascontiguousarray(tensor.read())
      out.write(array.view(np.uint8).data)
