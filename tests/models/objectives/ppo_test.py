"""PPO over sampled lists, held to numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.objectives import policy, ppo

# One list of two items, of two tokens and one, and one of an item of one.
ITEMS = jnp.asarray([[[0, 0, 1], [0, -1, -1]]])
WHERE = ITEMS >= 0
REWARDS = policy.Rewards(
  items=jnp.asarray([[[1.0, 2.0], [3.0, -1.0]]]),
  lists=jnp.asarray([[10.0, 20.0]]),
  where=jnp.ones((1, 2, 2), bool),
)
PLAIN = ppo.PPO(divergence_weight=0.0, value_weight=0.0, entropy_weight=0.0)


def _samples(log_probs, items=ITEMS, values=None, **fields):
  log_probs = jnp.asarray(log_probs, jnp.float32)
  fixed = jax.lax.stop_gradient(log_probs)
  zeros = jnp.zeros_like(log_probs)
  return policy.Samples(
    log_probs=log_probs,
    old=fields.pop("old", fixed),
    reference=fields.pop("reference", fixed),
    entropies=fields.pop("entropies", zeros),
    items=items,
    values=zeros if values is None else values,
    **fields,
  )


def test_items_earn_where_they_end_and_lists_at_their_last_token():
  """The second list lacks a place, which is punished there."""
  found = ppo.token_rewards(REWARDS, ITEMS)
  np.testing.assert_allclose(found, [[[0, 1, 12], [22, 0, 0]]])


def test_advantages_by_hand():
  """Gamma = .5, lambda = .5, of three tokens and of one."""
  rewards = jnp.asarray([[[0.0, 1.0, 2.0], [4.0, 9.0, 9.0]]])
  values = jnp.asarray([[[1.0, 2.0, 4.0], [1.0, 9.0, 9.0]]])
  found = ppo.gae(rewards, values, WHERE, discount=0.5, trace=0.5)
  # Surprises: 0 + 1 - 1, 1 + 2 - 2 and 2 - 4; each counts a quarter earlier.
  expected = [[[0.0 + 0.25 * 0.5, 1.0 - 0.5, -2.0], [3.0, 0.0, 0.0]]]
  np.testing.assert_allclose(found, expected)


def test_advantages_are_sums_of_all_that_follows():
  """As a loop has them, that adds discounted surprises forward."""
  rng = np.random.default_rng(0)
  rewards, values = rng.normal(size=(2, 2, 3, 6)).astype(np.float32)
  lengths = np.array([[6, 1, 3], [0, 5, 2]])
  where = np.arange(6) < lengths[..., None]
  found = jax.jit(ppo.gae, static_argnames=("discount", "trace"))(
    rewards, values, where, discount=0.9, trace=0.8
  )
  expected = np.zeros_like(rewards)
  for row, place in np.ndindex(lengths.shape):
    length = lengths[row, place]
    r, v = rewards[row, place], np.append(values[row, place, :length], 0.0)
    for start in range(length):
      for t in range(start, length):
        surprise = r[t] + 0.9 * v[t + 1] - v[t]
        expected[row, place, start] += (0.9 * 0.8) ** (t - start) * surprise
  np.testing.assert_allclose(found, expected, atol=1e-5)
  # With lambda 1 the values of others drop out: what is earned, less the value.
  whole = ppo.gae(rewards, values, where, discount=1.0, trace=1.0)
  earned = np.where(where, rewards, 0.0).sum(-1) - values[..., 0]
  np.testing.assert_allclose(
    whole[..., 0], np.where(lengths > 0, earned, 0.0), atol=1e-5
  )


def test_whitened_numbers_have_the_deviation_one():
  values = jnp.asarray([1.0, 3.0, 99.0])
  where = jnp.asarray([True, True, False])
  np.testing.assert_allclose(ppo._whitened(values, where)[:2], [-1.0, 1.0])
  # The mean stays: what is good on the whole stays good.
  unshifted = ppo._whitened(values, where, shift=False)
  np.testing.assert_allclose(unshifted[:2], [1.0, 3.0])
  same = ppo._whitened(jnp.full(3, 7.0), where)
  np.testing.assert_array_equal(same, 0.0)


@pytest.mark.parametrize(
  ("value", "error", "slope"),
  [
    (0.1, 0.81, -1.8),
    # Moved by more than .2 towards the return: no further.
    (0.5, 0.64, 0.0),
    # And away from it: back.
    (-0.5, 2.25, -3.0),
  ],
)
def test_values_move_by_no_more_than_the_clip(value, error, slope):
  def loss(value):
    return ppo.value_errors(value, jnp.asarray(0.0), jnp.asarray(1.0), clip=0.2)

  found, gradient = jax.value_and_grad(loss)(jnp.asarray(value))
  assert found == pytest.approx(error)
  assert gradient == pytest.approx(slope)


def test_a_first_step_has_the_gradient_of_reinforce():
  """A bandit of three items, one a list: derived by hand, and by differences.

  The whitened rewards are their own advantages, as nothing is expected.
  """
  logits = jnp.asarray([0.3, -0.2, 0.1])
  drawn = jnp.asarray([0, 1, 2, 0])
  rewards = jnp.asarray([1.0, 0.0, 0.5, 1.0])
  worth = policy.Rewards(
    rewards[None, :, None], jnp.zeros((1, 4)), jnp.ones((1, 4, 1), bool)
  )
  items = jnp.zeros((1, 4, 1), jnp.int32)

  def total(logits, old):
    log_probs, before = (
      jax.nn.log_softmax(x)[drawn][None, :, None] for x in (logits, old)
    )
    return PLAIN(_samples(log_probs, items, old=before), worth)[0]

  advantages = (rewards - rewards.mean()) / rewards.std()
  expected = -(
    advantages[:, None] * (jax.nn.one_hot(drawn, 3) - jax.nn.softmax(logits))
  ).sum(0)
  total = jax.jit(total)
  np.testing.assert_allclose(
    jax.grad(total)(logits, logits), expected, atol=1e-6
  )
  step = 1e-2
  for i, way in enumerate(step * np.eye(3, dtype=np.float32)):
    slope = total(logits + way, logits) - total(logits - way, logits)
    np.testing.assert_allclose(slope / (2 * step), expected[i], atol=1e-3)


def test_without_advantage_the_policy_has_no_gradient():
  nothing = REWARDS._replace(
    items=jnp.zeros((1, 2, 2)), lists=jnp.zeros((1, 2))
  )

  def total(log_probs, values, rewards):
    loss = ppo.PPO(entropy_weight=0.0)
    return loss(_samples(log_probs, values=values), rewards)[0]

  gradients = jax.jit(jax.grad(total, argnums=(0, 1)))
  zeros = jnp.zeros((1, 2, 3))
  for found in gradients(zeros - 1.0, zeros, nothing):
    np.testing.assert_array_equal(found, 0.0)
  # Values are learnt all the same.
  _, found = gradients(zeros - 1.0, zeros + WHERE, nothing)
  assert (np.asarray(found) != 0.0).tolist() == WHERE.tolist()


def test_divergence_is_paid_by_the_token_and_entropy_is_worth_something():
  far = jnp.asarray([[[0.0, -5.0, 0.0], [0.0, 0.0, 0.0]]])
  nothing = REWARDS._replace(
    items=jnp.zeros((1, 2, 2)), lists=jnp.zeros((1, 2))
  )

  def total(log_probs, entropies):
    loss = ppo.PPO(divergence_weight=1.0, discount=0.0, entropy_weight=0.5)
    samples = _samples(log_probs, reference=far, entropies=entropies)
    return loss(samples, nothing)[0]

  zeros = jnp.zeros((1, 2, 3))
  by_token, by_entropy = jax.grad(total, argnums=(0, 1))(zeros, zeros)
  # What left the reference is made rarer, and the others more frequent.
  assert by_token[0, 0, 1] > 0 > by_token[0, 0, 0]
  # Two places, half a nat, the mean over three tokens and over one.
  np.testing.assert_allclose(
    by_entropy, [[[-1 / 3, -1 / 3, -1 / 3], [-1.0, 0.0, 0.0]]], rtol=1e-6
  )


def test_the_first_step_has_ratio_1_and_no_divergence():
  _, metrics = jax.jit(ppo.PPO())(_samples(-jnp.ones((1, 2, 3))), REWARDS)
  values = {name: float(m.compute()) for name, m in metrics.items()}
  assert values["policy/ratio_min"] == values["policy/ratio_max"] == 1.0
  assert values["policy/moved"] == values["policy/divergence"] == 0.0
  assert values["value/mean"] == 0.0
  assert values["value/loss"] > 0.0


def test_values_of_when_the_lists_were_drawn_are_what_was_expected():
  """Which do not move with the values that are learnt."""
  zeros = jnp.zeros((1, 2, 3))

  def advantages_and_error(values, old):
    samples = _samples(zeros, values=values, old_values=old)
    _, metrics = ppo.PPO()(samples, REWARDS)
    return [metrics[f"value/{n}"].compute() for n in ("return", "loss")]

  held = advantages_and_error(zeros + 5.0, zeros)
  assert held[0] == advantages_and_error(zeros, zeros)[0]
  assert held[1] > advantages_and_error(zeros, zeros)[1]


def test_lists_without_a_critic_are_refused():
  samples = _samples(jnp.zeros((1, 2, 3)))._replace(values=None)
  with pytest.raises(ValueError, match="set VALUE_HEAD = True"):
    ppo.PPO()(samples, REWARDS)


@pytest.mark.parametrize(
  ("setting", "value"),
  [
    ("divergence_weight", -1.0),
    ("discount", 1.1),
    ("trace", -0.1),
    ("clip", 1.5),
    ("value_clip", -0.2),
    ("value_weight", -0.1),
    ("entropy_weight", -0.1),
  ],
)
def test_settings_out_of_range_are_refused(setting, value):
  with pytest.raises(ValueError, match=f"PPO.{setting} is {value}"):
    ppo.PPO(**{setting: value})
