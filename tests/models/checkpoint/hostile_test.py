"""Checkpoints of strangers: what they name, and how large they say they are."""

import json
import struct

import msgpack
import numpy as np
import pytest
import safetensors.numpy
import tensorstore as ts

from instructrec import checksums
from instructrec.models.checkpoint import (
  convert,
  names,
  opening,
  stacking,
  storage,
  t5x_legacy,
  tensors,
)
from instructrec.models.networks import t5_config

ELSEWHERE = [
  "/etc/passwd",
  "../secret.safetensors",
  "a/../../secret.safetensors",
  "..",
  "./..",
  "gs://bucket/x.safetensors",
  "file:///etc/passwd",
  "C:\\weights.safetensors",
  "..\\secret.safetensors",
  "a\x00.safetensors",
  "\x1b[2J.safetensors",
  "",
  ".",
  7,
]


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, flan, random_arrays, as_checkpoint):
  """A Hugging Face folder of two files and an index."""
  folder = tmp_path / "hf"
  convert.convert(
    as_checkpoint(random_arrays(flan), flan),
    folder,
    convert.Settings(form="huggingface"),
  )
  whole = folder / "model.safetensors"
  arrays = safetensors.numpy.load_file(whole)
  whole.unlink()
  first = {n: a for n, a in arrays.items() if n.startswith("encoder")}
  parts = {"a.safetensors": first}
  parts["b.safetensors"] = {n: a for n, a in arrays.items() if n not in first}
  for file, part in parts.items():
    safetensors.numpy.save_file(part, folder / file)
  index = {name: file for file, part in parts.items() for name in part}
  _write_index(folder, index)
  (folder / checksums.FILE).unlink()
  return folder


def _write_index(folder, weight_map):
  (folder / "model.safetensors.index.json").write_text(
    json.dumps({"weight_map": weight_map})
  )


def _index(folder):
  text = (folder / "model.safetensors.index.json").read_text()
  return json.loads(text)["weight_map"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_index_names_files_of_its_folder_alone(name, folder):
  (folder.parent / "secret.safetensors").write_bytes(
    (folder / "b.safetensors").read_bytes()
  )
  _write_index(folder, {**_index(folder), "shared.weight": name})
  with pytest.raises(
    tensors.CheckpointError, match=r"index\.json names the file .* not read"
  ) as caught:
    opening.open_checkpoint(folder)
  assert str(caught.value).isprintable()


def test_folders_within_and_links_of_a_download_are_read(
  folder, flan, random_arrays, read_all
):
  (folder / "sub").mkdir()
  (folder / "a.safetensors").rename(folder / "sub" / "a.safetensors")
  # As the cache of huggingface_hub lays files out.
  (folder / "b.safetensors").rename(folder.parent / "blob")
  (folder / "b.safetensors").symlink_to(folder.parent / "blob")
  moved = {
    name: file.replace("a.", "sub/a.") for name, file in _index(folder).items()
  }
  _write_index(folder, moved)
  found = read_all(opening.open_checkpoint(folder))
  expected = random_arrays(flan)
  assert set(found) == set(expected)
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"num_layers": 10_000_000},
      r"num_encoder_layers: found 10,000,000 layers",
    ),
    ({"num_decoder_layers": 10**100}, "over 10\\^18 layers, expected at most"),
    ({"vocab_size": 10**12}, "INSTRUCTREC_MAX_VOCABULARY"),
    ({"d_ff": 2**40}, "INSTRUCTREC_MAX_WIDTH"),
    ({"num_layers": 2.5}, "num_encoder_layers is 2.5"),
    ({"d_model": "64"}, "emb_dim is '64'"),
    ({"num_heads": [1]}, r"num_heads is \[1\]"),
    ({"dropout_rate": "much"}, "config.json"),
  ],
)
def test_sizes_of_a_config_are_refused_at_once(fields, message, folder):
  file = folder / "config.json"
  file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
  with pytest.raises(tensors.CheckpointError, match=message) as caught:
    opening.open_checkpoint(folder)
  assert str(file) in str(caught.value)


