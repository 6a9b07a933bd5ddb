"""The table of parameters is that of the network."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import pytest

from instructrec.models.checkpoint import names, stacking, tensors
from instructrec.models.networks import (
  llama,
  llama_config,
  network,
  t5,
  t5_config,
)

ONE_BRANCH = t5_config.T5Config(
  vocab_size=31,
  emb_dim=12,
  num_heads=3,
  head_dim=5,
  num_encoder_layers=3,
  num_decoder_layers=1,
  mlp_dim=7,
  mlp_activations=("relu",),
  logits_via_embedding=True,
  num_buckets=8,
)

GROUPED = llama_config.LlamaConfig(
  vocab_size=31,
  emb_dim=12,
  num_heads=6,
  num_kv_heads=2,
  head_dim=4,
  num_decoder_layers=3,
  mlp_dim=7,
)
MODULES = {t5_config.T5Config: t5.T5, llama_config.LlamaConfig: llama.Llama}


def _network(cfg):
  """Shapes and logical axes of the parameters that the network makes."""
  tokens = jnp.ones((1, 2), jnp.int32)
  variables = jax.eval_shape(
    lambda rng: MODULES[type(cfg)](cfg).init(
      rng,
      network.Prompt(tokens),
      network.Targets(tokens, tokens),
      enable_dropout=False,
    ),
    jax.random.PRNGKey(0),
  )
  flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
  axes = flax.traverse_util.flatten_dict(variables["params_axes"], sep="/")
  return {
    name: (leaf.shape, tuple(axes[f"{name}_axes"].names))
    for name, leaf in flat.items()
  }


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("cfg", [None, ONE_BRANCH, GROUPED])
def test_names_shapes_and_axes_are_those_of_the_network(
  cfg, scan_layers, flan, random_arrays
):
  cfg = dataclasses.replace(cfg or flan, scan_layers=scan_layers)
  table = names.parameters(cfg)
  params = {
    name: tensors.from_array(array, name)
    for name, array in random_arrays(cfg).items()
  }
  axes = {name: p.axes for name, p in table.items()}
  if scan_layers:
    params = stacking.stack(params)
    for name, parameter in table.items():
      if found := names.split_layer(name):
        stacked = f"{found[0]}/layers/{found[2]}"
        axes[stacked] = ("layers", *parameter.axes)
  ours = {name: (t.shape, axes[name]) for name, t in params.items()}
  assert ours == _network(cfg)


@pytest.mark.parametrize("cfg", [None, ONE_BRANCH])
def test_shapes_tell_the_sizes(cfg, flan):
  cfg = cfg or flan
  shapes = {name: p.shape for name, p in names.parameters(cfg).items()}
  assert names.infer_config(shapes, found_in="here") == cfg


@pytest.mark.parametrize("cfg", [None, GROUPED])
def test_huggingface_names_are_distinct(cfg, flan):
  table = names.parameters(cfg or flan).values()
  assert len({p.huggingface for p in table}) == len(table)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"encoder/layers_0/mlp/wo/kernel": None},
      r"here is no T5 checkpoint .*: encoder/layers_0/mlp/wo/kernel missing",
    ),
    (
      {"encoder/layers_0/attention/query/kernel": (24, 17)},
      r"query/kernel is \[24, 17\], which does not divide into the 3 heads",
    ),
    (
      {"token_embedder/embedding": (47,)},
      r"here: token_embedder/embedding is \[47\], expected two axes",
    ),
  ],
)
def test_shapes_that_tell_no_sizes(change, message, flan):
  shapes = {name: p.shape for name, p in names.parameters(flan).items()}
  shapes = {n: s for n, s in (shapes | change).items() if s is not None}
  with pytest.raises(tensors.CheckpointError, match=message):
    names.infer_config(shapes, found_in="here")
