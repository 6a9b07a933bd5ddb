"""Properties of the network: what depends on what, and what must not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.networks import network

RNG = np.random.default_rng(11)
INPUTS = RNG.integers(2, 31, (2, 8)).astype(np.int32)
TARGETS = RNG.integers(2, 31, (2, 5)).astype(np.int32)


@pytest.fixture(name="logits")
def logits_fixture(logits_of):
  def logits(setup, inputs, targets, **kwargs):
    return logits_of(
      setup.model.module, setup.params, inputs, targets, **kwargs
    )

  return logits


def _pad(x, length):
  return np.pad(x, [(0, 0), (0, length - x.shape[1])])


def test_causality_by_gradient(tiny):
  """Position t depends on the tokens before it and on all of the input."""
  table = tiny.params["token_embedder"]["embedding"]
  decoder_inputs = jnp.arange(2, 7)[None]
  inputs = jnp.arange(10, 16)[None]
  position = 2

  def logit(table):
    params = {**tiny.params, "token_embedder": {"embedding": table}}
    return tiny.model.module.apply(
      {"params": params},
      network.Prompt(inputs),
      network.Targets(decoder_inputs, jnp.ones_like(decoder_inputs)),
      enable_dropout=False,
    )[0, position].sum()

  moved = np.abs(jax.jit(jax.grad(logit))(table)).sum(axis=-1) > 0
  seen = np.zeros(31, bool)
  seen[np.arange(2, 2 + position + 1)] = True
  seen[np.arange(10, 16)] = True
  np.testing.assert_array_equal(moved, seen)


def test_packed_equals_unpacked(tiny, logits):
  """Three examples in one row, against one example a row."""
  input_lengths, target_lengths = (5, 2, 4), (3, 1, 4)
  inputs = [RNG.integers(2, 31, n).astype(np.int32) for n in input_lengths]
  targets = [RNG.integers(2, 31, n).astype(np.int32) for n in target_lengths]

  def pack(rows, length):
    tokens = np.concatenate(rows)
    ids = np.repeat(np.arange(len(rows)) + 1, [len(row) for row in rows])
    return [
      jnp.asarray(_pad(x[None].astype(np.int32), length)) for x in (tokens, ids)
    ]

  packed_inputs, encoder_ids = pack(inputs, 13)
  packed_targets, decoder_ids = pack(targets, 10)
  packed = logits(
    tiny,
    packed_inputs,
    packed_targets,
    inputs_segments=encoder_ids,
    targets_segments=decoder_ids,
  )
  alone = logits(
    tiny,
    np.concatenate([_pad(row[None], 5) for row in inputs]),
    np.concatenate([_pad(row[None], 4) for row in targets]),
  )
  start = 0
  for row, length in enumerate(target_lengths):
    np.testing.assert_allclose(
      packed[0, start : start + length], alone[row, :length], atol=1e-5
    )
    start += length


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"targets": TARGETS[[0, 1, 1]]}, "3 sequences against 2 prompts"),
    ({"targets_segments": TARGETS}, "only one of encoder_segment_ids"),
    (
      {
        "targets": TARGETS[[0, 0, 1, 1]],
        "targets_segments": TARGETS[[0, 0, 1, 1]],
        "inputs_segments": INPUTS,
      },
      "candidate lists cannot be packed",
    ),
  ],
)
def test_shapes_that_do_not_fit_are_named(tiny, change, message, logits):
  change = {key: jnp.asarray(value) for key, value in change.items()}
  targets = change.pop("targets", TARGETS)
  with pytest.raises(ValueError, match=message):
    logits(tiny, INPUTS, targets, **change)


def test_tree_has_the_names_of_public_checkpoints(tiny):
  shapes = {
    "/".join(key.key for key in path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(tiny.params)
  }
  expected = {
    "token_embedder/embedding": (31, 16),
    "encoder/encoder_norm/scale": (16,),
    "decoder/decoder_norm/scale": (16,),
    "encoder/relpos_bias/rel_embedding": (2, 32),
    "decoder/relpos_bias/rel_embedding": (2, 32),
    "decoder/logits_dense/kernel": (16, 31),
  }
  parts = {
    "encoder": [("attention", "attention"), ("mlp", "mlp")],
    "decoder": [
      ("self_attention", "self_attention"),
      ("cross_attention", "encoder_decoder_attention"),
      ("mlp", "mlp"),
    ],
  }
  for stack, blocks in parts.items():
    for layer in range(1):
      for norm, block in blocks:
        prefix = f"{stack}/layers_{layer}"
        expected[f"{prefix}/pre_{norm}_layer_norm/scale"] = (16,)
        kernels = (
          {"wi_0": (16, 24), "wi_1": (16, 24), "wo": (24, 16)}
          if block == "mlp"
          else {
            "query": (16, 12),
            "key": (16, 12),
            "value": (16, 12),
            "out": (12, 16),
          }
        )
        for kernel, shape in kernels.items():
          expected[f"{prefix}/{block}/{kernel}/kernel"] = shape
  assert shapes == expected


def test_initial_scales_are_those_of_t5(tiny):
  """Standard deviations of the initialisers, by their formulas."""
  layer = tiny.params["encoder"]["layers_0"]["attention"]
  for name, expected in (
    ("query", (16 * 6) ** -0.5),
    ("key", 16**-0.5),
    ("out", 12**-0.5),
  ):
    std = float(np.std(layer[name]["kernel"]))
    assert std == pytest.approx(expected, rel=0.2)
  embedding = tiny.params["token_embedder"]["embedding"]
  assert float(np.std(embedding)) == pytest.approx(1.0, rel=0.2)