@pytest.mark.parametrize(
  "name", ["config.json", "model.safetensors.index.json"]
)
def test_large_and_deep_json_is_refused(name, folder):
  with (folder / name).open("wb") as file:
    file.truncate(20 * 2**30)
  with pytest.raises(ValueError, match=f"{name}.*INSTRUCTREC_MAX_INDEX_BYTES"):
    opening.open_checkpoint(folder)
  (folder / name).write_text("[" * 200_000)
  with pytest.raises(tensors.CheckpointError, match=f"{name} cannot be read"):
    opening.open_checkpoint(folder)


def test_a_large_header_is_refused(folder):
  with (folder / "a.safetensors").open("wb") as file:
    file.write(struct.pack("<Q", 2 * 10**9))
    file.truncate(3 * 10**9)
  with pytest.raises(
    ValueError, match=r"header of .*a.safetensors.*2,000,000,0"
  ):
    opening.open_checkpoint(folder)


def test_a_layer_of_a_high_number_is_refused(flan, random_arrays):
  shapes = {n: a.shape for n, a in random_arrays(flan).items()}
  shapes["encoder/layers_99999999/mlp/wo/kernel"] = (1, 1)
  with pytest.raises(
    tensors.CheckpointError, match=r"here: .*100,000,000 layers"
  ):
    names.infer_config(shapes, found_in="here")
  # Beyond any number it is the name of no layer.
  assert names.split_layer(f"encoder/layers_{'9' * 5000}/x") is None


def test_many_stacked_layers_are_refused():
  tensor = tensors.Tensor((10_000_000, 1), np.dtype("f4"), list, "layers")
  with pytest.raises(
    ValueError, match="10,000,000 layers, expected at most 512"
  ):
    stacking.unstack({"encoder/layers/mlp/wo/kernel": tensor})
  bare = tensors.Tensor((), np.dtype("f4"), list, "layers")
  with pytest.raises(tensors.CheckpointError, match="no axis of layers"):
    stacking.unstack({"encoder/layers/mlp/wo/kernel": bare})


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((10**9, 10**9), "over 10\\^18 bytes, expected at most 68,719,476,736"),
    ((2**40,), "4,398,046,511,104 bytes"),
    ((-1, 2), "expected whole numbers"),
    ((2.0,), "expected whole numbers"),
  ],
)
def test_arrays_of_impossible_sizes_are_refused(shape, message):
  with pytest.raises(ValueError, match=message):
    tensors.Tensor(shape, np.dtype("f4"), list, "x")


def _legacy(folder, spec):
  folder.mkdir(exist_ok=True)
  tree = {"target": {"token_embedder": {"embedding": spec}}}
  (folder / "checkpoint").write_bytes(
    msgpack.packb({"version": 3, "optimizer": tree})
  )
  return folder


def _spec(path="x", shape=(2,), **changes):
  return {
    "driver": "zarr",
    "dtype": "float32",
    "kvstore": {"driver": "file", "path": path},
    "metadata": {"shape": list(shape)},
    **changes,
  }


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_older_form_names_arrays_of_its_folder_alone(name, tmp_path):
  folder = _legacy(tmp_path / "checkpoint_1", _spec(name))
  with pytest.raises(
    tensors.CheckpointError, match=r"names the file .* not read|is stored as"
  ):
    opening.open_checkpoint(folder)


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    (_spec(shape=(10**12, 10**6)), "over 10\\^18 bytes"),
    (_spec(shape=(-1,)), "expected whole numbers"),
    (_spec(dtype="object"), "is stored as"),
    (_spec(dtype=7), "is stored as"),
    (_spec(metadata=[]), "is stored as"),
    (_spec(kvstore="x"), "is stored as"),
    (_spec(driver="json"), "is stored as"),
  ],
)
def test_what_the_older_form_says_of_an_array_is_checked(
  spec, message, tmp_path
):
  with pytest.raises(ValueError, match=message):
    opening.open_checkpoint(_legacy(tmp_path / "checkpoint_1", spec))


