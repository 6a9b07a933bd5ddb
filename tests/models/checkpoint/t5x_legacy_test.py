"""The form of the public checkpoints, made here by hand.

No part of the writer is used, nor TensorStore: msgpack and zarr version 2, as
T5X wrote them in 2022. What our writer makes is held against T5X in
`t5x_test.py`.
"""

import gzip
import itertools
import json
import math

import msgpack
import numpy as np
import pytest

from instructrec.models.checkpoint import (
  convert,
  diff,
  opening,
  stacking,
  tensors,
)

STEP = 1_138_000
INLINE = "encoder/encoder_norm/scale"


def _packed(array):
  """An array in flax's msgpack: extension 1 of shape, type and bytes."""
  array = np.asarray(array)
  content = (array.shape, array.dtype.name, array.tobytes())
  return msgpack.ExtType(1, msgpack.packb(content, use_bin_type=True))


def _write_zarr(folder, array, chunks):
  """A zarr array; chunks of nothing but zeros are not written."""
  folder.mkdir(parents=True)
  metadata = {
    "chunks": list(chunks),
    "compressor": {"id": "gzip", "level": 1},
    "dtype": array.dtype.str if array.dtype.kind == "f" else "bfloat16",
    "fill_value": None,
    "filters": None,
    "order": "C",
    "shape": list(array.shape),
    "zarr_format": 2,
  }
  (folder / ".zarray").write_text(json.dumps(metadata))
  counts = [
    math.ceil(size / chunk)
    for size, chunk in zip(array.shape, chunks, strict=True)
  ]
  for index in itertools.product(*map(range, counts)):
    starts = [i * chunk for i, chunk in zip(index, chunks, strict=True)]
    part = array[
      tuple(slice(s, s + c) for s, c in zip(starts, chunks, strict=True))
    ]
    if part.any():
      # Chunks at the edge are as large as the others.
      whole = np.zeros(chunks, array.dtype)
      whole[tuple(map(slice, part.shape))] = part
      name = ".".join(map(str, index))
      (folder / name).write_bytes(gzip.compress(whole.tobytes(), 1))
  return metadata


def _spec(kind, name, array, metadata):
  """How the tree points to an array, by who wrote it."""
  kept = {n: metadata[n] for n in ("chunks", "compressor", "shape")}
  spec = {"driver": "zarr", "dtype": array.dtype.name, "metadata": kept}
  if kind == "gfile":
    return {**spec, "kvstore": {"driver": "gfile", "path": name}}
  if kind == "gcs":
    store = {"driver": "gcs", "bucket": "t5x-dummy-bucket", "path": f"{name}/"}
    return {**spec, "kvstore": store}
  # TensorStore before 0.1.14; T5X left the type to the metadata.
  del spec["dtype"]
  spec["metadata"] = {**kept, "dtype": metadata["dtype"]}
  return {**spec, "kvstore": {"driver": "file"}, "path": name}


def _write(folder, arrays, kind="gfile", *, version=3, change=None):
  """A checkpoint folder with state of Adafactor's beside the parameters."""
  states = {
    f"{name}/{leaf}": np.ones(array.shape[:1], np.float32)
    for name, array in arrays.items()
    for leaf in ("v_row", "v_col", "v", "m")
  }
  leaves = {f"target/{n}": a for n, a in arrays.items()}
  leaves |= {f"state/param_states/{n}": a for n, a in states.items()}
  tree = {"state": {"step": _packed(np.int32(STEP))}, "target": {}}
  for name, array in leaves.items():
    # Small arrays lie in the tree itself.
    if array.ndim < 2 or name.endswith(INLINE):
      leaf = _packed(array)
    else:
      path = name.replace("/", ".")
      chunks = [math.ceil(size / 2) + 1 for size in array.shape]
      metadata = _write_zarr(folder / path, array, chunks)
      leaf = _spec(kind, path, array, metadata)
    *parts, last = name.split("/")
    node = tree
    for part in parts:
      node = node.setdefault(part, {})
    node[last] = leaf
  content = {"version": version, "optimizer": tree}
  if change:
    change(content)
  packed = msgpack.packb(content, use_bin_type=True)
  (folder / "checkpoint").write_bytes(packed)
  return folder


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
  return tmp_path / f"checkpoint_{STEP}"


