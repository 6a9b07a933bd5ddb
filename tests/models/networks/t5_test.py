"""Properties of the network: what depends on what, and what must not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import t5
from instructrec.models.scoring import features

RNG = np.random.default_rng(11)
INPUTS = RNG.integers(2, 31, (2, 8)).astype(np.int32)
TARGETS = RNG.integers(2, 31, (2, 5)).astype(np.int32)


def _logits(setup, inputs, targets, **kwargs):
  targets = jnp.asarray(targets)
  return _apply(setup.model.module)(
    {"params": setup.params},
    jnp.asarray(inputs),
    jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1],
    targets,
    **kwargs,
  )


@functools.cache
def _gradient(model):
  return jax.jit(jax.value_and_grad(model.loss_fn, has_aux=True))


@functools.cache
def _apply(module):
  return jax.jit(functools.partial(module.apply, enable_dropout=False))


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
      inputs,
      decoder_inputs,
      jnp.ones_like(decoder_inputs),
      enable_dropout=False,
    )[0, position].sum()

  moved = np.abs(jax.jit(jax.grad(logit))(table)).sum(axis=-1) > 0
  seen = np.zeros(31, bool)
  seen[np.arange(2, 2 + position + 1)] = True
  seen[np.arange(10, 16)] = True
  np.testing.assert_array_equal(moved, seen)


def test_padding_of_inputs_and_targets_changes_nothing(tiny):
  padded = _logits(tiny, _pad(INPUTS, 13), _pad(TARGETS, 9))
  np.testing.assert_allclose(
    padded[:, :5], _logits(tiny, INPUTS, TARGETS), atol=1e-5
  )
  # A whole row of padding is finite, too.
  empty = _logits(tiny, 0 * INPUTS, 0 * TARGETS)
  assert np.all(np.isfinite(empty))


def test_rows_do_not_see_each_other(tiny):
  both = _logits(tiny, INPUTS, TARGETS)
  alone = _logits(tiny, INPUTS[1:], TARGETS[1:])
  np.testing.assert_allclose(both[1:], alone, atol=1e-5)


def test_packed_equals_unpacked(tiny):
  """Three examples in one row, against one example a row."""
  input_lengths, target_lengths = (5, 2, 4), (3, 1, 4)
  inputs = [RNG.integers(2, 31, n).astype(np.int32) for n in input_lengths]
  targets = [RNG.integers(2, 31, n).astype(np.int32) for n in target_lengths]

  def pack(rows, length):
    tokens = np.concatenate(rows)
    ids = np.repeat(np.arange(len(rows)) + 1, [len(row) for row in rows])
    positions = np.concatenate([np.arange(len(row)) for row in rows])
    return [
      jnp.asarray(_pad(x[None].astype(np.int32), length))
      for x in (tokens, ids, positions)
    ]

  packed_inputs, encoder_ids, encoder_positions = pack(inputs, 13)
  packed_targets, decoder_ids, decoder_positions = pack(targets, 10)
  shifted = pack([np.append(0, t[:-1]) for t in targets], 10)[0]
  packed = _apply(tiny.model.module)(
    {"params": tiny.params},
    packed_inputs,
    shifted,
    packed_targets,
    encoder_segment_ids=encoder_ids,
    decoder_segment_ids=decoder_ids,
    encoder_positions=encoder_positions,
    decoder_positions=decoder_positions,
  )
  alone = _logits(
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


def test_sequences_of_one_row_equal_repeated_rows(tiny):
  targets = RNG.integers(2, 31, (6, 5)).astype(np.int32)
  np.testing.assert_allclose(
    _logits(tiny, INPUTS, targets),
    _logits(tiny, np.repeat(INPUTS, 3, axis=0), targets),
    atol=1e-5,
  )


def test_encoder_keys_are_projected_once_for_all_sequences(tiny):
  """No array of the compiled program holds the input once per candidate."""
  targets = jnp.ones((2 * 7, 5), jnp.int32)
  text = (
    jax.jit(lambda inputs: _logits(tiny, inputs, targets))
    .lower(jnp.asarray(INPUTS))
    .as_text()
  )
  assert "tensor<2x8x2x6xf32>" in text
  assert "tensor<14x8x" not in text


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"targets": TARGETS[[0, 1, 1]]}, "3 decoder sequences against 2 encoder"),
    ({"decoder_segment_ids": TARGETS}, "only one of encoder_segment_ids"),
    (
      {
        "targets": TARGETS[[0, 0, 1, 1]],
        "decoder_segment_ids": TARGETS[[0, 0, 1, 1]],
        "encoder_segment_ids": INPUTS,
      },
      "candidate lists cannot be packed",
    ),
  ],
)
def test_shapes_that_do_not_fit_are_named(tiny, change, message):
  change = {key: jnp.asarray(value) for key, value in change.items()}
  targets = change.pop("targets", TARGETS)
  with pytest.raises(ValueError, match=message):
    _logits(tiny, INPUTS, targets, **change)


def test_every_parameter_has_logical_axes(tiny):
  axes = {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      tiny.params_axes, is_leaf=lambda x: hasattr(x, "names")
    )
  }
  params = jax.tree_util.tree_leaves_with_path(tiny.params)
  known = {
    "embed", "heads", "joined_kv", "mlp", "vocab", "relpos_buckets"
  }  # fmt: skip
  assert len(axes) == len(params)
  for path, leaf in params:
    name = jax.tree_util.keystr(path)
    names = tuple(axes[f"{name[:-2]}_axes']"].names)
    assert len(names) == leaf.ndim
    assert set(names) <= known


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


@pytest.mark.parametrize("policy", ["minimal", "full"])
def test_remat_changes_neither_names_nor_loss_nor_gradient(
  tiny, tiny_config, make_batch, policy
):
  cfg = dataclasses.replace(tiny_config, remat_policy=policy)
  other = ranking_model.T5RankingModel(t5.T5(cfg))
  shapes = {"encoder_input_tokens": (1, 2), "decoder_input_tokens": (1, 2)}
  variables = jax.eval_shape(
    lambda rng: other.get_initial_variables(rng, shapes), jax.random.PRNGKey(0)
  )
  assert jax.tree.structure(variables["params"]) == jax.tree.structure(
    tiny.params
  )
  assert variables["params_axes"] == tiny.params_axes
  batch = make_batch(INPUTS.tolist(), TARGETS.tolist())
  rng = jax.random.PRNGKey(3)
  (loss, _), gradient = _gradient(tiny.model)(tiny.params, batch, rng)
  (other_loss, _), other_gradient = _gradient(other)(tiny.params, batch, rng)
  np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-3),
    gradient,
    other_gradient,
  )


def test_bfloat16_runs_near_float32(tiny, tiny_config):
  cfg = dataclasses.replace(tiny_config, dtype="bfloat16")
  half = dataclasses.replace(
    tiny, model=ranking_model.T5RankingModel(t5.T5(cfg))
  )
  logits = _logits(half, INPUTS, TARGETS)
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits, _logits(tiny, INPUTS, TARGETS), atol=0.3)


def test_dropout_is_random_but_reproducible(tiny):
  apply = jax.jit(tiny.model.module.apply)

  def run(seed):
    return apply(
      {"params": tiny.params},
      jnp.asarray(INPUTS),
      features.shift_right(jnp.asarray(TARGETS)),
      jnp.asarray(TARGETS),
      rngs={"dropout": jax.random.PRNGKey(seed)},
    )

  assert np.abs(run(0) - run(1)).max() > 1e-3
  np.testing.assert_array_equal(run(0), run(0))


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
