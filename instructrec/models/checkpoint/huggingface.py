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
from instructrec.models.checkpoint import names, storage
from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  Tensor,
)
from instructrec.models.networks import t5_config

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
_FEED_FORWARD = {
  ("gelu", "linear"): "gated-gelu",
  ("silu", "linear"): "gated-silu",
  ("relu",): "relu",
}
# Field of config.json, and of ours.
_FIELDS = {
  "vocab_size": "vocab_size",
  "d_model": "emb_dim",
  "d_kv": "head_dim",
  "d_ff": "mlp_dim",
  "num_heads": "num_heads",
  "num_layers": "num_encoder_layers",
  "num_decoder_layers": "num_decoder_layers",
  "relative_attention_num_buckets": "num_buckets",
  "relative_attention_max_distance": "max_distance",
  "dropout_rate": "dropout_rate",
}
# What transformers takes where an older file leaves a field out.
_DEFAULTS = {
  "relative_attention_num_buckets": 32,
  "relative_attention_max_distance": 128,
  "dropout_rate": 0.1,
}
_TABLE, _LOGITS = "shared.weight", "lm_head.weight"
_TABLE_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_NEVER_READ = (
  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
)


def config_from_json(
  fields: Mapping[str, Any], *, tied: bool, found_in: str
) -> t5_config.T5Config:
  """Our configuration for a config.json.

  Args:
    fields: the content of config.json.
    tied: whether the logits are taken from the token embedding.
    found_in: where it was found, for the message.

  Returns:
    The configuration.

  Raises:
    CheckpointError: where the network is another one than T5 1.0, T5 1.1 or
      Flan-T5.
  """
  fields = {
    **_DEFAULTS,
    "num_decoder_layers": fields.get("num_layers"),
    **{name: value for name, value in fields.items() if value is not None},
  }
  expected = {
    "model_type": ("t5", "mt5"),
    "feed_forward_proj": tuple(_FEED_FORWARD.values()),
    "layer_norm_epsilon": (1e-6,),
  }
  for field, values in expected.items():
    found = fields.get(field, values[0])
    if found not in values:
      raise CheckpointError(
        f"{found_in}: {field} is {found!r}, expected one of {list(values)}"
      )
  if absent := [name for name in _FIELDS if fields.get(name) is None]:
    raise CheckpointError(f"{found_in} has no {', '.join(absent)}")
  # T5 1.0 scales the decoder's output where it shares the table.
  if fields.get("scale_decoder_outputs", tied) != tied:
    raise CheckpointError(
      f"{found_in}: scale_decoder_outputs is "
      f"{fields['scale_decoder_outputs']}, but the logits are "
      f"{'' if tied else 'not '}taken from the token embedding; expected both "
      "(T5 1.0) or neither (T5 1.1, Flan-T5)"
    )
  forms = {value: key for key, value in _FEED_FORWARD.items()}
  try:
    return t5_config.T5Config(
      **{ours: fields[theirs] for theirs, ours in _FIELDS.items()},
      mlp_activations=forms[fields.get("feed_forward_proj", "relu")],
      logits_via_embedding=tied,
    )
  except (TypeError, ValueError) as error:
    raise CheckpointError(f"{found_in}: {error}") from error


def config_to_json(
  config: t5_config.T5Config, dtype: np.dtype
) -> dict[str, Any]:
  """The config.json for a network.

  Args:
    config: the network.
    dtype: of the parameters.

  Returns:
    The fields.

  Raises:
    CheckpointError: where Hugging Face's T5 has no such activations.
  """
  activations = tuple(config.mlp_activations)
  if activations not in _FEED_FORWARD:
    raise CheckpointError(
      f"mlp_activations are {activations}; Hugging Face's T5 has only "
      f"{', '.join(map(str, _FEED_FORWARD))}"
    )
  return {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    **{theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()},
    "feed_forward_proj": _FEED_FORWARD[activations],
    "tie_word_embeddings": config.logits_via_embedding,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "torch_dtype": dtype.name,
  }


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
    for name, tensor in _open_file(file).items()
  }
  left = {}
  for name in _TABLE_COPIES:
    if name in found and _TABLE in found:
      _require_equal(found.pop(name), found[_TABLE], folder)
      left[name] = f"a copy of {_TABLE}"
    elif name in found:
      # Files without copies may have kept it under any of its names.
      found[_TABLE] = found.pop(name)
  if _NEVER_READ in found:
    del found[_NEVER_READ]
    left[_NEVER_READ] = "in old files; no network reads it"
  fields = _read_json(settings)
  tied = _is_tied(fields, found)
  if tied and _LOGITS in found:
    del found[_LOGITS]
    left[_LOGITS] = f"a copy of {_TABLE}"
  config = config_from_json(fields, tied=tied, found_in=str(settings))
  params = {}
  # The library gives names in no order; ours is that of the network.
  for known in names.parameters(config).values():
    if tensor := found.pop(known.huggingface, None):
      params[known.name] = tensor.transposed() if known.transposed else tensor
  return Checkpoint(
    path=os.fspath(path),
    form="huggingface",
    step=0,
    params=params | found,
    left=left,
    config=config,
  )


def _read_json(file: pathlib.Path) -> dict[str, Any]:
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
  weight_map = _read_json(folder / INDEX).get("weight_map")
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


def _open_file(file: pathlib.Path) -> dict[str, Tensor]:
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


def _require_equal(copy: Tensor, table: Tensor, folder: pathlib.Path) -> None:
  if not _same(copy, table):
    raise CheckpointError(
      f"{folder}: {copy.source} differs from {_TABLE}; T5 has one table for "
      "both stacks"
    )


def _is_tied(fields: Mapping[str, Any], found: Mapping[str, Tensor]) -> bool:
  """Whether the logits come from the table: the weights decide.

  transformers 5 writes `tie_word_embeddings: true` for networks that are not.
  """
  says = fields.get("tie_word_embeddings", True)
  if _LOGITS not in found or not says or _TABLE not in found:
    return says
  return _same(found[_LOGITS], found[_TABLE])


def write(
  folder: str | os.PathLike[str],
  params: Mapping[str, Tensor],
  config: t5_config.T5Config,
  *,
  max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
  """Writes what `T5ForConditionalGeneration.from_pretrained` reads.

  Args:
    folder: must not exist yet.
    params: all parameters of `config`, by our unstacked name.
    config: the network.
    max_shard_bytes: largest weight file; more become several with an index.

  Raises:
    FileExistsError: where the folder exists.
    CheckpointError: where Hugging Face's T5 has no such network.
    ValueError: where the folder is not on disk.
  """
  folder = storage.local(folder)
  table = names.parameters(config)
  theirs = {
    table[name].huggingface: (
      tensor.transposed() if table[name].transposed else tensor
    )
    for name, tensor in params.items()
  }
  dtypes = {tensor.dtype for tensor in theirs.values()}
  if unknown := dtypes - _CODES.keys():
    raise CheckpointError(
      f"parameters of type {', '.join(map(str, unknown))}; choose one of "
      "float32, bfloat16, float16"
    )
  widest = max(dtypes, key=lambda dtype: dtype.itemsize)
  fields = config_to_json(config, widest)
  shards = _shards(theirs, max_shard_bytes)
  with storage.whole_folder(folder) as temporary:
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
      name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
      name = name if len(shards) > 1 else WEIGHTS
      _write_file(temporary / name, shard)
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


def _write_file(file: epath.Path, params: Mapping[str, Tensor]) -> None:
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
