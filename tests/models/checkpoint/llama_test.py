"""LLaMA-style networks in Hugging Face's form, and in the others."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from instructrec import checksums
from instructrec.models.checkpoint import (
  convert,
  huggingface,
  llama_architecture,
  names,
  opening,
  tensors,
)
from instructrec.models.networks import llama_config, rotary

CONFIG = llama_config.LlamaConfig(
  vocab_size=23,
  emb_dim=12,
  num_heads=4,
  num_kv_heads=2,
  num_decoder_layers=2,
  head_dim=4,
  mlp_dim=10,
  padding_row=20,
)
FIELDS = {
  "model_type": "llama",
  "vocab_size": 23,
  "hidden_size": 12,
  "intermediate_size": 10,
  "num_hidden_layers": 2,
  "num_attention_heads": 3,
  "rms_norm_eps": 1e-6,
  "max_position_embeddings": 64,
}
SCALING = {
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 32,
}


def _config(**fields):
  return llama_architecture.LLAMA.config_from_json(
    FIELDS | fields, False, "here"
  )


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, random_arrays, as_checkpoint):
  convert.convert(
    as_checkpoint(random_arrays(CONFIG), CONFIG),
    tmp_path / "hf",
    convert.Settings(form="huggingface"),
  )
  return tmp_path / "hf"


def test_what_older_files_leave_out_is_taken_as_transformers_does():
  found = _config()
  assert (found.kv_heads, found.head_dim) == (3, 4)
  assert (found.rope_theta, found.rope_scaling) == (10_000.0, None)
  assert (found.bos_id, found.eos_id, found.padding_row) == (1, 2, 0)


@pytest.mark.parametrize(
  "fields",
  [
    {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **SCALING}},
    {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **SCALING}},
    # As transformers 5 writes it.
    {
      "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        **SCALING,
      }
    },
  ],
)
def test_scaled_positions_of_older_and_newer_files(fields):
  found = _config(**fields)
  assert found.rope_theta == 5e5
  assert found.rope_scaling == rotary.Llama3Scaling(
    factor=8.0, original_max_length=32
  )


@pytest.mark.parametrize(
  ("fields", "padding"),
  [
    ({"pad_token_id": 5}, 5),
    ({"pad_token_id": None}, 0),
    ({"pad_token_id": -1}, 0),
    # The end token cannot be padding as well: an answer would never end.
    ({"pad_token_id": 2}, 0),
    (
      {
        "vocab_size": 128_256,
        "bos_token_id": 128_000,
        "eos_token_id": [128_001, 128_008],
      },
      128_004,
    ),
  ],
)
def test_which_row_is_padding(fields, padding):
  found = _config(**fields)
  assert found.padding_row == padding
  assert found.eos_id == (128_001 if padding == 128_004 else 2)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"hidden_act": "gelu"}, r"here: hidden_act is 'gelu', expected one of"),
    ({"attention_bias": True}, "attention_bias is True"),
    ({"hidden_size": None}, "here has no hidden_size"),
    ({"num_attention_heads": 0}, "here: "),
    ({"num_key_value_heads": 2}, "num_kv_heads is 2; expected a divisor of 3"),
    (
      {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
      "rope_type is 'yarn', expected 'default' or 'llama3'",
    ),
    (
      {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}},
      "'llama3', expected high_freq_factor, low_freq_factor, original_max",
    ),
    ({"bos_token_id": 0}, "bos_id is 0; expected a token from 1 to 22"),
    ({"pad_token_id": 23}, "padding_row is 23; expected a token from 0 to 22"),
  ],
)
def test_other_networks_are_refused(fields, message):
  with pytest.raises(tensors.CheckpointError, match=message):
    _config(**fields)


def test_padding_changes_places_with_row_0(folder, random_arrays):
  arrays = random_arrays(CONFIG)
  theirs = safetensors.numpy.load_file(folder / huggingface.WEIGHTS)
  order = np.arange(23)
  order[[0, 20]] = 20, 0
  np.testing.assert_array_equal(
    theirs["model.embed_tokens.weight"], arrays[names.EMBEDDING][order]
  )
  np.testing.assert_array_equal(
    theirs["lm_head.weight"], arrays[names.LOGITS].T[order]
  )
  written = json.loads((folder / huggingface.CONFIG).read_text())
  assert written["pad_token_id"] == 20


def test_buffers_of_old_files_are_left(folder):
  file = folder / huggingface.WEIGHTS
  arrays = safetensors.numpy.load_file(file)
  buffer = "model.layers.1.self_attn.rotary_emb.inv_freq"
  safetensors.numpy.save_file(arrays | {buffer: np.ones(2, np.float32)}, file)
  checksums.write(folder)
  found = opening.open_checkpoint(folder)
  assert found.left == {buffer: "in old files; no network reads it"}
  assert opening.check(found) == CONFIG


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"rope_theta": 5e5}, r"rope_theta: found 10000.0, expected 500000.0"),
    ({"num_heads": 2, "num_kv_heads": 1}, "num_heads: found 4, expected 2"),
    ({"padding_row": 0}, "padding_row: found 20, expected 0"),
    ({"eos_id": 1}, "eos_id: found 2, expected 1"),
    (
      {"rope_scaling": rotary.Llama3Scaling()},
      r"rope_scaling: found None, expected Llama3Scaling\(factor=8.0",
    ),
  ],
)
def test_settings_that_shapes_do_not_tell_are_compared(change, message, folder):
  found = opening.open_checkpoint(folder)
  with pytest.raises(tensors.CheckpointError, match=message):
    opening.check(found, dataclasses.replace(CONFIG, **change))


def test_another_kind_of_network_is_named(folder, flan):
  found = opening.open_checkpoint(folder)
  with pytest.raises(
    tensors.CheckpointError,
    match=r"is of a LLaMA of 2 layers, expected a T5 of 2 \+ 11 layers",
  ):
    opening.check(found, flan)


def test_how_it_is_trained_is_no_difference(folder):
  found = opening.open_checkpoint(folder)
  other = dataclasses.replace(
    CONFIG,
    dtype="bfloat16",
    dropout_rate=0.1,
    max_length=64,
    scan_layers=True,
    remat_policy="full",
    attention_implementation="xla",
  )
  assert opening.check(found, other) == other


def test_shapes_alone_do_not_tell_the_heads(random_arrays, as_checkpoint):
  with pytest.raises(
    tensors.CheckpointError, match="tell neither its heads nor its positions"
  ):
    opening.check(as_checkpoint(random_arrays(CONFIG)))


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_read_by_transformers_to_the_last_bit(
  tied, tmp_path, random_arrays, as_checkpoint
):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  config = dataclasses.replace(
    CONFIG,
    logits_via_embedding=tied,
    rope_theta=5e5,
    rope_scaling=rotary.Llama3Scaling(factor=4.0, original_max_length=32),
  )
  source = as_checkpoint(random_arrays(config, "bfloat16"), config)
  convert.convert(
    source,
    tmp_path / "ours",
    convert.Settings(form="huggingface", max_shard_bytes=1000),
  )
  model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours")
  assert model.dtype == torch.bfloat16
  model.save_pretrained(tmp_path / "theirs")
  again = opening.open_checkpoint(tmp_path / "theirs")
  assert opening.check(again) == config
  assert again.params.keys() == source.params.keys()
  for name, tensor in source.params.items():
    assert again.params[name].read().tobytes() == tensor.read().tobytes(), name
