"""The network computes what Hugging Face's T5 computes.

The files in golden/ hold weights, inputs and Hugging Face's results. If a test
here fails, the network changed: public checkpoints would no longer mean the
same. Only after a change of the recording itself, re-record with

  python tests/models/golden/record_hf_t5.py

in an environment with torch and transformers; where both are installed, the
same comparison also runs live.
"""

import importlib.util
import pathlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import network, t5, t5_config
from instructrec.models.scoring import features

GOLDEN = pathlib.Path(__file__).parent / "golden"
CONFIGS = {
  "gated_untied": t5_config.T5Config(
    vocab_size=71,
    emb_dim=32,
    num_heads=4,
    head_dim=8,
    mlp_dim=48,
    num_encoder_layers=2,
    num_decoder_layers=2,
    mlp_activations=("gelu", "linear"),
  ),
  "relu_tied": t5_config.T5Config(
    vocab_size=53,
    emb_dim=24,
    num_heads=3,
    head_dim=16,
    mlp_dim=40,
    num_encoder_layers=3,
    num_decoder_layers=1,
    mlp_activations=("relu",),
    logits_via_embedding=True,
  ),
}


def _load(case):
  with np.load(GOLDEN / f"hf_t5_{case}.npz") as file:
    return dict(file)


def _params(arrays):
  flat = {
    tuple(key.split("/")[1:]): value
    for key, value in arrays.items()
    if key.startswith("params/")
  }
  return flax.traverse_util.unflatten_dict(flat)


def _check(case, arrays, logits_of):
  module = t5.T5(CONFIGS[case])
  params = _params(arrays)
  targets = jnp.asarray(arrays["targets"])
  logits = logits_of(module, params, arrays["inputs"], targets)
  np.testing.assert_allclose(
    logits[targets != 0], arrays["logits"], atol=1e-4, rtol=0
  )

  length = arrays["greedy"].shape[1]
  batch = {"encoder_input_tokens": arrays["inputs"]}
  greedy = ranking_model.NetworkRankingModel(module, max_decode_length=length)
  np.testing.assert_array_equal(
    jax.jit(greedy.predict_batch)(params, batch), arrays["greedy"]
  )

  beams = ranking_model.NetworkRankingModel(
    module, max_decode_length=length, num_beams=3, length_penalty_alpha=0.0
  )
  # Two differences of rule, neither of arithmetic: Hugging Face ranks
  # sequences that were cut among those that ended, we after them; and it drops
  # an end that is not among the best `num_beams` continuations, we keep it.
  # So where its best one ended, ours is that one or a likelier one.
  theirs = arrays["beams"]
  ended = np.any(theirs == 1, axis=1)
  ours, aux = jax.jit(beams.predict_batch_with_aux)(params, batch)
  batch["decoder_target_tokens"] = theirs
  batch["decoder_input_tokens"] = features.shift_right(jnp.asarray(theirs))
  batch["decoder_loss_weights"] = theirs != 0
  their_scores = jax.jit(beams.score_batch)(params, batch)
  same = np.all(ours == theirs, axis=1)
  assert np.sum(same & ended) >= 2
  np.testing.assert_allclose(aux["scores"][same], their_scores[same], atol=1e-4)
  assert np.all(aux["scores"][ended & ~same] > their_scores[ended & ~same])


@pytest.mark.parametrize("case", sorted(CONFIGS))
def test_equals_recorded_hugging_face(case, logits_of):
  _check(case, _load(case), logits_of)


@pytest.mark.parametrize("case", sorted(CONFIGS))
def test_recording_holds_every_parameter(case):
  arrays = _load(case)
  tokens = jnp.ones((1, 2), jnp.int32)
  expected = jax.eval_shape(
    lambda rng: t5.T5(CONFIGS[case]).init(
      rng,
      network.Prompt(tokens),
      network.Targets(tokens, tokens),
      enable_dropout=False,
    ),
    jax.random.PRNGKey(0),
  )["params"]
  assert jax.tree.map(np.shape, _params(arrays)) == jax.tree.map(
    np.shape, expected
  )


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CONFIGS))
def test_equals_live_hugging_face(case, logits_of):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  spec = importlib.util.spec_from_file_location(
    "record_hf_t5", GOLDEN / "record_hf_t5.py"
  )
  recorder = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(recorder)
  _check(case, recorder.run(case), logits_of)
