"""transformers writes what we read, and reads what we write.

Runs where torch and transformers are installed.
"""

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from instructrec.models.checkpoint import (
  convert,
  huggingface,
  opening,
  t5_architecture,
)
from instructrec.models.networks import t5
from instructrec.models.scoring import features

CASES = {
  # Flan-T5's form.
  "gated_untied": {
    "vocab_size": 71,
    "d_model": 32,
    "num_heads": 4,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 12,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
  },
  # T5 1.0's, with heads that do not add up to the width.
  "relu_tied": {
    "vocab_size": 53,
    "d_model": 24,
    "num_heads": 3,
    "d_kv": 16,
    "d_ff": 40,
    "num_layers": 3,
    "num_decoder_layers": 1,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
  },
}
# Beyond the distance from which on the relative position stays the same.
LENGTH = 150


@pytest.fixture(name="torch")
def torch_fixture():
  return pytest.importorskip("torch")


@pytest.fixture(name="transformers")
def transformers_fixture(torch):
  return pytest.importorskip("transformers")


def _random_model(torch, transformers, case):
  torch.manual_seed(0)
  config = transformers.T5Config(**CASES[case], dropout_rate=0.0)
  # Transformers 5 sets this to True whatever it is given.
  config.tie_word_embeddings = CASES[case]["tie_word_embeddings"]
  model = transformers.T5ForConditionalGeneration(config).eval()
  with torch.no_grad():
    # Transformers 5 unties these together with the logits; T5 has one table.
    for stack in (model.encoder, model.decoder):
      stack.embed_tokens.weight.copy_(model.shared.weight)
    for name, weight in model.named_parameters():
      # Far from what the network begins with, where errors could cancel out.
      weight.mul_(0.5 if "embed" in name or "shared" in name else 1.0)
      weight.add_(0.02 * torch.randn_like(weight))
    for stack in (model.encoder, model.decoder):
      stack.embed_tokens.weight.copy_(model.shared.weight)
  return model


def _tokens(vocab_size):
  rng = np.random.default_rng(1)
  tokens = rng.integers(2, vocab_size, (2, 2, LENGTH)).astype(np.int32)
  tokens[:, 1, LENGTH // 2 :] = 0
  return tokens


def _their_logits(torch, model):
  inputs, targets = _tokens(model.config.vocab_size)
  shifted = np.asarray(features.shift_right(jnp.asarray(targets)))
  with torch.no_grad():
    return model(
      input_ids=torch.from_numpy(inputs).long(),
      attention_mask=torch.from_numpy(inputs != 0).long(),
      decoder_input_ids=torch.from_numpy(shifted).long(),
    ).logits.numpy()[targets != 0]


def _our_logits(checkpoint, logits_of):
  config = opening.check(checkpoint)
  inputs, targets = map(jnp.asarray, _tokens(config.vocab_size))
  params = flax.traverse_util.unflatten_dict(
    {n: t.read() for n, t in checkpoint.params.items()}, sep="/"
  )
  logits = logits_of(t5.T5(config), params, inputs, targets)
  return np.asarray(logits)[np.asarray(targets) != 0]


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES))
def test_saved_read_computed_and_written_back(
  case, tmp_path, torch, transformers, logits_of
):
  model = _random_model(torch, transformers, case)
  expected = _their_logits(torch, model)
  assert np.std(expected) > 0.1
  model.save_pretrained(tmp_path / "theirs")

  found = opening.open_checkpoint(tmp_path / "theirs")
  np.testing.assert_allclose(
    _our_logits(found, logits_of), expected, atol=1e-4, rtol=0
  )

  convert.convert(
    found, tmp_path / "ours", convert.Settings(form="huggingface")
  )
  theirs, ours = (
    safetensors.numpy.load_file(tmp_path / side / huggingface.WEIGHTS)
    for side in ("theirs", "ours")
  )
  assert theirs.keys() - ours.keys() == found.left.keys()
  for name, array in ours.items():
    assert array.tobytes() == theirs[name].tobytes(), name

  back, info = transformers.T5ForConditionalGeneration.from_pretrained(
    tmp_path / "ours", output_loading_info=True
  )
  assert not any(info.values()), info
  np.testing.assert_array_equal(_their_logits(torch, back.eval()), expected)


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES))
def test_shards_and_bfloat16_are_read(
  case, tmp_path, torch, transformers, random_arrays, as_checkpoint
):
  cfg = t5_architecture.T5.config_from_json(
    CASES[case], CASES[case]["tie_word_embeddings"], "here"
  )
  source = as_checkpoint(random_arrays(cfg, "bfloat16"), cfg)
  convert.convert(
    source,
    tmp_path / "ours",
    convert.Settings(form="huggingface", max_shard_bytes=20_000),
  )
  model = transformers.T5ForConditionalGeneration.from_pretrained(
    tmp_path / "ours"
  )
  assert model.dtype == torch.bfloat16
  model.save_pretrained(tmp_path / "theirs")
  again = opening.open_checkpoint(tmp_path / "theirs")
  assert opening.check(again) == cfg
  for name, tensor in source.params.items():
    assert again.params[name].read().tobytes() == tensor.read().tobytes(), name
