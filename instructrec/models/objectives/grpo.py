"""GRPO (Shao et al., 2024): one advantage a sampled list, for all its tokens.

The plain baseline of `item_grpo`: a token's ratio is its own, and the mean is
over the tokens of a list, then over lists.
"""

import dataclasses

import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float

from instructrec.models.objectives import policy


@dataclasses.dataclass(frozen=True)
class GRPO(policy.GroupPolicy):
  """Clipped policy gradient over tokens; a list's reward joins its items'."""

  clip_low: float = 0.2
  clip_high: float = 0.2

  def __call__(
    self, samples: policy.Samples, rewards: policy.Rewards
  ) -> tuple[Float[Array, ""], dict[str, clu_metrics.Metric]]:
    """See `policy.PolicyLoss`; a list's mean counts for each of its places."""
    num_places = rewards.items.shape[-1]
    items = jnp.where(rewards.where, rewards.items, 0.0)
    discounts = policy.rank_discounts(num_places)
    of_items = (items * discounts).sum(-1) / discounts.sum()
    weight = self.list_weight
    worth = (1.0 - weight) * of_items + weight * rewards.lists
    advantages, spread = policy.group_advantages(
      worth, jnp.ones_like(worth, bool), scale=self.scale
    )
    where = samples.where
    log_ratio = samples.log_probs - samples.old
    losses, clipped = self.clipped(log_ratio, advantages[..., None])
    divergence = policy.k3(samples.log_probs, samples.reference)
    losses += self.divergence_weight * divergence
    metrics = policy.report(samples, where, log_ratio, clipped, divergence)
    metrics["policy/same_rewards"] = policy.same_rewards(spread)
    return policy.list_means(losses, samples, num_places), metrics