@pytest.fixture(name="arrays")
def arrays_fixture(flan, random_arrays):
  arrays = random_arrays(flan)
  # A corner of zeros, whose chunk is missing.
  arrays["token_embedder/embedding"][24:, 12:] = 0
  return arrays


@pytest.mark.parametrize("kind", ["gfile", "gcs", "old"])
def test_a_public_checkpoint_is_read(kind, folder, flan, arrays, as_checkpoint):
  _write(folder, arrays, kind)
  files = {
    p.name for p in (folder / "target.token_embedder.embedding").iterdir()
  }
  assert files == {".zarray", "0.0", "0.1", "1.0"}
  # The folder above, the folder, the file in it.
  for path in (folder.parent, folder, folder / "checkpoint"):
    found = opening.open_checkpoint(path)
    assert (found.form, found.step) == ("t5x_legacy", STEP)
    assert len(found.left) == 4 * len(arrays)
    assert opening.check(found) == flan
    assert diff.diff(as_checkpoint(arrays), found) == []


def test_stacked_layers_in_bfloat16(
  tmp_path, flan, random_arrays, as_checkpoint
):
  arrays = random_arrays(flan, "bfloat16")
  stacked = {
    n: t.read() for n, t in stacking.stack(as_checkpoint(arrays).params).items()
  }
  found = opening.open_checkpoint(_write(tmp_path / "checkpoint_1", stacked))
  assert found.stacked
  assert diff.diff(as_checkpoint(arrays), found) == []


def _embedding(content):
  return content["optimizer"]["target"]["token_embedder"]["embedding"]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda c: c.update(version=2),
      r"checkpoint holds version 2, expected T5X's version 3",
    ),
    (
      lambda c: c["optimizer"].pop("target"),
      r"expected T5X's version 3 with optimizer/target",
    ),
    (
      lambda c: _embedding(c).update(dtype="uint16"),
      r"target/token_embedder/embedding is uint16, as T5X wrote bfloat16",
    ),
    (
      lambda c: _embedding(c).update(driver="n5"),
      r"embedding is stored as .*expected a zarr array with a path",
    ),
  ],
  ids=["version", "target", "type", "driver"],
)
def test_trees_that_are_not_read(change, message, folder, arrays):
  _write(folder, arrays, change=change)
  with pytest.raises(tensors.CheckpointError, match=message):
    opening.open_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"\xc1\xc1", b"\x93\x01"])
def test_a_damaged_tree_is_named(content, folder, arrays):
  _write(folder, arrays)
  (folder / "checkpoint").write_bytes(content)
  with pytest.raises(
    tensors.CheckpointError,
    match=rf"checkpoint_{STEP}/checkpoint (cannot be read|holds version None)",
  ):
    opening.open_checkpoint(folder)


@pytest.mark.parametrize("damage", ["gone", "garbage", "shape", "type"])
def test_damaged_arrays_are_named_when_they_are_read(
  damage, tmp_path, folder, arrays
):
  _write(folder, arrays)
  array = folder / "target.token_embedder.embedding"
  if damage == "gone":
    array.rename(tmp_path / "elsewhere")
  elif damage == "garbage":
    (array / "0.0").write_bytes(b"garbage")
  else:
    metadata = json.loads((array / ".zarray").read_text())
    changed = {"shape": {"shape": [47, 23]}, "type": {"dtype": "<f8"}}[damage]
    (array / ".zarray").write_text(json.dumps(metadata | changed))
  found = opening.open_checkpoint(folder)
  with pytest.raises(
    tensors.CheckpointError,
    match=r"which .* names as target/token_embedder/embedding, cannot be read",
  ):
    convert.convert(
      found, tmp_path / "hf", convert.Settings(form="huggingface")
    )
  assert not (tmp_path / "hf").exists()
