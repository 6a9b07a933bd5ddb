"""PEFT's adapters in and out; golden/peft_* is what PEFT wrote and computed."""

import dataclasses
import json
import pathlib
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from instructrec.models.checkpoint import adapted, peft_form, tensors
from instructrec.models.networks import (
  adapters,
  llama,
  llama_config,
  network,
  t5,
  t5_config,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
# The networks of record_hf_t5.py and record_hf_llama.py.
NETWORKS = {
  "t5": (
    "hf_t5_gated_untied",
    t5.T5(
      t5_config.T5Config(
        vocab_size=71,
        emb_dim=32,
        num_heads=4,
        head_dim=8,
        mlp_dim=48,
        num_encoder_layers=2,
        num_decoder_layers=2,
      )
    ),
  ),
  "llama": (
    "hf_llama_grouped",
    llama.Llama(
      llama_config.LlamaConfig(
        vocab_size=71,
        emb_dim=32,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_dim=48,
        num_decoder_layers=2,
        max_length=160,
      )
    ),
  ),
}


@pytest.fixture(scope="module", params=NETWORKS, name="case")
def case_fixture(request):
  return request.param


def _base(case, as_checkpoint):
  recorded, module = NETWORKS[case]
  with np.load(GOLDEN / f"{recorded}.npz") as file:
    params = {
      name.removeprefix("params/"): file[name]
      for name in file.files
      if name.startswith("params/")
    }
  return as_checkpoint(params, module.config)


def _tree(params):
  arrays = {name: jnp.asarray(t.read()) for name, t in params.items()}
  return traverse_util.unflatten_dict(arrays, sep="/")


def _logits(module, params, recorded):
  inputs = jnp.asarray(recorded["inputs"], jnp.int32)
  if module.reads_rows:
    # Tokens of a row predict the next one; no target is padding.
    targets = network.Targets(inputs, jnp.ones_like(inputs))
    return module.apply({"params": params}, None, targets, enable_dropout=False)
  decoder = jnp.asarray(recorded["decoder_inputs"], jnp.int32)
  targets = network.Targets(decoder, jnp.ones_like(decoder))
  return module.apply(
    {"params": params}, network.Prompt(inputs), targets, enable_dropout=False
  )


def test_adapters_and_merged_weights_compute_what_peft_does(
  case, as_checkpoint
):
  _, module = NETWORKS[case]
  base = _base(case, as_checkpoint)
  factors, lora = peft_form.read(GOLDEN / f"peft_{case}", module.config)
  config = dataclasses.replace(module.config, adapter=lora)
  with np.load(GOLDEN / f"peft_{case}" / "logits.npz") as recorded:
    recorded = dict(recorded)
  for network_, params in (
    (module.clone(config=config), base.params | factors.params),
    (module, adapted.merge(base, factors, lora).params),
  ):
    found = jax.jit(lambda p, n=network_: _logits(n, p, recorded))(
      _tree(params)
    )
    np.testing.assert_allclose(found, recorded["logits"], atol=1e-4, rtol=0)


def test_what_peft_wrote_goes_out_as_it_came_in(case, tmp_path):
  config = NETWORKS[case][1].config
  source, output = GOLDEN / f"peft_{case}", tmp_path / "out"
  factors, lora = peft_form.read(source, config)
  peft_form.write(output, factors.params, lora, config)
  theirs, ours = (
    safetensors.numpy.load_file(folder / peft_form.WEIGHTS)
    for folder in (source, output)
  )
  # With the logits as target PEFT adds a copy of the network's own matrix.
  copies = {"base_model.model.lm_head.base_layer.weight"} & theirs.keys()
  assert set(factors.left) == copies
  assert ours.keys() == theirs.keys() - copies
  for name, array in ours.items():
    np.testing.assert_array_equal(array, theirs[name])
    assert array.dtype == theirs[name].dtype
  if not copies:
    assert _bytes(output) == _bytes(source)
  found, expected = (
    json.loads((f / peft_form.CONFIG).read_text()) for f in (output, source)
  )
  pattern = expected.pop("target_modules")
  modules = found.pop("target_modules")
  if isinstance(pattern, str):  # Names of the modules that it matches.
    own = {name.removeprefix("base_model.model.") for name in ours}
    own = {re.sub(r"\.lora_[AB]\.weight", "", name) for name in own}
    assert {n for n in own if re.fullmatch(pattern, n)} == own
    assert all(n.rpartition(".")[2] in modules for n in own)
  else:
    assert modules == pattern
  assert found == {name: expected[name] for name in found}


def _bytes(folder):
  return (folder / peft_form.WEIGHTS).read_bytes()


def test_targets_of_some_places_alone_are_named_whole(as_checkpoint, tmp_path):
  config = NETWORKS["t5"][1].config
  lora = adapters.LoRA(targets="encoder/layers/attention/query", rank=2)
  params = {}
  for index in range(2):
    module = f"encoder/layers_{index}/attention/query"
    params[f"{module}/lora_a"] = np.ones((32, 2), np.float32)
    params[f"{module}/lora_b"] = np.ones((2, 32), np.float32)
  factors = as_checkpoint(params).params
  peft_form.write(tmp_path / "out", factors, lora, config)
  fields = json.loads((tmp_path / "out" / peft_form.CONFIG).read_text())
  assert fields["target_modules"] == [
    f"encoder.block.{index}.layer.0.SelfAttention.q" for index in range(2)
  ]
  assert peft_form.read(tmp_path / "out", config)[1] == dataclasses.replace(
    lora, targets=re.escape(lora.targets)
  )


def _changed(tmp_path, **fields):
  folder = tmp_path / "changed"
  shutil.copytree(GOLDEN / "peft_t5", folder)
  file = folder / peft_form.CONFIG
  file.write_text(json.dumps(json.loads(file.read_text()) | fields))
  return folder


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"peft_type": "IA3"}, "peft_type is 'IA3', expected one of ..LORA"),
    ({"use_dora": True}, "use_dora is True"),
    ({"use_rslora": True}, "use_rslora is True"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
    ({"rank_pattern": {"q": 2}}, "rank_pattern is"),
    ({"r": 0}, "rank is 0"),
  ],
)
def test_other_adapters_than_ours_are_refused(fields, message, tmp_path):
  config = NETWORKS["t5"][1].config
  with pytest.raises(tensors.CheckpointError, match=message):
    peft_form.read(_changed(tmp_path, **fields), config)


