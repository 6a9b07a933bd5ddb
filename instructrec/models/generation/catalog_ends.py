"""The ends of titles, once nothing is left to choose.

What is left of such a title is known, so that it is read in blocks of tokens
instead of one by one, and only as long as it may still matter.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import catalog_walk
from instructrec.models.generation.catalog_ways import Ways, take
from instructrec.models.networks import network
from instructrec.models.scoring import candidate_scores

# From the log-probabilities of ways so far, and which of them are whole titles,
# to the ways that are worth reading further.
Wanted = Callable[[Array, Array], Array]


class _State(NamedTuple):
  first: Int[Array, ""]
  newest: Int[Array, " sequences"]
  log_probs: Float[Array, "batch ways"]
  going: Bool[Array, "batch ways"]
  cache: network.Cache


def read(
  walk: catalog_walk.Walk,
  ways: Ways,
  cache: network.Cache,
  memory: network.Memory,
  depth: Int[Array, ""],
  wanted: Wanted = lambda _, whole: ~whole,
) -> Float[Array, "batch ways"]:
  """Log-probabilities of ways with the ends of their titles.

  Args:
    walk: that they are of.
    ways: of one item each.
    cache: of the prefixes without their last tokens.
    memory: of the prompts.
    depth: length of the prefixes.
    wanted: leaves out ways that are given up; they keep the log-probability
      that they have, which is at least that of their titles.

  Returns:
    Log-probabilities in nats.
  """
  if walk.probability == catalog_walk.CLOSED:
    return ways.log_probs  # There is nothing else.
  batch = len(ways.lows)
  lengths = walk.trie.title_lengths(ways.lows)

  def still(log_probs: Array, first: Array) -> Array:
    whole = lengths <= first
    return ways.exists & ~whole & wanted(log_probs, whole)

  def advance(state: _State) -> _State:
    first = state.first
    rows = ways.lows.reshape(-1)
    targets = walk.trie.tokens_at(rows, first, catalog_walk.BLOCK)
    inputs = jnp.concatenate([state.newest[:, None], targets[:, :-1]], axis=1)
    hidden, cache = walk.writer.decode_block(inputs, state.cache, memory)
    place = first + jnp.arange(catalog_walk.BLOCK)
    asked = state.going[..., None] & (place < lengths[..., None])
    # Of a request in a row.
    gained = _token_log_probs(
      walk.writer,
      hidden.reshape(batch, -1, hidden.shape[-1]),
      targets.reshape(batch, -1),
      asked.reshape(batch, -1),
    )
    log_probs = state.log_probs + gained.reshape(asked.shape).sum(-1)
    first += catalog_walk.BLOCK
    going = still(log_probs, first)
    return _State(first, targets[:, -1], log_probs, going, cache)

  last = jax.lax.while_loop(
    lambda state: jnp.any(state.going),
    advance,
    _State(
      first=depth,
      newest=ways.tokens.reshape(-1),
      log_probs=ways.log_probs,
      going=still(ways.log_probs, depth),
      cache=cache,
    ),
  )
  return last.log_probs


def _token_log_probs(
  writer: catalog_walk.Writer,
  hidden: Float[Array, "batch places embed"],
  targets: Int[Array, "batch places"],
  asked: Bool[Array, "batch places"],
) -> Float[Array, "batch places"]:
  """Log-probabilities of tokens that are asked for; 0 for the others.

  No logits exist of most of the others: those that are asked for come first,
  and a request has a quarter of its places read at a time.
  """
  batch, places = targets.shape
  size = max(1, min(-(-places // 4), candidate_scores.LOGITS_ROWS // batch))
  order = jnp.argsort(~asked, axis=1)
  order = jnp.pad(order, ((0, 0), (0, -places % size)))
  most = asked.sum(axis=1).max()

  def more(state: tuple[Array, Array]) -> Array:
    return state[0] < most

  def add(state: tuple[Array, Array]) -> tuple[Array, Array]:
    first, found = state
    part = jax.lax.dynamic_slice_in_dim(order, first, size, axis=1)
    logits = writer.logits(take(hidden, part))
    inside = first + jnp.arange(size) < places
    tokens, weights = take(targets, part), take(asked, part) & inside
    gained = candidate_scores.token_scores(logits, tokens, weights)
    gained = jnp.where(weights, gained, 0.0)
    put = jax.vmap(lambda row, i, values: row.at[i].add(values))
    return first + size, put(found, part, gained)

  zeros = jnp.zeros(targets.shape, jnp.float32)
  start = (jnp.zeros((), jnp.int32), zeros)
  return jax.lax.while_loop(more, add, start)[1]
