"""The critic: it learns from features, and does not change them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from instructrec.models.networks import value_head


def test_a_known_value_is_learnt_and_features_have_no_gradient():
  features = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
  known = 3.0 + features[:, 0] * (features[:, 1] > 0)
  module = value_head.ValueHead()
  params = module.init(jax.random.key(0), features)
  np.testing.assert_array_equal(module.apply(params, features), 0.0)
  descent = optax.adam(0.02)

  def loss(params, features):
    return ((module.apply(params, features) - known) ** 2).mean()

  def step(carry, _):
    params, state = carry
    grads, to_features = jax.grad(loss, argnums=(0, 1))(params, features)
    updates, state = descent.update(grads, state)
    return (optax.apply_updates(params, updates), state), abs(to_features).max()

  @jax.jit
  def learn(params):
    carry = params, descent.init(params)
    (params, _), seen = jax.lax.scan(step, carry, length=400)
    return loss(params, jnp.asarray(features)), seen.max()

  left, to_features = learn(params)
  assert left < 0.01 < known.var()
  assert to_features == 0.0
