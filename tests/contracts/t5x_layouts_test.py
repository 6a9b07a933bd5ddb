"""T5X has everything laid out as the embedded runner does.

The layouts that a model asks for, and its attention kernel, need a mesh; Flax
drops layouts without a word where JAX knows of none. The embedded runner names
it by `jax.set_mesh`, T5X by `with mesh:` around `pjit`, which hands it on
(`jax.jit` would not).
"""

import collections
import dataclasses
import functools
import re

import jax
import pytest
from flax.linen import partitioning as flax_partitioning
from jax.experimental import pjit

from instructrec.models import ranking_model
from instructrec.models.networks import llama, llama_config, t5, t5_config
from instructrec.training import mesh as mesh_lib

CONFIG = t5_config.T5Config(
  vocab_size=64,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
  remat_policy="minimal",
)
LLAMA = llama_config.LlamaConfig(
  vocab_size=64,
  emb_dim=16,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_decoder_layers=1,
  remat_policy="minimal",
)
NETWORKS = {"t5": t5.T5(CONFIG), "llama": llama.Llama(LLAMA)}
MESH = mesh_lib.MeshConfig(shard_parameters=True, shard_sequence=True)
SHAPES = {
  "encoder_input_tokens": (4, 32),
  "decoder_input_tokens": (4, 16),
  "decoder_target_tokens": (4, 16),
  "decoder_loss_weights": (4, 16),
}
BATCH = {
  name: jax.ShapeDtypeStruct(shape, "int32") for name, shape in SHAPES.items()
}


@pytest.fixture(name="mesh")
def mesh_fixture():
  return mesh_lib.make_mesh(MESH, jax.devices()[:1])


def layouts(lowered):
  """How many arrays of each shape and layout there are in a program."""
  text = lowered.as_text()
  return collections.Counter(re.findall(r"sharding_constraint %\w+ (.*)", text))


def trace(jit, model, method, mesh):
  """A model's method, traced for arguments on the mesh."""
  rng = jax.random.PRNGKey(0)
  params = jax.eval_shape(
    lambda: model.get_initial_variables(rng, SHAPES)["params"]
  )

  def train(params, batch):
    return jax.grad(model.loss_fn, has_aux=True)(params, batch, rng)

  function = train if method == "train" else getattr(model, method)
  on_mesh = mesh_lib.replicated(mesh)
  return jit(
    lambda params, batch: function(params, batch),
    in_shardings=on_mesh,
    out_shardings=on_mesh,
  ).trace(params, BATCH)


def make_model(network, scan_layers, **settings):
  module = NETWORKS[network]
  config = dataclasses.replace(module.config, scan_layers=scan_layers)
  return ranking_model.NetworkRankingModel(
    module.clone(config=config), **settings
  )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
  ("method", "scan_layers"),
  [
    ("train", False),
    ("train", True),
    ("score_batch", False),
    ("predict_batch", False),
  ],
)
def test_pjit_has_the_layouts_of_the_embedded_runner(
  network, method, scan_layers, mesh
):
  model = make_model(network, scan_layers)
  with mesh_lib.use(mesh, MESH):
    expected = layouts(trace(jax.jit, model, method, mesh).lower())
  with mesh, flax_partitioning.axis_rules(MESH.rules):
    found = layouts(trace(pjit.pjit, model, method, mesh).lower())
  assert expected.total() > 20
  assert found == expected


def test_pjit_shares_out_the_attention_kernel(mesh):
  model = ranking_model.NetworkRankingModel(
    t5.T5(
      dataclasses.replace(
        CONFIG, attention_implementation="pallas", remat_policy="none"
      )
    )
  )
  with mesh, flax_partitioning.axis_rules(MESH.rules):
    program = str(trace(pjit.pjit, model, "train", mesh).jaxpr)
  # Forward and backward, in the encoder, the decoder and across.
  assert program.count("= shard_map[") == 6


def t5x_step(model, partitioner):
  """The training step as `t5x/train.py` has it, lowered."""
  from t5x import trainer, utils

  state = utils.TrainStateInitializer(
    optimizer_def=model.optimizer_def,
    init_fn=model.get_initial_variables,
    input_shapes=SHAPES,
    partitioner=partitioner,
  )
  step = functools.partial(
    trainer.train_with_lr,
    learning_rate=1e-3,
    dropout_rng=jax.random.PRNGKey(0),
    model=model,
    num_microbatches=None,
    data_partition_spec=partitioner.data_partition_spec,
  )
  axes = state.train_state_axes
  partitioned = partitioner.partition(
    step,
    in_axis_resources=(axes, partitioner.data_partition_spec),
    out_axis_resources=(axes, None),
  )
  return partitioned.lower(state.global_train_state_shape, BATCH)


@pytest.mark.t5x
@pytest.mark.slow
@pytest.mark.tf
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scan_layers", [False, True])
def test_t5x_has_the_layouts_of_the_embedded_runner(
  t5x_root, network, scan_layers
):
  from t5x import adafactor, partitioning

  model = make_model(
    network,
    scan_layers,
    optimizer_def=adafactor.Adafactor(
      logical_factor_rules=adafactor.standard_logical_factor_rules()
    ),
  )
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=partitioning.standard_logical_axis_rules(
      parameter_partitioning_dims=2,
      additional_rules=[("residual_length", "model")],
    ),
  )
  found = layouts(t5x_step(model, partitioner))
  with mesh_lib.use(partitioner.mesh, MESH):
    expected = layouts(trace(jax.jit, model, "train", partitioner.mesh).lower())
  assert expected.total() > 20
  assert found == expected
