"""Every position of a sequence predicts the next title, in one pass.

After each item of the history, and after the whole request, the softmax over
titles is taken over those of the batch and over drawn ones. That the batch
holds an item more often because it is popular, is taken out of the logits
(sampled softmax with the logQ correction, Bengio and Senecal, 2008); what
popularity says of the next item comes in by a learnt weight.
"""

import dataclasses

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float, Int

from instructrec.models.networks import network, title_matching
from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import objective, training_metrics

_KEYS = (
  "encoder_input_tokens",
  "history_tokens",
  "history_items",
  "history_logs",
  "choice_tokens",
  "choice_items",
  "choice_logs",
  "choice_follows",
)
# Beside a finite logit, exactly nothing in float32.
_NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class NextItem:
  """Cross-entropy of each position's next item.

  The titles are those of a microbatch: more microbatches mean fewer of them,
  the only objective that tells them apart. Devices do not.

  Attributes:
    request_weight: what the position after the whole request counts; 1 as much
      as one after an item.
  """

  request_weight: float = 1.0

  @property
  def trains(self) -> frozenset[str]:
    """See `objective.Objective`."""
    return frozenset((objective.MATCH,))

  def check(self, arrays: objective.Arrays, *, titles: bool) -> None:
    """See `objective.Objective`."""
    objective.require(arrays, _KEYS, "next_item")
    if not titles:
      raise ValueError(
        "the objective next_item matches title vectors, which the network does "
        "not have; set TITLE_MATCHING = True"
      )

  def __call__(self, reading: Reading) -> objective.Outcome:
    """See `objective.Objective`."""
    pool, logs = _pool(reading.arrays)
    vectors = reading.title_vectors(pool.flat())
    queries = _queries(reading.states)
    logits = queries @ vectors.T
    prior = reading.popularity_weight * logs[..., 0] - logs[..., 1]
    logits += prior.reshape(-1)
    labels = _labels(pool.items.shape, queries.shape[0])
    weights = self._weights(reading.arrays)
    log_probs, correct = _log_probs(logits, labels, pool.items.reshape(-1))
    total = -(log_probs * weights).sum()
    count = weights.sum()
    metrics: objective.Metrics = {
      "next_item/loss": clu_metrics.Average(total=total, count=count),
      "next_item/accuracy": clu_metrics.Average(
        total=(correct * weights).sum(), count=count
      ),
      "next_item/positions": training_metrics.Sum.from_model_output(weights),
    }
    return objective.Outcome(total, metrics)

  def _weights(self, arrays: objective.Arrays) -> Float[Array, " queries"]:
    """Of each query, in the order of `_queries`."""
    history = arrays["history_items"] > 0
    wanted = arrays["choice_items"][:, :1] > 0
    is_next = wanted & (arrays["choice_follows"] > 0)
    follows = jnp.concatenate([history[:, 1:], is_next], axis=1)
    after_items = (history & follows).astype(jnp.float32)
    after_request = self.request_weight * wanted.astype(jnp.float32)
    return jnp.concatenate([after_items, after_request], axis=1).reshape(-1)

  def divisor(self, arrays: objective.Arrays) -> Float[Array, ""]:
    """The positions that predict an item, by their weights."""
    return self._weights(arrays).sum()


def _pool(
  arrays: objective.Arrays,
) -> tuple[network.Titles, Float[Array, "batch slots 2"]]:
  """Titles of each row (history, target, drawn) and their logs."""
  parts = [
    jnp.concatenate(
      [arrays[f"{side}_{name}"] for side in ("history", "choice")], 1
    )
    for name in ("tokens", "items", "logs")
  ]
  return network.Titles(parts[0], parts[1]), parts[2]


def _queries(
  states: title_matching.States,
) -> Float[Array, "queries embed"]:
  assert states.history is not None
  joined = jnp.concatenate([states.history, states.request[:, None]], axis=1)
  return joined.reshape(-1, joined.shape[-1])


def _labels(shape: tuple[int, ...], num_queries: int) -> Int[Array, " queries"]:
  """Where in the pool each query's next title stands.

  Slot i + 1 follows slot i, and the target follows the history: the last item
  and the request predict the same slot.
  """
  batch, slots = shape
  num_history = num_queries // batch - 1
  within = jnp.minimum(jnp.arange(num_history + 1) + 1, num_history)
  return (slots * jnp.arange(batch)[:, None] + within).reshape(-1)


def _log_probs(
  logits: Float[Array, "queries pool"],
  labels: Int[Array, " queries"],
  items: Int[Array, " pool"],
) -> tuple[Float[Array, " queries"], Float[Array, " queries"]]:
  """Of each label, and whether its logit is the largest.

  Slots without an item and other slots with the label's item take no part.
  """
  again = items[None, :] == items[labels][:, None]
  is_label = jnp.arange(len(items))[None, :] == labels[:, None]
  out = (again & ~is_label) | (items == 0)[None, :]
  logits = jnp.where(out, _NEVER, logits)
  wanted = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
  log_probs = wanted - jax.nn.logsumexp(logits, axis=1)
  best = jax.lax.stop_gradient(logits.max(1))
  return log_probs, (wanted >= best).astype(jnp.float32)
