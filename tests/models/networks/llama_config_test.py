"""Sizes of LLaMA-style networks and their checks."""

import jax
import pytest

from instructrec.models.networks import llama_config, rotary


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("vocab_size", 0, "LlamaConfig.vocab_size is 0; expected a positive whole"),
    ("num_kv_heads", 3, "num_kv_heads is 3; expected a divisor of 8 heads"),
    ("num_kv_heads", 0, "kv_heads is 0; expected a positive whole number"),
    ("head_dim", 7, "head_dim is 7; expected an even number"),
    ("norm_epsilon", 0.0, r"norm_epsilon is 0\.0; expected a positive number"),
    ("rope_theta", -1.0, r"rope_theta is -1\.0; expected a positive number"),
    ("max_length", 0, "max_length is 0; expected a positive whole number"),
    ("padding_row", 10, "padding_row is 10; expected a token from 0 to 9"),
    ("eos_id", 0, "eos_id is 0; expected a token from 1 to 9"),
    ("bos_id", -1, "bos_id is -1; expected a token from 1 to 9"),
  ],
)
def test_illegal_values_are_named(field, value, message):
  with pytest.raises(ValueError, match=message):
    llama_config.LlamaConfig(**{"vocab_size": 10, field: value})


def test_factors_of_scaled_positions_are_in_their_order():
  with pytest.raises(
    ValueError, match="0 < low_freq_factor < high_freq_factor"
  ):
    rotary.Llama3Scaling(low_freq_factor=4.0)


@pytest.mark.parametrize(
  ("sizes", "published"),
  [
    # TinyLlama-1.1B, Llama-2-7B, Llama-3-8B.
    ((32_000, 2048, 32, 4, 64, 22, 5632), 1_100_048_384),
    ((32_000, 4096, 32, 32, 128, 32, 11_008), 6_738_415_616),
    ((128_256, 4096, 32, 8, 128, 32, 14_336), 8_030_261_248),
  ],
)
def test_published_networks_have_their_number_of_parameters(sizes, published):
  names = (
    "vocab_size",
    "emb_dim",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "num_decoder_layers",
    "mlp_dim",
  )
  config = llama_config.LlamaConfig(**dict(zip(names, sizes, strict=True)))
  assert config.num_parameters == published


@pytest.mark.parametrize(
  ("tied", "matching"), [(False, False), (True, False), (True, True)]
)
def test_number_of_parameters_is_that_of_the_tree(tied, matching, make_setup):
  config = llama_config.LlamaConfig(
    vocab_size=11,
    emb_dim=8,
    num_heads=4,
    num_kv_heads=2,
    head_dim=2,
    mlp_dim=5,
    num_decoder_layers=2,
    logits_via_embedding=tied,
    title_matching=matching,
    num_items=3 if matching else 0,
  )
  leaves = jax.tree.leaves(make_setup(config).params)
  assert sum(leaf.size for leaf in leaves) == config.num_parameters
