"""Item-level GRPO: each item of a sampled list has an advantage of its own.

With one number a list (`grpo`), a bad item in a good list is praised, and so is
an item for what stood before it. Here an item is credited for what follows from
it on, as in Rank-GRPO (Zhu et al., 2025), and its tokens, most of which are
forced once a title has begun, count as one: the ratio is that of their mean.
"""

import dataclasses

import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float

from instructrec.models.objectives import policy


@dataclasses.dataclass(frozen=True)
class ItemGRPO(policy.GroupPolicy):
  """Clipped policy gradient over items.

  The rewards of items and of lists are normalised within their group apart, so
  that the larger ones do not drown the others.
  """

  def __call__(
    self, samples: policy.Samples, rewards: policy.Rewards
  ) -> tuple[Float[Array, ""], dict[str, clu_metrics.Metric]]:
    """See `policy.PolicyLoss`; places that were not written count nothing."""
    advantages, spread = self._advantages(rewards)
    num_places = rewards.items.shape[-1]
    lengths = policy.item_sums(samples.where, samples.items, num_places)
    written = rewards.where & (lengths > 0)

    def means(values: Float[Array, "batch group length"]) -> Array:
      sums = policy.item_sums(values, samples.items, num_places)
      return sums / jnp.maximum(lengths, 1.0)

    log_ratio = means(samples.log_probs - samples.old)
    losses, clipped = self.clipped(log_ratio, advantages)
    divergence = policy.item_sums(
      policy.k3(samples.log_probs, samples.reference), samples.items, num_places
    )
    losses += self.divergence_weight * divergence
    metrics = policy.report(samples, written, log_ratio, clipped, divergence)
    metrics["policy/same_rewards"] = policy.same_rewards(spread)
    return jnp.where(written, losses, 0.0).sum(), metrics

  def _advantages(
    self, rewards: policy.Rewards
  ) -> tuple[Float[Array, "batch group places"], Array]:
    """Of each item; and whether anything is learnt from a group."""
    num_places = rewards.items.shape[-1]
    returns = policy.rewards_to_go(
      jnp.where(rewards.where, rewards.items, 0.0),
      policy.rank_discounts(num_places),
    )
    # A place that a list did not reach has the return 0 and counts: otherwise
    # a short list would be compared with none.
    everywhere = jnp.ones_like(rewards.where)
    of_items, items_differ = policy.group_advantages(
      returns, everywhere, scale=self.scale
    )
    of_lists, lists_differ = policy.group_advantages(
      rewards.lists, everywhere[..., 0], scale=self.scale
    )
    weight = self.list_weight
    total = (1.0 - weight) * of_items + weight * of_lists[..., None]
    return total, items_differ.any(-1) | lists_differ
