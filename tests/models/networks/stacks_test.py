"""Scanned layers give what single ones do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import t5

RNG = np.random.default_rng(5)


DEPTHS = {"num_encoder_layers": 2, "num_decoder_layers": 3}


def _stacked(params, depths=(2, 3)):
  """Parameters of single layers as those of scanned layers."""
  stacked = dict(params)
  for stack, depth in zip(("encoder", "decoder"), depths, strict=True):
    rest = dict(params[stack])
    layers = [rest.pop(f"layers_{index}") for index in range(depth)]
    rest["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    stacked[stack] = rest
  return stacked


def _assert_close(ours, theirs):
  """To 1e-5 of the largest entry of each array."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-5 * max(1e-3, np.abs(b).max())
    ),
    ours,
    theirs,
  )


def _loss_and_gradient(model):
  return jax.jit(jax.value_and_grad(model.loss_fn, has_aux=True))


@pytest.fixture(scope="module", name="single")
def single_fixture(tiny_config, make_setup):
  """A network of several layers, one by one."""
  setup = make_setup(dataclasses.replace(tiny_config, **DEPTHS))
  # Norms start at one; unequal ones tell the layers apart.
  return dataclasses.replace(
    setup,
    params=jax.tree.map(
      lambda x: x * RNG.uniform(0.5, 1.5, x.shape).astype(np.float32),
      setup.params,
    ),
  )


@pytest.fixture(scope="module", name="batch")
def batch_fixture(make_batch):
  return make_batch([[5, 9, 3], [7, 2, 8, 4, 6]], [[3, 4, 1], [9, 1]])


@pytest.fixture(scope="module", name="expected")
def expected_fixture(single, batch):
  """Loss and gradient of single layers."""
  (loss, _), gradient = _loss_and_gradient(single.model)(
    single.params, batch, None
  )
  return loss, gradient


def _scanned(single, policy, **settings):
  cfg = dataclasses.replace(
    single.model.module.config, scan_layers=True, remat_policy=policy
  )
  return ranking_model.NetworkRankingModel(t5.T5(cfg), **settings)


def test_scanned_layers_lie_stacked_with_their_axis_named(single):
  shapes = {"encoder_input_tokens": (1, 2), "decoder_input_tokens": (1, 2)}
  variables = jax.eval_shape(
    lambda rng: _scanned(single, "minimal").get_initial_variables(rng, shapes),
    jax.random.key(0),
  )
  assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(
    jnp.shape, _stacked(single.params)
  )
  axes = variables["params_axes"]
  for stack in ("encoder", "decoder"):
    layer = axes[stack]["layers"]["mlp"]["wo"]["kernel_axes"]
    assert layer.names == ("layers", "mlp", "embed")
    # One table a stack, as in public checkpoints.
    table = axes[stack]["relpos_bias"]["rel_embedding_axes"]
    assert table.names == ("heads", "relpos_buckets")


@pytest.mark.parametrize("policy", ["none", "minimal", "full"])
def test_scanned_layers_have_the_same_loss_and_gradient(
  single, policy, batch, expected
):
  loss, gradient = expected
  (scanned_loss, _), scanned_gradient = _loss_and_gradient(
    _scanned(single, policy)
  )(_stacked(single.params), batch, None)
  np.testing.assert_allclose(scanned_loss, loss, rtol=1e-5)
  _assert_close(scanned_gradient, _stacked(gradient))


def test_scanned_layers_score_and_decode_the_same(single, make_batch):
  settings = {"num_beams": 3, "num_decodes": 3, "max_decode_length": 6}
  models = (
    single.with_settings(**settings),
    _scanned(single, "full", **settings),
  )
  parameters = (single.params, _stacked(single.params))
  batch = make_batch(
    [[5, 9, 3], [7, 2, 8, 4, 6]], [[[3, 4, 1], [9, 1]], [[8, 8, 2, 1], [6, 1]]]
  )
  scores = [
    jax.jit(model.score_batch)(params, batch)
    for model, params in zip(models, parameters, strict=True)
  ]
  _assert_close(scores[1], scores[0])
  decodes = [
    jax.jit(model.predict_batch_with_aux)(params, batch)
    for model, params in zip(models, parameters, strict=True)
  ]
  np.testing.assert_array_equal(decodes[0][0], decodes[1][0])
  _assert_close(decodes[1][1], decodes[0][1])


def test_scanned_layers_draw_dropout_each_for_itself(single, make_batch):
  """A dropped unit of a feed-forward block leaves no gradient in `wo`."""
  batch = make_batch([[5, 9, 3, 4]], [[3, 4, 1]])
  params = _stacked(single.params)
  compiled = {
    policy: _loss_and_gradient(_scanned(single, policy))
    for policy in ("none", "full")
  }

  def run(policy, seed):
    (loss, _), gradient = compiled[policy](params, batch, jax.random.key(seed))
    kept = [
      np.any(gradient[stack]["layers"]["mlp"]["wo"]["kernel"] != 0, axis=-1)
      for stack in ("encoder", "decoder")
    ]
    return loss, gradient, np.concatenate(kept)

  loss, gradient, kept = run("none", 0)
  # Five layers of 24 units at a rate of 0.1: no two masks are equal.
  assert len(np.unique(kept, axis=0)) == 5
  assert not np.array_equal(run("none", 1)[2], kept)
  # What the backward pass recomputes it draws as the forward pass did.
  for policy in compiled:
    again, its_gradient, its_kept = run(policy, 0)
    np.testing.assert_array_equal(its_kept, kept)
    np.testing.assert_allclose(again, loss, rtol=1e-5)
    _assert_close(its_gradient, gradient)
