"""The networks compute what Hugging Face's T5 and LLaMA compute.

The files in golden/ hold weights, inputs and Hugging Face's results. If a test
here fails, the network changed: public checkpoints would no longer mean the
same. Only after a change of the recording itself, re-record with

  python tests/models/golden/record_hf_t5.py
  python tests/models/golden/record_hf_llama.py

in an environment with torch and transformers; where both are installed, the
same comparison also runs live.
"""

import dataclasses
import importlib.util
import pathlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import (
  llama,
  llama_config,
  network,
  rotary,
  t5,
  t5_config,
)
from instructrec.models.scoring import features

GOLDEN = pathlib.Path(__file__).parent / "golden"


@dataclasses.dataclass(frozen=True)
class Case:
  """A network that was recorded.

  Attributes:
    module: ours.
    recorder: the script; its case follows.
    case: name of the case.
    eos_id: the end token.
  """

  module: network.Network
  recorder: str
  case: str
  eos_id: int

  @property
  def name(self):
    return f"{self.recorder}_{self.case}"


def _t5(case, **sizes):
  return Case(t5.T5(t5_config.T5Config(**sizes)), "hf_t5", case, 1)


def _llama(case, **sizes):
  config = llama_config.LlamaConfig(**sizes, max_length=160)
  return Case(llama.Llama(config), "hf_llama", case, 2)


CASES = [
  _t5(
    "gated_untied",
    vocab_size=71,
    emb_dim=32,
    num_heads=4,
    head_dim=8,
    mlp_dim=48,
    num_encoder_layers=2,
    num_decoder_layers=2,
    mlp_activations=("gelu", "linear"),
  ),
  _t5(
    "relu_tied",
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
  _llama(
    "grouped",
    vocab_size=71,
    emb_dim=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=48,
    num_decoder_layers=2,
  ),
  _llama(
    "tied",
    vocab_size=53,
    emb_dim=24,
    num_heads=3,
    head_dim=16,
    mlp_dim=40,
    num_decoder_layers=3,
    logits_via_embedding=True,
    norm_epsilon=1e-6,
  ),
  _llama(
    "scaled",
    vocab_size=61,
    emb_dim=32,
    num_heads=4,
    num_kv_heads=1,
    head_dim=8,
    mlp_dim=40,
    num_decoder_layers=2,
    rope_theta=5000.0,
    rope_scaling=rotary.Llama3Scaling(factor=4.0, original_max_length=40),
  ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def _load(case):
  with np.load(GOLDEN / f"{case.name}.npz") as file:
    return dict(file)


def _params(arrays):
  flat = {
    tuple(key.split("/")[1:]): value
    for key, value in arrays.items()
    if key.startswith("params/")
  }
  return flax.traverse_util.unflatten_dict(flat)


def _check(case, arrays, logits_of):
  params = _params(arrays)
  targets = jnp.asarray(arrays["targets"])
  logits = logits_of(case.module, params, arrays["inputs"], targets)
  np.testing.assert_allclose(
    logits[targets != 0], arrays["logits"], atol=1e-4, rtol=0
  )

  length = arrays["greedy"].shape[1]
  batch = {"encoder_input_tokens": arrays["inputs"]}
  greedy = ranking_model.NetworkRankingModel(
    case.module, max_decode_length=length, eos_id=case.eos_id
  )
  np.testing.assert_array_equal(
    jax.jit(greedy.predict_batch)(params, batch), arrays["greedy"]
  )

  beams = ranking_model.NetworkRankingModel(
    case.module,
    max_decode_length=length,
    num_beams=3,
    length_penalty_alpha=0.0,
    eos_id=case.eos_id,
  )
  # Two differences of rule, neither of arithmetic: Hugging Face ranks
  # sequences that were cut among those that ended, we after them; and it drops
  # an end that is not among the best `num_beams` continuations, we keep it.
  # So where its best one ended, ours is that one or a likelier one.
  theirs = arrays["beams"]
  ended = np.any(theirs == case.eos_id, axis=1)
  ours, aux = jax.jit(beams.predict_batch_with_aux)(params, batch)
  batch["decoder_target_tokens"] = theirs
  batch["decoder_input_tokens"] = features.shift_right(jnp.asarray(theirs))
  batch["decoder_loss_weights"] = theirs != 0
  their_scores = jax.jit(beams.score_batch)(params, batch)
  same = np.all(ours == theirs, axis=1)
  assert np.sum(same & ended) >= 2
  np.testing.assert_allclose(aux["scores"][same], their_scores[same], atol=1e-4)
  assert np.all(aux["scores"][ended & ~same] > their_scores[ended & ~same])


@each_case
def test_equals_recorded_hugging_face(case, logits_of):
  _check(case, _load(case), logits_of)


@each_case
def test_recording_holds_every_parameter(case):
  tokens = jnp.ones((1, 2), jnp.int32)
  expected = jax.eval_shape(
    lambda rng: case.module.init(
      rng,
      network.Prompt(tokens),
      network.Targets(tokens, tokens),
      enable_dropout=False,
    ),
    jax.random.PRNGKey(0),
  )["params"]
  assert jax.tree.map(np.shape, _params(_load(case))) == jax.tree.map(
    np.shape, expected
  )


@pytest.mark.slow
@each_case
def test_equals_live_hugging_face(case, logits_of):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  spec = importlib.util.spec_from_file_location(
    case.recorder, GOLDEN / f"record_{case.recorder}.py"
  )
  recorder = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(recorder)
  _check(case, recorder.run(case.case), logits_of)
