"""What losses over sampled lists share: advantages, ratios, divergences.

Lists are sampled in groups, several of one prompt; an item of a list is what a
reward is for, and its tokens are how it was written. All functions are pure,
on arrays, in float32.
"""

import dataclasses
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.objectives import training_metrics

MOST_LOG_RATIO = 20.0
"""Log-ratios are cut here, in nats: their exponentials would overflow."""
MOVED = "policy/moved"
"""How far the policy is from what drew the lists, by name of the metric."""


class Samples(NamedTuple):
  """Groups of sampled lists, and what is known of their tokens.

  Attributes:
    log_probs: of each token under the policy that is trained, in nats; with
      their gradient, as entropies and values are.
    old: of the policy that wrote the lists.
    reference: of the policy that is not to be left.
    entropies: of what might have stood in each token's place, in nats.
    items: place of the item that a token belongs to, from 0; its separator and
      the list's end belong to the item before; -1 for padding.
    values: what a value head expects before each token; None without one.
    old_values: what it did when the lists were drawn; None where that is the
      same.
  """

  log_probs: Float[Array, "batch group length"]
  old: Float[Array, "batch group length"]
  reference: Float[Array, "batch group length"]
  entropies: Float[Array, "batch group length"]
  items: Int[Array, "batch group length"]
  values: Float[Array, "batch group length"] | None = None
  old_values: Float[Array, "batch group length"] | None = None

  @property
  def where(self) -> Bool[Array, "batch group length"]:
    """The tokens that are no padding."""
    return self.items >= 0


class Rewards(NamedTuple):
  """What sampled lists are worth.

  Attributes:
    items: of the item at each place.
    lists: of the whole list, beside its items.
    where: the places that earn something: those that were written, and those
      whose lack is punished; the others earn 0.
  """

  items: Float[Array, "batch group places"]
  lists: Float[Array, "batch group"]
  where: Bool[Array, "batch group places"]


class PolicyLoss(Protocol):
  """A loss over groups of sampled lists."""

  @property
  def divergence_weight(self) -> float:
    """What a nat of divergence from the reference costs."""

  def __call__(
    self, samples: Samples, rewards: Rewards
  ) -> tuple[Float[Array, ""], dict[str, clu_metrics.Metric]]:
    """The loss summed over places of lists, and what it reports."""


