"""Safetensors in and out, as the safetensors library has them."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from instructrec import checksums
from instructrec.models.checkpoint import (
  convert,
  diff,
  huggingface,
  names,
  opening,
  tensors,
)

TABLE = "shared.weight"


@pytest.fixture(name="in_memory")
def in_memory_fixture(flan, random_arrays, as_checkpoint):
  return as_checkpoint(random_arrays(flan), flan)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, in_memory):
  """Of somebody else, whose files carry no hashes."""
  _write(in_memory, tmp_path / "hf")
  (tmp_path / "hf" / checksums.FILE).unlink()
  return tmp_path / "hf"


def _write(checkpoint, folder, **settings):
  return convert.convert(
    checkpoint, folder, convert.Settings(form="huggingface", **settings)
  )


def _rewrite(folder, change):
  """Changes the weights with the library, as others may have written them."""
  file = folder / huggingface.WEIGHTS
  arrays = safetensors.numpy.load_file(file)
  change(arrays)
  safetensors.numpy.save_file(arrays, file)


def _set_config(folder, **fields):
  file = folder / huggingface.CONFIG
  content = json.loads(file.read_text()) | fields
  kept = {name: value for name, value in content.items() if value != "absent"}
  file.write_text(json.dumps(kept))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_library_reads_what_we_write(
  dtype, tmp_path, flan, random_arrays, as_checkpoint
):
  arrays = random_arrays(flan, dtype)
  _write(as_checkpoint(arrays, flan), tmp_path / "hf")
  read = safetensors.numpy.load_file(tmp_path / "hf" / huggingface.WEIGHTS)
  table = names.parameters(flan)
  assert read.keys() == {p.huggingface for p in table.values()}
  for name, array in arrays.items():
    theirs = read[table[name].huggingface]
    assert theirs.dtype == array.dtype
    # Hugging Face has [out, in]; only the table is as ours.
    flip = array.ndim == 2 and name != names.EMBEDDING
    expected = array.T if flip else array
    np.testing.assert_array_equal(theirs, expected, name)
  with safetensors.safe_open(
    tmp_path / "hf" / huggingface.WEIGHTS, "np"
  ) as file:
    # transformers refuses a file that does not say so.
    assert file.metadata() == {"format": "pt"}


def test_large_models_are_several_files_with_an_index(
  tmp_path, flan, random_arrays, as_checkpoint
):
  original = as_checkpoint(random_arrays(flan), flan)
  folder, limit = tmp_path / "hf", 50_000
  _write(original, folder, max_shard_bytes=limit)
  files = sorted(folder.glob("*.safetensors"))
  count = len(files)
  assert count > 5
  assert files[0].name == f"model-00001-of-{count:05d}.safetensors"
  index = json.loads((folder / huggingface.INDEX).read_text())
  found = {}
  for file in files:
    arrays = safetensors.numpy.load_file(file)
    assert sum(a.nbytes for a in arrays.values()) <= limit
    found |= dict.fromkeys(arrays, file.name)
  assert index["weight_map"] == found
  total = sum(t.nbytes for t in original.params.values())
  assert index["metadata"]["total_size"] == total
  assert diff.diff(original, opening.open_checkpoint(folder)) == []

  (folder / files[2].name).unlink()
  with pytest.raises(
    FileNotFoundError, match=rf"names {files[2].name}, not there; download all"
  ):
    opening.open_checkpoint(folder)


def test_a_tensor_larger_than_a_file_has_one_of_its_own(
  tmp_path, flan, random_arrays, as_checkpoint
):
  original = as_checkpoint(random_arrays(flan), flan)
  _write(original, tmp_path / "hf", max_shard_bytes=1)
  assert len(list((tmp_path / "hf").glob("*.safetensors"))) == len(
    original.params
  )
  assert diff.diff(original, opening.open_checkpoint(tmp_path / "hf")) == []


def test_names_are_in_the_order_of_the_network(folder, flan):
  params = opening.open_checkpoint(folder).params
  assert list(params) == list(names.parameters(flan))


def test_one_file_may_be_named(folder):
  found = opening.open_checkpoint(folder / huggingface.WEIGHTS)
  assert diff.diff(found, opening.open_checkpoint(folder)) == []


def test_copies_in_old_files_are_left(folder, in_memory):
  never_read = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  )
  copies = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]

  def add(arrays):
    arrays.update({name: arrays[TABLE].copy() for name in copies})
    arrays[never_read] = np.ones((32, 3), np.float32)

  _rewrite(folder, add)
  found = opening.open_checkpoint(folder)
  opening.check(found)
  assert found.left == {
    **dict.fromkeys(copies, "a copy of shared.weight"),
    never_read: "in old files; no network reads it",
  }
  assert diff.diff(in_memory, found) == []


def test_the_table_may_lie_under_another_of_its_names(folder, in_memory):
  def rename(arrays):
    arrays["encoder.embed_tokens.weight"] = arrays.pop(TABLE)

  _rewrite(folder, rename)
  assert diff.diff(in_memory, opening.open_checkpoint(folder)) == []


def test_a_copy_that_is_none_is_an_error(folder):
  def add(arrays):
    arrays["decoder.embed_tokens.weight"] = arrays[TABLE] + 1

  _rewrite(folder, add)
  with pytest.raises(
    tensors.CheckpointError, match=r"decoder\.embed_tokens\.weight differs from"
  ):
    opening.open_checkpoint(folder)


def test_the_weights_decide_whether_logits_are_tied(folder):
  # As transformers 5 writes Flan-T5.
  _set_config(folder, tie_word_embeddings=True, scale_decoder_outputs=False)
  assert not opening.open_checkpoint(folder).config.logits_via_embedding

  def tie(arrays):
    arrays["lm_head.weight"] = arrays[TABLE].copy()

  _rewrite(folder, tie)
  with pytest.raises(
    tensors.CheckpointError,
    match="scale_decoder_outputs is False, but the logits are taken from",
  ):
    opening.open_checkpoint(folder)
  _set_config(folder, scale_decoder_outputs=True)
  found = opening.open_checkpoint(folder)
  assert opening.check(found).logits_via_embedding
  assert found.left == {"lm_head.weight": "a copy of shared.weight"}


def test_settings_survive(flan):
  cfg = dataclasses.replace(
    flan,
    mlp_activations=("silu", "linear"),
    dropout_rate=0.25,
    max_distance=77,
    num_buckets=12,
    logits_via_embedding=True,
  )
  kind = names.architecture(cfg)
  fields = json.loads(json.dumps(kind.config_to_json(cfg)))
  assert kind.config_from_json(fields, True, "here") == cfg


def test_old_configs_leave_fields_out(folder, flan):
  _set_config(
    folder,
    relative_attention_num_buckets="absent",
    relative_attention_max_distance="absent",
    num_decoder_layers=None,
  )
  with pytest.raises(tensors.CheckpointError, match="unknown"):
    # As many layers as the encoder has, of which the weights have more.
    opening.check(opening.open_checkpoint(folder))
  _set_config(folder, num_decoder_layers=flan.num_decoder_layers)
  assert opening.check(opening.open_checkpoint(folder)) == flan


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"model_type": "bart"}, r"model_type is 'bart', expected one of \['t5'"),
    ({"layer_norm_epsilon": 1e-5}, r"layer_norm_epsilon is 1e-05, expected"),
    (
      {"feed_forward_proj": "gelu"},
      r"config\.json: feed_forward_proj is 'gelu', expected one of",
    ),
    ({"d_model": "absent", "num_heads": None}, "has no d_model, num_heads"),
    ({"dropout_rate": 1.5}, r"dropout_rate is 1\.5; expected a probability"),
  ],
)
def test_other_networks_are_refused(fields, message, folder):
  _set_config(folder, **fields)
  with pytest.raises(ValueError, match=message):
    opening.open_checkpoint(folder)


def test_wrong_sizes_in_the_config_are_found(folder):
  _set_config(folder, d_ff=41)
  with pytest.raises(
    tensors.CheckpointError,
    match=r"sizes from config\.json\)\n  of another shape \(39\):\n"
    r"    encoder\.block\.0\.layer\.1\.DenseReluDense\.wi_0\.weight: found "
    r"\[40, 24\], expected \[41, 24\]",
  ):
    opening.check(opening.open_checkpoint(folder))


def test_missing_and_unknown_names_are_theirs(folder):
  def change(arrays):
    arrays["encoder.norm.weight"] = arrays.pop(
      "encoder.final_layer_norm.weight"
    )

  _rewrite(folder, change)
  with pytest.raises(tensors.CheckpointError) as error:
    opening.check(opening.open_checkpoint(folder))
  assert "unknown (1):\n    encoder.norm.weight [24]" in str(error.value)
  assert "missing (1):\n    encoder.final_layer_norm.weight [24]" in str(
    error.value
  )


def test_weights_without_a_config(folder):
  (folder / huggingface.CONFIG).unlink()
  with pytest.raises(FileNotFoundError, match=r"config\.json is missing; the"):
    opening.open_checkpoint(folder)


@pytest.mark.parametrize(
  ("file", "content", "message"),
  [
    (huggingface.CONFIG, b"{", r"config\.json cannot be read as JSON"),
    (huggingface.CONFIG, b"[]", r"config\.json holds no JSON object"),
    (huggingface.INDEX, b"{}", r"index\.json has no weight_map"),
    (huggingface.WEIGHTS, b"\xff" * 99, r"model\.safetensors cannot be read"),
  ],
)
def test_damaged_files_are_named(file, content, message, folder):
  (folder / file).write_bytes(content)
  with pytest.raises(tensors.CheckpointError, match=message):
    opening.open_checkpoint(folder)


def test_a_file_cut_short_is_named(folder):
  file = folder / huggingface.WEIGHTS
  file.write_bytes(file.read_bytes()[:-100])
  with pytest.raises(
    tensors.CheckpointError, match=r"model\.safetensors cannot be read"
  ):
    opening.open_checkpoint(folder)


def test_numbers_that_are_no_parameters(folder):
  def change(arrays):
    arrays[TABLE] = arrays[TABLE].astype(np.int8)

  _rewrite(folder, change)
  with pytest.raises(
    tensors.CheckpointError, match=r"shared\.weight is of type I8; expected"
  ):
    opening.open_checkpoint(folder)


def test_what_hugging_face_does_not_have(
  tmp_path, flan, random_arrays, as_checkpoint
):
  cfg = dataclasses.replace(flan, mlp_activations=("relu", "relu"))
  with pytest.raises(tensors.CheckpointError, match="has only"):
    huggingface.write(
      tmp_path / "hf",
      as_checkpoint(random_arrays(flan)).params,
      cfg,
    )
  assert list(tmp_path.iterdir()) == []


def test_buckets_are_not_written_to(flan, random_arrays, as_checkpoint):
  with pytest.raises(ValueError, match=r"gs://bucket/x is not on disk"):
    _write(as_checkpoint(random_arrays(flan), flan), "gs://bucket/x")
