"""Lists that a teacher's ranking makes, a good one and worse ones.

Of the best of a retriever and of what a row asks, without a network: what a
policy is to prefer, and what to.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from instructrec.evaluation import control
from instructrec.models.generation import catalog_trie, list_policy

NUMBER = 4
"""Lists of each row."""


def items(
  best: Int[Array, "batch best"],
  has: Bool[Array, "batch best"],
  k: Int[Array, " batch"],
  wish: control.Wish,
  places: int,
) -> Int[Array, "batch lists places"]:
  """The lists of rows.

  Args:
    best: items of the teacher, by number, best first; 0 for none.
    has: which of them have what the wish speaks of.
    k: how many are asked for.
    wish: what is asked of the list.
    places: of a list.

  Returns:
    By number, 0 behind the end: the best that are as the wish says; the best
    that are what it does not say; the last that are as it says, last first;
    and the first list turned round. Where the teacher has fewer items than are
    asked for, nothing.
  """
  having, lacking = control.attainable(wish, k)
  room, other_room = k - lacking, k - having

  def chosen(best: Array, has: Array, room: Array, other_room: Array) -> Array:
    there = best > 0
    with_it, without = has & there, ~has & there
    fits = with_it & (with_it.cumsum(-1) <= room[:, None])
    fits |= without & (without.cumsum(-1) <= other_room[:, None])
    # What does not fit follows, where there is not enough that does.
    order = jnp.argsort(2 * ~there + ~fits, axis=-1, stable=True)
    rank = jnp.argsort(order, axis=-1)
    taken = there & (rank < k[:, None])
    order = jnp.argsort(~taken, axis=-1, stable=True)
    found = jnp.take_along_axis(jnp.where(taken, best, 0), order, axis=-1)
    return jnp.pad(found, ((0, 0), (0, places)))[:, :places]

  good = chosen(best, has, room, other_room)
  turned = jnp.arange(places)
  turned = jnp.where(turned < k[:, None], k[:, None] - 1 - turned, turned)
  lists = jnp.stack(
    [
      good,
      chosen(best, has, other_room, room),
      chosen(best[:, ::-1], has[:, ::-1], room, other_room),
      jnp.take_along_axis(good, turned, axis=-1),
    ],
    axis=1,
  )
  enough = (best > 0).sum(-1) >= k
  return jnp.where(enough[:, None, None], lists, 0)


def tokens(
  items: Int[Array, "batch lists places"],
  trie: catalog_trie.CatalogTrie,
  policy: list_policy.ListPolicy,
) -> Int[Array, "batch lists length"]:
  """Lists as tokens.

  Args:
    items: of each place, by number, 0 behind the end.
    trie: the catalogue.
    policy: says what stands between titles.

  Returns:
    Tokens with separators and the end token, then 0.
  """
  titles = trie.sequences(items)
  place = jnp.arange(items.shape[-1])
  coming = ((items > 0).sum(-1, keepdims=True) - place - 1)[..., None]
  between = (titles == trie.eos_id) & (coming > 0)
  titles = jnp.where(between, policy.separator(coming), titles)
  lengths = (titles > 0).sum(-1)
  starts = lengths.cumsum(-1) - lengths
  size = policy.length(trie)
  at = starts[..., None] + jnp.arange(titles.shape[-1])
  at = jnp.where(titles > 0, at, size).reshape(-1, titles[0, 0].size)
  rows = jnp.arange(len(at))[:, None]
  found = jnp.zeros((len(at), size), jnp.int32)
  found = found.at[rows, at].set(titles.reshape(at.shape), mode="drop")
  return found.reshape(*items.shape[:2], size)