@dataclasses.dataclass(frozen=True)
class GroupPolicy:
  """Settings of the losses that compare a list with others of its prompt.

  Attributes:
    list_weight: in [0, 1], what the list's own reward counts against those of
      its items.
    scale: see `group_advantages`.
    clip_low: a ratio below 1 - clip_low has no gradient where it belongs to
      what is worse than its group (PPO, section 3).
    clip_high: likewise above 1 + clip_high, of what is better; a larger one
      leaves room to what was rare.
    divergence_weight: what a nat of divergence from the reference costs.
  """

  list_weight: float = 0.5
  scale: bool = True
  clip_low: float = 0.06
  clip_high: float = 0.08
  divergence_weight: float = 0.01

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      ValueError: where one is out of its range.
    """
    expected = {
      "list_weight": (0.0 <= self.list_weight <= 1.0, "in [0, 1]"),
      "clip_low": (0.0 < self.clip_low < 1.0, "in (0, 1)"),
      "clip_high": (self.clip_high > 0.0, "above 0"),
      "divergence_weight": (self.divergence_weight >= 0.0, "of at least 0"),
    }
    for name, (holds, wanted) in expected.items():
      if not holds:
        raise ValueError(
          f"{type(self).__name__}.{name} is {getattr(self, name)!r}; expected "
          f"a number {wanted}"
        )

  def clipped(
    self, log_ratio: Float[Array, "*dims"], advantage: Float[Array, "*dims"]
  ) -> tuple[Float[Array, "*dims"], Bool[Array, "*dims"]]:
    """See `clipped`."""
    return clipped(log_ratio, advantage, low=self.clip_low, high=self.clip_high)


def report(
  samples: Samples,
  where: Bool[Array, "*dims"],
  log_ratio: Float[Array, "*dims"],
  clipped: Bool[Array, "*dims"],
  divergence: Float[Array, "*dims"],
) -> dict[str, clu_metrics.Metric]:
  """What every policy loss reports.

  Args:
    samples: the lists.
    where: the units (tokens, items) that there are.
    log_ratio: of each, to the policy that wrote it.
    clipped: whether it has no gradient.
    divergence: from the reference, in nats.

  Returns:
    policy/ratio, policy/clipped and policy/divergence: means over units;
    policy/ratio_max and policy/ratio_min: extremes of the ratio;
    policy/moved: divergence (k3) from what drew the lists, of a token.
  """
  mean, ratio = training_metrics.mean, exp(log_ratio)
  return {
    "policy/ratio": mean(ratio, where),
    "policy/ratio_max": training_metrics.Largest.of(ratio, where),
    "policy/ratio_min": training_metrics.Smallest.of(ratio, where),
    "policy/clipped": mean(clipped, where),
    "policy/divergence": mean(divergence, where),
    MOVED: mean(k3(samples.old, samples.log_probs), samples.where),
  }


def same_rewards(spread: Bool[Array, " batch"]) -> clu_metrics.Metric:
  """The share of groups whose lists are all worth the same.

  Args:
    spread: the groups that something is learnt from.
  """
  return training_metrics.mean(~spread, jnp.ones_like(spread))


def clipped(
  log_ratio: Float[Array, "*dims"],
  advantage: Float[Array, "*dims"],
  *,
  low: float,
  high: float,
) -> tuple[Float[Array, "*dims"], Bool[Array, "*dims"]]:
  """The clipped loss of ratios (PPO, section 3), and whose gradient is none.

  Args:
    log_ratio: of each unit.
    advantage: likewise.
    low: how far a ratio may fall below 1.
    high: how far it may rise.
  """
  ratio = exp(log_ratio)
  bounded = jnp.clip(ratio, 1.0 - low, 1.0 + high)
  free, held = ratio * advantage, bounded * advantage
  return -jnp.minimum(free, held), held < free


def exp(log_ratio: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
  """The ratio, cut where it would overflow."""
  return jnp.exp(jnp.clip(log_ratio, -MOST_LOG_RATIO, MOST_LOG_RATIO))


def k3(
  log_probs: Float[Array, "*dims"], reference: Float[Array, "*dims"]
) -> Float[Array, "*dims"]:
  """Schulman's third estimator of the divergence from the reference.

  r - 1 - log r with r = p_reference / p: never negative, 0 where both agree,
  its mean over draws of the policy is the divergence of the policy from the
  reference. As a loss over such draws, which are held fixed, its gradient is in
  the mean that of the other one, of the reference from the policy; that of the
  first estimator, -log r, is 0.
  """
  log_ratio = jnp.clip(reference - log_probs, -MOST_LOG_RATIO, MOST_LOG_RATIO)
  return jnp.expm1(log_ratio) - log_ratio


def group_advantages(
  rewards: Float[Array, "batch group *places"],
  where: Bool[Array, "batch group *places"],
  *,
  scale: bool,
) -> tuple[Float[Array, "batch group *places"], Bool[Array, "batch *places"]]:
  """How much better each is than its group, place by place.

  Args:
    rewards: of each member of a group.
    where: the members that count; others have the advantage 0.
    scale: whether to divide by the standard deviation of the group, so that
      groups with small differences count as much as others.

  Returns:
    The advantages; and the groups whose members differ, and are learnt from.
  """
  counted = where.astype(jnp.float32)
  number = jnp.maximum(counted.sum(1, keepdims=True), 1.0)
  rewards = jnp.where(where, rewards, 0.0)
  mean = rewards.sum(1, keepdims=True) / number
  apart = jnp.where(where, rewards - mean, 0.0)
  deviation = jnp.sqrt((apart**2).sum(1, keepdims=True) / number)
  differs = deviation > 1e-6
  if scale:
    apart = apart / jnp.where(differs, deviation, 1.0)
  return jnp.where(differs, apart, 0.0), differs[:, 0]


def list_means(
  losses: Float[Array, "batch group length"], samples: Samples, num_places: int
) -> Float[Array, ""]:
  """Sum over lists of the mean over their tokens.

  Args:
    losses: of each token.
    samples: the lists.
    num_places: of a list, each of which its mean counts for.
  """
  where = samples.where
  lengths = jnp.maximum(where.sum(-1), 1)
  means = jnp.where(where, losses, 0.0).sum(-1) / lengths
  return num_places * means.sum()


def rewards_to_go(
  rewards: Float[Array, "batch group places"],
  discounts: Float[Array, " places"],
) -> Float[Array, "batch group places"]:
  """What follows from each place on, itself included.

  An item is not praised for those before it, which it could not change.
  """
  worth = rewards * discounts
  return jnp.cumsum(worth[..., ::-1], axis=-1)[..., ::-1]


def rank_discounts(num_places: int) -> Float[Array, " places"]:
  """1 / log2(place + 1), places from 1, as in NDCG."""
  return 1.0 / jnp.log2(jnp.arange(num_places, dtype=jnp.float32) + 2.0)


def item_sums(
  values: Float[Array, "batch group length"],
  items: Int[Array, "batch group length"],
  num_places: int,
) -> Float[Array, "batch group places"]:
  """Sums over the tokens of each item."""
  belongs = jax.nn.one_hot(items, num_places, dtype=jnp.float32)
  known = jnp.where(items >= 0, values, 0.0).astype(jnp.float32)
  return jnp.einsum("bgl,bglp->bgp", known, belongs)
