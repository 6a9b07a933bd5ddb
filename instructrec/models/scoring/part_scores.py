"""Scores of candidates whose titles come with their batch.

They are sums of what a network says of a candidate and of how often it was
taken. The other parts that rank (the likelihood without a request, what was
read of a wish, retrievers) need a catalogue, so that
`retrieval.score_weights` alone has all of them.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from instructrec.models.networks import network
from instructrec.models.networks.reading import Reading
from instructrec.models.objectives.objective import (
  LIKELIHOOD,
  MATCH,
  POPULARITY,
)
from instructrec.models.scoring import candidate_scores

PARTS = (LIKELIHOOD, MATCH, POPULARITY)


def check_weights(weights: Mapping[str, float] | None) -> None:
  """Raises ValueError unless `weights` are of PARTS, or None."""
  if weights is not None and not (weights and set(weights) <= set(PARTS)):
    raise ValueError(
      f"score_weights is {dict(weights)}; expected numbers of some of "
      f"{', '.join(PARTS)}, by name: other parts need a catalogue"
    )


def has_titles(arrays: Mapping[str, Array]) -> bool:
  """Whether a batch holds candidate lists and their titles, slot by slot."""
  items = arrays.get("choice_items")
  shape = arrays["decoder_target_tokens"].shape[:-1]
  return items is not None and len(shape) == 2 and items.shape == shape


def weighted(
  reading: Reading,
  weights: Mapping[str, float] | None,
  *,
  normalization: str = "sum",
) -> Float[Array, "batch candidates"]:
  """The weighted sum of the parts of each candidate.

  Args:
    reading: of a batch for which `has_titles`.
    weights: of PARTS; parts without one take no part. None for what a match
      counted in training, and popularity beside it.
    normalization: of likelihoods, see `candidate_scores.candidate_scores`.

  Returns:
    In nats; -inf for slots without an item.

  Raises:
    ValueError: where the batch has no such titles.
  """
  arrays = reading.arrays
  if not has_titles(arrays):
    raise ValueError(
      "score_weights are for candidate lists with their titles, and the batch "
      f"has {', '.join(sorted(arrays))}; under T5X include "
      "gin/runs/t5x_items_eval.gin"
    )
  own: Mapping[str, Any] = weights or {
    MATCH: 1.0,
    POPULARITY: reading.popularity_weight,
  }
  items = arrays["choice_items"]
  scores = own.get(POPULARITY, 0.0) * arrays["choice_logs"][..., 0]
  if MATCH in own:
    titles = network.Titles(arrays["choice_tokens"], items)
    vectors = reading.title_vectors(titles)
    request = reading.states.request
    scores += own[MATCH] * jnp.einsum("be,bce->bc", request, vectors)
  if LIKELIHOOD in own:
    scores += own[LIKELIHOOD] * candidate_scores.candidate_scores(
      candidate_scores.of_reading(reading),
      arrays["decoder_loss_weights"],
      normalization=normalization,
    )
  return jnp.where(items > 0, scores, -jnp.inf)
