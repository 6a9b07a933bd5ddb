"""Tests of the configuration's checks."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from instructrec.models.networks import t5_config


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("vocab_size", 0, r"vocab_size is 0; expected a positive whole number"),
    ("head_dim", -3, r"head_dim is -3; expected a positive whole"),
    ("num_heads", True, r"num_heads is True"),
    ("dtype", "int32", r"dtype is 'int32'; expected a floating type"),
    ("mlp_activations", (), r"mlp_activations is empty"),
    ("mlp_activations", ("geglu",), r"'geglu'; expected names among gelu"),
    ("dropout_rate", 1.0, r"dropout_rate is 1\.0; expected a probability"),
    ("num_buckets", 30, r"num_buckets is 30; expected a multiple of 4"),
    ("max_distance", 16, r"max_distance is 16; expected more than"),
    ("attention_implementation", "flash", r"expected one of einsum, xla"),
    ("remat_policy", "some", r"'some'; expected one of none, minimal, full"),
  ],
)
def test_illegal_values_are_named(field, value, message):
  with pytest.raises(ValueError, match=message):
    t5_config.T5Config(**{"vocab_size": 10, field: value})


def test_lists_and_type_names_of_gin_become_canonical():
  cfg = t5_config.T5Config(
    vocab_size=10, mlp_activations=["gelu", "linear"], dtype="bfloat16"
  )
  assert cfg.mlp_activations == ("gelu", "linear")
  assert cfg.dtype == jnp.bfloat16
  assert hash(cfg) == hash(dataclasses.replace(cfg))


def test_flan_t5_xl_has_its_published_number_of_parameters():
  cfg = t5_config.T5Config(
    vocab_size=32128,
    emb_dim=2048,
    num_heads=32,
    head_dim=64,
    mlp_dim=5120,
    num_encoder_layers=24,
    num_decoder_layers=24,
  )
  assert cfg.num_parameters == 2_849_757_184


@pytest.mark.parametrize("tied", [False, True])
def test_number_of_parameters_is_that_of_the_tree(tied, make_setup):
  cfg = t5_config.T5Config(
    vocab_size=11,
    emb_dim=8,
    num_heads=2,
    head_dim=3,
    mlp_dim=5,
    num_encoder_layers=1,
    num_decoder_layers=2,
    mlp_activations=("relu",),
    logits_via_embedding=tied,
  )
  leaves = jax.tree.leaves(make_setup(cfg).params)
  assert sum(leaf.size for leaf in leaves) == cfg.num_parameters
