"""Lists that a policy draws while it is trained, inside the loss.

A prompt is read once. Against that one memory several lists are drawn, token by
token (Gumbel noise over what may come next), and then read again as a whole for
the gradient. Both have their probabilities from the same place
(`models.generation.title_lists`), and dropout is off in both, so that the ratio
of new and old policy is 1 in the first step.

Constrained lists are drawn by their "closed" probabilities, which the ratio has
as well: the gradient of a first step is that of what was drawn.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from instructrec.evaluation import control
from instructrec.instructions import title_list
from instructrec.models.generation import (
  catalog_trie,
  list_policy,
  title_lists,
)
from instructrec.models.networks import reading as reading_lib


class Rollout(NamedTuple):
  """Lists that were drawn, several a prompt; nothing in it has a gradient.

  Attributes:
    lists: tokens, and their log-probabilities when they were drawn.
    items: index of the item at each place, from 0, or what stands there, as
      `evaluation.control` counts.
    num_tokens: of each place, its separator or end included.
    errors: what is wrong at each place.
  """

  lists: list_policy.TitleLists
  items: Int[Array, "batch lists places"]
  num_tokens: Float[Array, "batch lists places"]
  errors: control.Errors

  @classmethod
  def of(
    cls,
    lists: list_policy.TitleLists,
    requests: list_policy.ListRequests,
    policy: list_policy.ListPolicy,
  ) -> "Rollout":
    """What is known of lists that were drawn.

    Args:
      lists: several a prompt.
      requests: what was asked; what they exclude is the history.
      policy: that wrote them.
    """
    items = indices(lists.items)
    history = requests.conditions.excluded
    if history is None:
      history = jnp.zeros((len(items), 1), jnp.int32)
    return cls(
      lists=lists,
      items=items,
      num_tokens=policy.by_item(jnp.ones(lists.tokens.shape), lists.tokens),
      errors=control.errors(
        items,
        jnp.asarray(requests.lengths)[:, None],
        jnp.asarray(history)[:, None] - 1,
      ),
    )


def draw(
  reading: reading_lib.Reading,
  trie: catalog_trie.CatalogTrie,
  requests: list_policy.ListRequests,
  policy: list_policy.ListPolicy,
  *,
  num_lists: int,
  rng: PRNGKeyArray,
) -> Rollout:
  """Draws lists.

  Args:
    reading: the network with a batch of prompts, without dropout.
    trie: the catalogue.
    requests: what is asked; what they exclude is the history.
    policy: how tokens have their probability.
    num_lists: lists a prompt.
    rng: see `title_lists.write_lists`.

  Returns:
    The lists.

  Raises:
    ValueError: where the reading has dropout.
  """
  lists = title_lists.write_lists(
    reading.without_gradient(),
    trie,
    requests,
    policy,
    num_lists=num_lists,
    temperature=1.0,
    rng=rng,
  )
  return Rollout.of(lists, requests, policy)


def indices(items: Int[Array, "*dims"]) -> Int[Array, "*dims"]:
  """Numbers of items, from 1, as metrics and rewards count: from 0.

  Args:
    items: of `list_policy.TitleLists`.
  """
  absent = jnp.where(items == 0, title_list.EMPTY, items)
  return jnp.where(items > 0, items - 1, absent)