@pytest.mark.parametrize(
  "content",
  [
    b"\xc1",
    msgpack.packb([1]),
    msgpack.packb({"version": 3}),
    msgpack.packb({"version": 3, "optimizer": 5}),
    msgpack.packb({"version": 3, "optimizer": ["target"]}),
    b"\x91" * 100_000,
  ],
)
def test_any_other_msgpack_is_refused(content, tmp_path):
  folder = tmp_path / "checkpoint_1"
  folder.mkdir()
  (folder / "checkpoint").write_bytes(content)
  with pytest.raises(tensors.CheckpointError, match="checkpoint_1/checkpoint"):
    opening.open_checkpoint(folder)


def test_a_large_tree_is_refused_before_it_is_read(tmp_path):
  folder = _legacy(tmp_path / "checkpoint_1", _spec())
  with (folder / t5x_legacy.FILE).open("ab") as file:
    file.truncate(50 * 2**30)
  with pytest.raises(ValueError, match="INSTRUCTREC_MAX_TREE_BYTES"):
    opening.open_checkpoint(folder)


@pytest.mark.parametrize(
  ("name", "shape", "chunks", "message"),
  [
    ("params.x", [10**9, 10**9], [1, 10], "over 10\\^18 bytes"),
    ("params.x", [4], [10**13], "a chunk of .*params/x"),
    ("step", [5], [5], r"step is int32 \[5\], expected one number"),
  ],
)
def test_sizes_of_an_orbax_checkpoint_are_refused(
  name, shape, chunks, message, tmp_path
):
  folder = tmp_path / "checkpoint_1"
  _write_orbax(folder, ("params.y", [2], [2]), (name, shape, chunks))
  with pytest.raises(ValueError, match=message):
    opening.open_checkpoint(folder)


def _write_orbax(folder, *arrays):
  """Says of arrays what they are, and writes no numbers."""
  base = storage.kvstore(folder / "state")
  for path, sizes, parts in arrays:
    kvstore = {"driver": "ocdbt", "base": base, "path": f"{path}/"}
    ts.open(
      {
        "driver": "zarr",
        "kvstore": kvstore,
        "metadata": {"shape": sizes, "chunks": parts, "dtype": "<i4"},
      },
      create=True,
    ).result()


def test_many_arrays_are_refused(tmp_path, monkeypatch):
  folder = tmp_path / "checkpoint_1"
  _write_orbax(folder, ("params.x", [2], [2]), ("params.y", [2], [2]))
  checksums.write(folder)
  assert set(opening.open_checkpoint(folder).params) == {"x", "y"}
  monkeypatch.setenv("INSTRUCTREC_MAX_ARRAYS", "1")
  with pytest.raises(ValueError, match="found 2 arrays, expected at most 1;"):
    opening.open_checkpoint(folder)


def test_keys_of_a_store_do_not_climb(tmp_path):
  """What Orbax's files name is read by TensorStore, which refuses it."""
  (tmp_path / "in").mkdir()
  (tmp_path / "secret").write_text("x")
  store = ts.KvStore.open(storage.kvstore(tmp_path / "in")).result()
  for key in ("../secret", f"{tmp_path}/secret", "a/../../secret"):
    with pytest.raises(ValueError, match="Invalid key"):
      store.read(key).result()


def test_layers_of_a_network_have_a_limit_that_can_be_set(monkeypatch):
  with pytest.raises(ValueError, match="INSTRUCTREC_MAX_LAYERS"):
    t5_config.T5Config(vocab_size=8, num_encoder_layers=10_000_000)
  monkeypatch.setenv("INSTRUCTREC_MAX_LAYERS", "600")
  assert t5_config.T5Config(vocab_size=8, num_encoder_layers=600)
