"""Losses over sampled lists, held to numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.objectives import grpo, item_grpo, policy

_NO_SCALE = {"scale": False, "divergence_weight": 0.0}
_LOSSES = (item_grpo.ItemGRPO, grpo.GRPO)


def _samples(log_probs, items, old=None, reference=None):
  log_probs = jnp.asarray(log_probs, jnp.float32)
  fixed = jax.lax.stop_gradient(log_probs)
  return policy.Samples(
    log_probs,
    fixed if old is None else jnp.asarray(old, jnp.float32),
    fixed if reference is None else jnp.asarray(reference, jnp.float32),
    jnp.zeros_like(log_probs),
    jnp.asarray(items),
  )


def _rewards(items, lists=None):
  items = jnp.asarray(items, jnp.float32)
  if lists is None:
    lists = jnp.zeros(items.shape[:2])
  return policy.Rewards(
    items, jnp.asarray(lists, jnp.float32), jnp.ones_like(items, bool)
  )


def test_k3_is_the_divergence_in_the_mean_and_never_negative():
  p = jnp.asarray([0.5, 0.3, 0.2])
  q = jnp.asarray([0.2, 0.2, 0.6])
  each = policy.k3(jnp.log(p), jnp.log(q))
  assert (np.asarray(each) >= 0.0).all()
  expected = (p * jnp.log(p / q)).sum()
  np.testing.assert_allclose((p * each).sum(), expected, rtol=1e-5)
  np.testing.assert_array_equal(policy.k3(jnp.log(p), jnp.log(p)), 0.0)
  # Of draws that are held fixed, the gradient is that of KL(q || p): p - q.
  pull = jax.grad(
    lambda logits: (p * policy.k3(jax.nn.log_softmax(logits), jnp.log(q))).sum()
  )
  np.testing.assert_allclose(pull(jnp.log(p)), p - q, atol=1e-6)


def test_k3_of_far_policies_is_finite():
  assert np.isfinite(policy.k3(jnp.asarray(-2000.0), jnp.asarray(0.0)))


@pytest.mark.parametrize(
  ("ratio", "advantage", "loss", "clipped"),
  [
    (1.0, 2.0, -2.0, False),
    (1.5, 1.0, -1.2, True),
    (1.5, -1.0, 1.5, False),
    (0.5, -1.0, 0.9, True),
    (0.5, 1.0, -0.5, False),
  ],
)
def test_a_ratio_is_clipped_where_it_has_gone_far_enough(
  ratio, advantage, loss, clipped
):
  settings = policy.GroupPolicy(clip_low=0.1, clip_high=0.2)
  found, held = settings.clipped(
    jnp.log(jnp.asarray([ratio])), jnp.asarray([advantage])
  )
  np.testing.assert_allclose(found, [loss], rtol=1e-6)
  assert bool(held[0]) == clipped


def test_advantages_compare_with_the_group_and_leave_out_who_does_not_count():
  rewards = jnp.asarray([[1.0, 3.0, 100.0], [2.0, 2.0, 2.0]])
  where = jnp.asarray([[True, True, False], [True, True, True]])
  plain, spread = policy.group_advantages(rewards, where, scale=False)
  np.testing.assert_allclose(plain, [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
  np.testing.assert_array_equal(spread, [True, False])
  scaled, _ = policy.group_advantages(10.0 * rewards, where, scale=True)
  np.testing.assert_allclose(scaled, [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def test_rewards_to_go_say_nothing_of_what_came_before():
  found = policy.rewards_to_go(
    jnp.asarray([[[8.0, 4.0, 2.0]]]), jnp.asarray([1.0, 0.5, 0.5])
  )
  np.testing.assert_allclose(found, [[[11.0, 3.0, 1.0]]])
  discounts = policy.rank_discounts(3)
  np.testing.assert_allclose(discounts, [1.0, 1 / np.log2(3), 0.5], rtol=1e-6)


def test_tokens_add_up_by_item_and_padding_does_not_count():
  values = jnp.asarray([[[1.0, 2.0, 4.0, jnp.nan]]])
  items = jnp.asarray([[[0, 0, 1, -1]]])
  np.testing.assert_allclose(policy.item_sums(values, items, 2), [[[3.0, 4.0]]])


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_step_on_ones_own_lists_is_reinforce_with_a_baseline(loss):
  """A bandit of three items: what the gradient is, derived by hand.

  With items of one token and lists of one item, d loss / d logits is the mean
  advantage times -(one_hot - softmax).
  """
  logits = jnp.asarray([0.3, -0.2, 0.1])
  drawn = jnp.asarray([0, 1, 2, 0])
  rewards = jnp.asarray([1.0, 0.0, 0.5, 1.0])

  def total(logits):
    log_probs = jax.nn.log_softmax(logits)[drawn][None, :, None]
    samples = _samples(log_probs, jnp.zeros((1, 4, 1), jnp.int32))
    found, _ = loss(list_weight=0.0, **_NO_SCALE)(
      samples, _rewards(rewards[None, :, None])
    )
    return found

  advantages = rewards - rewards.mean()
  expected = -(
    advantages[:, None] * (jax.nn.one_hot(drawn, 3) - jax.nn.softmax(logits))
  ).sum(0)
  np.testing.assert_allclose(
    jax.jit(jax.grad(total))(logits), expected, atol=1e-6
  )
  step = 1e-2
  for i in range(3):
    ahead, behind = (
      _surrogate(logits + sign * step * jnp.eye(3)[i], logits, drawn, rewards)
      for sign in (1, -1)
    )
    np.testing.assert_allclose(
      (ahead - behind) / (2 * step), expected[i], atol=1e-4
    )


def _surrogate(logits, old, drawn, rewards):
  """Mean-free rewards times ratios, written once more in NumPy's way."""
  ratio = jax.nn.softmax(logits)[drawn] / jax.nn.softmax(old)[drawn]
  return -(ratio * (rewards - rewards.mean())).sum()


