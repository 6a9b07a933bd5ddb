"""What a training step reports of the lists that it drew.

All of it follows from what the loss has anyway: nothing is read or drawn again.
"""

from typing import Any

import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Float

from instructrec.alignment import rewards, rollouts
from instructrec.evaluation import control, generated
from instructrec.models.objectives import policy, training_metrics


def of_lists(
  drawn: rollouts.Rollout,
  earned: rewards.Earned,
  popularity: Float[Any, " items"] | None = None,
) -> dict[str, clu_metrics.Metric]:
  """Rewards, mistakes and variety of lists.

  Args:
    drawn: the lists.
    earned: what they earn.
    popularity: of each item of the catalogue, in [0, 1]; None leaves it out.

  Returns:
    By name, see docs/alignment.md. Means are over the places that were
    written, or over lists; the entropies are means of -log p of what was
    drawn, in nats an item.
  """
  mean = training_metrics.mean
  written = drawn.num_tokens > 0
  lists = jnp.ones(earned.lists.shape, bool)
  surprise = -drawn.lists.log_probs
  is_item = drawn.items >= 0
  seen = generated.repeated(drawn.items.reshape(len(drawn.items), -1))
  again = seen.reshape(drawn.items.shape)[:, 1:]
  found = {
    "reward/ranking": mean(earned.ranking, written),
    "reward/task": mean(earned.task, written),
    "reward/item": mean(earned.items, written),
    "reward/list": mean(earned.lists, lists),
    "lists/errors": mean(drawn.errors.any, written),
    "lists/items": mean(drawn.lists.num_items, lists),
    # Of the second list of a prompt and those after it.
    "lists/distinct": mean(~again, is_item[:, 1:]),
    "entropy/item": mean(surprise, written),
  }
  for place in range(drawn.items.shape[-1]):
    at = written[..., place]
    found[f"entropy/item_{place + 1}"] = mean(surprise[..., place], at)
  if popularity is not None:
    table = jnp.asarray(popularity)[None, None]
    shown = control.at_places(table, drawn.items)
    found["lists/popularity"] = mean(shown, is_item)
  return found


def log_ratio(samples: policy.Samples) -> clu_metrics.Metric:
  """Mean log-ratio of a token to the reference, in nats.

  The first estimator (k1) of the divergence, of which `policy/divergence` is
  the third.

  Args:
    samples: tokens of the lists.
  """
  return training_metrics.mean(
    samples.log_probs - samples.reference, samples.where
  )
