"""PPO (Schulman et al., 2017): token actions, a critic, and clipped steps.

As in "Aligning Large Language Models for Controllable Recommendations" (Lu et
al., 2024, section 3.2): an item's reward is earned by the token that ends it,
the list's by its last one, and each token pays for what it diverges. Advantages
are those of GAE with the values of the network's head, which learns here too;
in the paper's code it had no optimizer.
"""

import dataclasses

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.objectives import policy, training_metrics


@dataclasses.dataclass(frozen=True)
class PPO:
  """Settings; the defaults are the paper's.

  Rewards are divided by their standard deviation, and advantages whitened, over
  all tokens of the lists that are given at once, those of a microbatch.

  Attributes:
    divergence_weight: what a nat of divergence from the reference costs, as a
      part of the reward.
    discount: what a reward counts a token earlier.
    trace: GAE's lambda; 1 has no bias from the values.
    clip: ratios further from 1 have no gradient.
    value_clip: a value is not learnt further from what it was.
    value_weight: what the squared error of a value counts.
    entropy_weight: what a nat of a token's entropy is worth.
  """

  divergence_weight: float = 0.3
  discount: float = 0.99
  trace: float = 1.0
  clip: float = 0.2
  value_clip: float = 0.2
  value_weight: float = 0.1
  entropy_weight: float = 0.01

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      ValueError: where one is out of its range.
    """
    share, positive = (0.0, 1.0, "in [0, 1]"), (0.0, None, "of at least 0")
    for name, (least, most, wanted) in {
      "divergence_weight": positive,
      "discount": share,
      "trace": share,
      "clip": share,
      "value_clip": positive,
      "value_weight": positive,
      "entropy_weight": positive,
    }.items():
      value = getattr(self, name)
      if value < least or (most is not None and value > most):
        raise ValueError(f"PPO.{name} is {value!r}; expected a number {wanted}")

  def __call__(
    self, samples: policy.Samples, rewards: policy.Rewards
  ) -> tuple[Float[Array, ""], dict[str, clu_metrics.Metric]]:
    """See `policy.PolicyLoss`; a list's mean counts for each of its places.

    Raises:
      ValueError: where the network gave no values.
    """
    if samples.values is None:
      raise ValueError(
        "PPO learns by values, and the network has no value head; set "
        "VALUE_HEAD = True"
      )
    where, values = samples.where, samples.values
    old_values = samples.old_values
    if old_values is None:
      old_values = jax.lax.stop_gradient(values)
    earned = token_rewards(rewards, samples.items)
    earned -= self.divergence_weight * (samples.old - samples.reference)
    earned = _whitened(earned, where, shift=False)
    advantages = gae(
      earned, old_values, where, discount=self.discount, trace=self.trace
    )
    returns = advantages + old_values
    advantages = _whitened(advantages, where)
    log_ratio = samples.log_probs - samples.old
    losses, clipped = policy.clipped(
      log_ratio, advantages, low=self.clip, high=self.clip
    )
    errors = value_errors(values, old_values, returns, clip=self.value_clip)
    losses += self.value_weight * errors
    losses -= self.entropy_weight * samples.entropies
    divergence = policy.k3(samples.log_probs, samples.reference)
    metrics = policy.report(samples, where, log_ratio, clipped, divergence)
    metrics |= {
      "value/loss": training_metrics.mean(errors, where),
      "value/mean": training_metrics.mean(values, where),
      "value/return": training_metrics.mean(returns, where),
    }
    num_places = rewards.items.shape[-1]
    return policy.list_means(losses, samples, num_places), metrics


def token_rewards(
  rewards: policy.Rewards, items: Int[Array, "batch group length"]
) -> Float[Array, "batch group length"]:
  """What each token earns.

  Args:
    rewards: of the items and the lists.
    items: see `policy.Samples`.

  Returns:
    The reward of an item where it ends; where the list does, its own as well,
    with what is punished of places that it did not reach.
  """
  num_places = rewards.items.shape[-1]
  where = items >= 0
  following = jnp.pad(
    items[..., 1:], ((0, 0), (0, 0), (0, 1)), constant_values=-1
  )
  of_places = jnp.where(rewards.where, rewards.items, 0.0)
  own = jnp.take_along_axis(of_places, jnp.maximum(items, 0), axis=-1)
  earned = jnp.where(where & (items != following), own, 0.0)
  reached = policy.item_sums(where, items, num_places) > 0
  whole = rewards.lists + jnp.where(reached, 0.0, of_places).sum(-1)
  return earned + jnp.where(where & (following < 0), whole[..., None], 0.0)


def gae(
  rewards: Float[Array, "batch group length"],
  values: Float[Array, "batch group length"],
  where: Bool[Array, "batch group length"],
  *,
  discount: float,
  trace: float,
) -> Float[Array, "batch group length"]:
  """Generalised advantage estimates (Schulman et al., 2016).

  Args:
    rewards: of each token.
    values: what was expected before it.
    where: the tokens that there are, padded behind.
    discount: gamma.
    trace: lambda.

  Returns:
    Advantages; 0 for padding, as nothing is expected after the end.
  """
  values = jnp.where(where, values, 0.0)
  following = jnp.pad(values[..., 1:], ((0, 0), (0, 0), (0, 1)))
  surprises = jnp.where(where, rewards + discount * following - values, 0.0)

  def back(after: Array, surprise: Array) -> tuple[Array, Array]:
    now = surprise + discount * trace * after
    return now, now

  _, found = jax.lax.scan(
    back,
    jnp.zeros_like(surprises[..., 0]),
    jnp.moveaxis(surprises, -1, 0),
    reverse=True,
  )
  return jnp.moveaxis(found, 0, -1)


def value_errors(
  values: Float[Array, "*dims"],
  old: Float[Array, "*dims"],
  returns: Float[Array, "*dims"],
  *,
  clip: float,
) -> Float[Array, "*dims"]:
  """Squared errors; without gradient where a value has moved far enough.

  Args:
    values: that are learnt.
    old: what they were when the lists were drawn.
    returns: what they should be.
    clip: how far is enough.
  """
  bounded = old + jnp.clip(values - old, -clip, clip)
  return jnp.maximum((values - returns) ** 2, (bounded - returns) ** 2)


def _whitened(
  values: Float[Array, "*dims"], where: Bool[Array, "*dims"], shift: bool = True
) -> Float[Array, "*dims"]:
  """By their standard deviation, and with `shift` without their mean."""
  number = jnp.maximum(where.sum(), 1)
  values = jnp.where(where, values, 0.0)
  mean = values.sum() / number
  apart = jnp.where(where, values - mean, 0.0)
  deviation = jnp.sqrt((apart**2).sum() / number)
  scale = jnp.where(deviation > 1e-6, deviation, 1.0)
  return (apart if shift else values) / scale
