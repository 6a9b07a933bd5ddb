"""Adapters: nothing at first, then what merged weights compute."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from flax.linen import partitioning

from instructrec.models import ranking_model
from instructrec.models.networks import (
  adapters,
  layers,
  llama,
  llama_config,
  network,
  t5,
  t5_config,
)
from instructrec.models.scoring import features

SIZES = {
  "vocab_size": 31,
  "emb_dim": 16,
  "num_heads": 4,
  "num_decoder_layers": 2,
  "head_dim": 6,
  "mlp_dim": 24,
  "dropout_rate": 0.0,
}
NETWORKS = {
  "t5": (t5.T5, t5_config.T5Config(num_encoder_layers=1, **SIZES)),
  "llama": (llama.Llama, llama_config.LlamaConfig(num_kv_heads=2, **SIZES)),
}
ALL = adapters.LoRA(targets=".*", rank=3, alpha=5.0)
RNG = np.random.default_rng(5)
PROMPTS = np.array([[5, 9, 4, 1, 0, 0], [7, 3, 12, 30, 8, 1]], np.int32)
TARGETS = RNG.integers(2, 31, (4, 5)).astype(np.int32)


def _module(name, **changes):
  cls, config = NETWORKS[name]
  return cls(dataclasses.replace(config, **changes))


def _inputs():
  shifted = jnp.asarray(features.shift_right(TARGETS))
  return network.Prompt(jnp.asarray(PROMPTS)), network.Targets(
    shifted, jnp.asarray(TARGETS)
  )


@functools.cache
def _variables(module):
  init = functools.partial(module.init, enable_dropout=False)
  return jax.jit(init)(jax.random.key(3), *_inputs())


def _shapes(module, collection="params"):
  init = functools.partial(module.init, enable_dropout=False)
  return jax.eval_shape(init, jax.random.key(3), *_inputs())[collection]


def _params(module, seed=None):
  """Drawn parameters; with a seed the adapters have learnt something."""
  params = _variables(module)["params"]
  if seed is None:
    return params
  rng = np.random.default_rng(seed)

  def learnt(name, x):
    return (
      rng.normal(size=x.shape).astype(np.float32) if name[-1] == "lora_b" else x
    )

  flat = traverse_util.flatten_dict(params)
  return traverse_util.unflatten_dict(
    {n: learnt(n, x) for n, x in flat.items()}
  )


def _merged(params, scale):
  """W + scale A B, in NumPy; layers may be stacked."""
  flat = traverse_util.flatten_dict(params)
  merged = {n: np.asarray(x) for n, x in flat.items() if "lora" not in n[-1]}
  for name, a in flat.items():
    if name[-1] == "lora_a":
      matrix = (*name[:-1], "kernel")
      matrix = matrix if matrix in merged else (*name[:-1], "embedding")
      merged[matrix] = merged[matrix] + scale * np.matmul(
        np.asarray(a, np.float64), np.asarray(flat[(*name[:-1], "lora_b")])
      ).astype(np.float32)
  return traverse_util.unflatten_dict(merged)


@functools.cache
def _asked(module):
  """All that may be asked of a network, in one compiled function."""

  @jax.jit
  def ask(params):
    apply = functools.partial(module.apply, {"params": params})
    prompt, targets = _inputs()
    logits = apply(prompt, targets, enable_dropout=False)
    memory = apply(prompt, enable_dropout=False, method="read")
    memory, cache = apply(
      memory, sequences_per_prompt=2, max_length=5, method="start_decoding"
    )
    steps = []
    for position in range(3):
      tokens = targets.inputs[:, position]
      step, cache = apply(tokens, cache, memory, method="decode_step")
      steps.append(step)
    return logits, jnp.stack(steps, 1)

  return ask


# Scanned layers, or one by one; logits of the table, or of their own.
KINDS = {
  "t5": {"scan_layers": True, "logits_via_embedding": True},
  "llama": {"num_decoder_layers": 1},
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS)
def test_fresh_adapters_change_no_bit(name, kind):
  adapted, plain = _module(name, adapter=ALL, **kind), _module(name, **kind)
  params = _params(adapted)
  rest = adapters.split(params)[1]
  for found, expected in zip(
    _asked(adapted)(params), _asked(plain)(rest), strict=True
  ):
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS)
def test_merged_weights_compute_the_same(name, kind):
  adapted = _module(name, adapter=ALL, **kind)
  params = _params(adapted, seed=7)
  merged = _merged(params, 5.0 / 3)
  plain = _asked(_module(name, **kind))
  found = _asked(adapted)(params)
  for got, expected in zip(found, plain(merged), strict=True):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got, expected, atol=2e-5 * scale)
  # Tokens that are decoded one by one, as whole targets.
  np.testing.assert_allclose(found[1], found[0][:, :3], atol=2e-4)
  # The adapters do say something.
  before = plain(adapters.split(params)[1])[0]
  assert np.abs(found[0] - before).max() > 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_adapted_alike_scanned_or_not(name):
  lora = adapters.LoRA(
    targets="decoder/layers/.*/(query|wo)|decoder/layers/mlp/wo"
  )
  single = _shapes(_module(name, adapter=lora, num_decoder_layers=2))
  stacked = _shapes(_module(name, adapter=lora, scan_layers=True))
  flat = traverse_util.flatten_dict(adapters.split(single)[0], sep="/")
  modules = {adapters.without_number(path.rpartition("/")[0]) for path in flat}
  together = traverse_util.flatten_dict(adapters.split(stacked)[0], sep="/")
  assert modules == {path.rpartition("/")[0] for path in together}
  assert "decoder/layers/mlp/wo" in modules
  for path, x in together.items():
    own = flat[path.replace("/layers/", "/layers_1/")]
    assert x.shape == (2, *own.shape)


def test_factors_lie_along_the_axes_of_their_matrix():
  module = _module("t5", adapter=ALL, scan_layers=True)
  names = partitioning.get_axis_names(_shapes(module, "params_axes"))
  axes = traverse_util.flatten_dict(dict(names), sep="/")
  wo = "decoder/layers/mlp/wo"
  assert tuple(axes[f"{wo}/kernel"]) == ("layers", "mlp", "embed")
  assert tuple(axes[f"{wo}/lora_a"]) == ("layers", "mlp", "relpos_buckets")
  assert tuple(axes[f"{wo}/lora_b"]) == ("layers", "relpos_buckets", "embed")
  assert tuple(axes["token_embedder/lora_a"]) == ("vocab", "relpos_buckets")


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_is_of_what_the_adapter_reads(name):
  lora = adapters.LoRA(targets=".*/layers/.*", rank=2, dropout_rate=0.5)
  module = _module(name, adapter=lora, num_decoder_layers=1)

  @jax.jit
  def logits(params, rng):
    return module.apply({"params": params}, *_inputs(), rngs={"dropout": rng})

  still = jax.jit(
    lambda params: module.apply(
      {"params": params}, *_inputs(), enable_dropout=False
    )
  )
  fresh, learnt = _params(module), _params(module, seed=1)
  # The network drops nothing, and B = 0 nothing of what A read.
  np.testing.assert_array_equal(logits(fresh, jax.random.key(0)), still(fresh))
  draws = [logits(learnt, jax.random.key(seed)) for seed in range(2)]
  assert np.abs(draws[0] - draws[1]).max() > 1e-2
  assert np.abs(draws[0] - still(learnt)).max() > 1e-2


def test_an_adapter_begins_as_peft_begins_it():
  module = layers.Dense(
    16, ("mlp", "embed"), adapter=adapters.LoRA(targets=".*", rank=64)
  )
  params = module.init(jax.random.key(0), jnp.ones((1, 400)))["params"]
  a, b = params["lora_a"], params["lora_b"]
  # Uniform within 1 / sqrt(in), whose deviation is that over sqrt(3).
  assert np.abs(a).max() <= 400**-0.5
  np.testing.assert_allclose(a.std(), (3 * 400) ** -0.5, rtol=0.02)
  assert not np.asarray(b).any()


@pytest.mark.parametrize(
  ("targets", "near"),
  [
    (
      "decoder/layers_0/self_attention/query",
      "nearest: decoder/layers/self_attention/query",
    ),
    ("queries", "nearest: decoder/layers/encoder_decoder_attention/query"),
  ],
)
def test_a_pattern_that_matches_nothing_names_what_is_near(targets, near):
  lora = adapters.LoRA(targets=targets)
  model = ranking_model.NetworkRankingModel(_module("t5", adapter=lora))
  with pytest.raises(ValueError, match=near):
    jax.eval_shape(
      lambda rng: model.get_initial_variables(
        rng, {"decoder_input_tokens": (1, 3)}
      ),
      jax.random.key(0),
    )


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"rank": 0}, "rank is 0.*ADAPTER=None"),
    ({"rank": True}, "rank is True"),
    ({"alpha": 0.0}, "alpha is 0.0"),
    ({"dropout_rate": 1.0}, "dropout_rate is 1.0"),
    ({"targets": "("}, r"targets is '\('; expected a regular expression"),
  ],
)
def test_settings_out_of_range(settings, message):
  with pytest.raises(ValueError, match=message):
    adapters.LoRA(**{"targets": ".*", **settings})


def test_a_config_takes_adapters_alone():
  with pytest.raises(ValueError, match="adapter is 8; expected an adapters"):
    _module("t5", adapter=8)


def test_how_much_is_trained_is_said():
  lora = adapters.LoRA(targets=".*/query|token_embedder", rank=2)
  said = adapters.in_words(_shapes(_module("llama", adapter=lora)))
  # Two layers of [16, 24] and the table of [31, 16].
  assert "254 of 5,934 numbers (4.28%)" in said
  assert said.endswith("; 94 of them adapt token_embedder")
