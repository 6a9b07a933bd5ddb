"""DPO (Rafailov et al., 2023): the better list against all worse ones.

With several worse ones in the softmax of S-DPO (Chen et al., 2024). Nothing is
estimated from draws: the lists may come from anywhere.
"""

import dataclasses

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float

from instructrec.models.objectives import policy, training_metrics


@dataclasses.dataclass(frozen=True)
class DPO:
  """Softmax-DPO over the lists of a prompt.

  Attributes:
    divergence_weight: beta, what a nat of divergence from the reference costs
      in the policy that is looked for.
  """

  divergence_weight: float = 0.1

  def __post_init__(self) -> None:
    """Checks the number.

    Raises:
      ValueError: where it is not positive.
    """
    if not self.divergence_weight > 0.0:
      raise ValueError(
        f"DPO.divergence_weight is {self.divergence_weight!r}; expected a "
        "number above 0"
      )

  def __call__(
    self, samples: policy.Samples, rewards: policy.Rewards
  ) -> tuple[Float[Array, ""], dict[str, clu_metrics.Metric]]:
    """See `policy.PolicyLoss`; a prompt counts for all places of its lists."""
    where = samples.where
    log_ratio = jnp.where(where, samples.log_probs - samples.reference, 0.0)
    implied = self.divergence_weight * log_ratio.sum(-1)
    best = rewards.lists.argmax(-1)[:, None]
    least = jnp.take_along_axis(rewards.lists, best, axis=1) - 1e-6
    worse = rewards.lists < least
    behind = implied - jnp.take_along_axis(implied, best, axis=1)
    learnt = worse.any(-1)
    # A prompt without worse lists has no loss, rather than no number.
    behind = jnp.where(worse, behind, jnp.where(learnt[:, None], -jnp.inf, 0.0))
    losses = jax.nn.softplus(jax.nn.logsumexp(behind, axis=-1))
    total = jnp.where(learnt, losses, 0.0).sum()
    divergence = policy.k3(samples.log_probs, samples.reference)
    metrics = policy.report(
      samples,
      where,
      samples.log_probs - samples.old,
      jnp.zeros_like(where),
      divergence,
    )
    metrics["policy/same_rewards"] = policy.same_rewards(learnt)
    metrics["policy/preferred"] = training_metrics.mean(
      (behind < 0.0).all(-1), learnt
    )
    _, num_lists, num_places = rewards.items.shape
    return num_lists * num_places * total, metrics