def test_an_adapter_of_another_rank_than_it_says(as_checkpoint, tmp_path):
  config = NETWORKS["t5"][1].config
  factors, lora = peft_form.read(_changed(tmp_path, r=8), config)
  base = _base("t5", as_checkpoint)
  with pytest.raises(
    tensors.CheckpointError,
    match=r"(?s)rank 8 for another network.*found \[32, 4\] and \[4, 32\], "
    r"expected \[32, 8\] and \[8, 32\]",
  ):
    adapted.merge(base, factors, lora)


def test_an_adapter_of_another_network(as_checkpoint):
  other = NETWORKS["llama"][1].config
  with pytest.raises(
    tensors.CheckpointError, match="that a LLaMA of 2 layers has no matrix for"
  ):
    peft_form.read(GOLDEN / "peft_t5", other)
  wider = dataclasses.replace(NETWORKS["t5"][1].config, emb_dim=40)
  factors, lora = peft_form.read(GOLDEN / "peft_t5", wider)
  base = _base("t5", as_checkpoint)
  table = "encoder/layers_1/attention/query/kernel"
  base.params[table] = tensors.from_array(np.zeros((40, 32)), table)
  with pytest.raises(
    tensors.CheckpointError, match=r"layers_1/attention/query: found \[32, 4\]"
  ):
    adapted.merge(base, factors, lora)


def test_a_token_table_has_no_place_in_peft(as_checkpoint, tmp_path):
  arrays = {
    "token_embedder/lora_a": np.ones((71, 2), np.float32),
    "token_embedder/lora_b": np.ones((2, 32), np.float32),
  }
  lora = adapters.LoRA(targets="token_embedder", rank=2)
  config = NETWORKS["t5"][1].config
  with pytest.raises(tensors.CheckpointError, match="token_embedder cannot"):
    peft_form.write(tmp_path / "x", as_checkpoint(arrays).params, lora, config)
  assert not list(tmp_path.iterdir())


def test_half_an_adapter(as_checkpoint):
  base = _base("t5", as_checkpoint)
  name = "encoder/layers_0/attention/query/lora_a"
  factors = as_checkpoint({name: np.ones((32, 2), np.float32)})
  with pytest.raises(tensors.CheckpointError, match="has no lora_b beside it"):
    adapted.merge(base, factors, adapters.LoRA(targets=".*", rank=2))
  with pytest.raises(tensors.CheckpointError, match="holds no adapters"):
    adapted.merge(base, base, adapters.LoRA(targets=".*", rank=2))