@pytest.mark.parametrize("loss", _LOSSES)
def test_without_an_advantage_there_is_no_gradient(loss):
  def total(log_probs):
    samples = _samples(log_probs, [[[0, 0, 1], [0, 1, 1]]])
    return loss()(samples, _rewards([[[1.0, 0.5], [1.0, 0.5]]]))[0]

  grad = jax.jit(jax.grad(total))(jnp.full((1, 2, 3), -1.0))
  np.testing.assert_array_equal(grad, 0.0)


@pytest.mark.parametrize("loss", _LOSSES)
def test_the_first_step_has_ratio_1_and_no_divergence(loss):
  samples = _samples([[[-1.0, -2.0], [-0.5, -3.0]]], [[[0, 1], [0, 1]]])
  _, metrics = jax.jit(loss())(samples, _rewards([[[1.0, 0.0], [0.0, 0.0]]]))
  values = {name: float(m.compute()) for name, m in metrics.items()}
  assert values == {
    "policy/ratio": 1.0,
    "policy/ratio_max": 1.0,
    "policy/ratio_min": 1.0,
    "policy/clipped": 0.0,
    "policy/divergence": 0.0,
    "policy/moved": 0.0,
    "policy/same_rewards": 0.0,
  }


@pytest.mark.parametrize("loss", _LOSSES)
def test_groups_whose_lists_are_worth_the_same_are_counted(loss):
  samples = _samples(-jnp.ones((2, 2, 1)), jnp.zeros((2, 2, 1), jnp.int32))
  rewards = _rewards([[[1.0], [1.0]], [[0.0], [1.0]]])
  _, metrics = jax.jit(loss(list_weight=0.0))(samples, rewards)
  assert float(metrics["policy/same_rewards"].compute()) == 0.5


def test_a_bad_item_in_a_good_list_is_blamed_by_item_and_praised_by_list():
  """The first list is better by its last item alone; its first is worse."""
  rewards = _rewards([[[0.0, 0.0, 9.0], [0.5, 9.0, 0.0]]])
  items = [[[0, 1, 2], [0, 1, 2]]]

  def grad(loss):
    def total(log_probs):
      return loss(_samples(log_probs, items), rewards)[0]

    return jax.jit(jax.grad(total))(jnp.full((1, 2, 3), -1.0))

  by_item = grad(item_grpo.ItemGRPO(list_weight=0.0, **_NO_SCALE))[0, 0]
  assert by_item[2] < 0 < by_item[1]
  by_list = grad(grpo.GRPO(list_weight=0.0, **_NO_SCALE))[0]
  assert np.ptp(np.asarray(by_list[0])) == 0.0


def test_the_length_of_a_title_does_not_change_what_its_item_counts():
  rewards = _rewards([[[1.0], [0.0]]])
  loss = item_grpo.ItemGRPO(list_weight=0.0, **_NO_SCALE)

  def gained(length):
    def total(scale):
      log_probs = scale * jnp.ones((1, 2, length))
      samples = _samples(log_probs, jnp.zeros((1, 2, length), jnp.int32))
      first = jnp.asarray([1.0, 0.0])[None, :, None]
      samples = samples._replace(
        log_probs=samples.log_probs * first + samples.old * (1 - first)
      )
      return loss(samples, rewards)[0]

    return jax.jit(jax.grad(total))(-1.0)

  np.testing.assert_allclose(gained(1), gained(7), rtol=1e-6)


def test_large_list_rewards_do_not_drown_those_of_items():
  samples = _samples(-jnp.ones((1, 2, 2)), [[[0, 1], [0, 1]]])
  items = [[[1.0, 0.0], [0.0, 0.0]]]
  loss = item_grpo.ItemGRPO(divergence_weight=0.0)

  def grad(lists):
    def total(log_probs):
      moved = samples._replace(log_probs=log_probs)
      return loss(moved, _rewards(items, lists))[0]

    return jax.jit(jax.grad(total))(samples.log_probs)

  np.testing.assert_allclose(
    grad([[0.0, 1.0]]), grad([[0.0, 1000.0]]), rtol=1e-5
  )


@pytest.mark.parametrize("loss", _LOSSES)
@pytest.mark.parametrize(
  ("setting", "value"),
  [
    ("list_weight", 1.5),
    ("divergence_weight", -1.0),
    ("clip_low", 1.0),
    ("clip_high", 0.0),
  ],
)
def test_settings_out_of_range_are_refused(loss, setting, value):
  with pytest.raises(ValueError, match=setting):
    loss(**{setting: value})
