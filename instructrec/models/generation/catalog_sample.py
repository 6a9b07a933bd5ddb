"""Items drawn from a catalogue by their titles, whole on the device.

Each draw goes its own way down the catalogue's trie (`catalog_walk`), one token
after the other; without chance in it, it takes the likeliest token each time.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from instructrec.models.generation import (
  catalog_ends,
  catalog_trie,
  catalog_walk,
  leaf_intervals,
)
from instructrec.models.generation.catalog_walk import Walk
from instructrec.models.generation.catalog_ways import Ways, take


class _State(NamedTuple):
  """Draws that go on, and what those that ended came to."""

  depth: Int[Array, ""]
  ways: Ways
  ended: Ways
  cache: Any

  @classmethod
  def start(cls, ways: Ways, cache: Any) -> "_State":
    """Of no token yet."""
    ended = ways._replace(exists=jnp.zeros_like(ways.exists))
    return cls(jnp.zeros((), jnp.int32), ways, ended, cache)


def sample(
  writer: catalog_walk.Writer,
  trie: catalog_trie.CatalogTrie,
  *,
  batch_size: int,
  num_decodes: int,
  rng: PRNGKeyArray | None,
  temperature: float = 1.0,
  probability: str = catalog_walk.CLOSED,
  normalization: str = "sum",
  conditions: leaf_intervals.Conditions = leaf_intervals.ANYTHING,
) -> catalog_walk.CatalogDecodes:
  """Draws items one independently of the other; one may come several times.

  Tokens are drawn by their probability among those that go on to an allowed
  item, whatever `probability` is reported. At temperature 1 and without
  `item_scores`, the "closed" log-likelihoods of items are those that they were
  drawn with.

  Args:
    writer: see `catalog_beam.beam_search`.
    trie: likewise.
    batch_size: likewise.
    num_decodes: draws a prompt.
    rng: key of the draws; a row's depend on it, on the row's place and on the
      row. None where the temperature is 0.
    temperature: what log-probabilities are divided by; 0 is greedy.
    probability: what log-likelihoods are: see `catalog_beam.beam_search`.
    normalization: of `scores`, likewise.
    conditions: likewise; with `item_scores`, tokens are drawn by their
      probability times the sum of the exponentials of these over the items
      below.

  Returns:
    Items in the order of the draws; none where none is allowed.

  Raises:
    ValueError: where a name or number is out of its range, or the key is
      missing.
  """
  catalog_walk.check_draws("num_decodes", num_decodes, temperature, rng)
  walk = Walk.of(
    writer,
    trie,
    num_ways=num_decodes,
    probability=probability,
    normalization=normalization,
    conditions=conditions,
  )
  keys = None
  if temperature and rng is not None:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(batch_size))
  memory, cache = walk.start_decoding()
  state = jax.lax.while_loop(
    lambda state: jnp.any(state.ways.exists & ~state.ways.decided),
    lambda state: _step(walk, state, memory, keys, temperature),
    _State.start(walk.start(batch_size), cache),
  )
  return _with_ends(walk, state, memory)


def _with_ends(
  walk: Walk, state: _State, memory: Any
) -> catalog_walk.CatalogDecodes:
  """The items, with those that draws without a choice lead to."""
  log_probs = catalog_ends.read(
    walk, state.ways, state.cache, memory, state.depth
  )
  ways = _either(state.ended, state.ways._replace(log_probs=log_probs))
  lengths = walk.trie.title_lengths(ways.lows)
  scores = walk.scores(ways.log_probs, lengths, ways.priors)
  return catalog_walk.decodes(
    walk.trie, ways.exists, ways.lows, ways.log_probs, scores, state.depth
  )


def _either(first: Ways, second: Ways) -> Ways:
  """Those of `first` that exist, and the others of `second`."""
  return Ways(
    *(
      jnp.where(first.exists, mine, other)
      for mine, other in zip(first, second, strict=True)
    )
  )


def _step(
  walk: Walk,
  state: _State,
  memory: Any,
  keys: PRNGKeyArray | None,
  temperature: float,
) -> _State:
  """Takes all draws of all rows one token further."""
  ways, depth = state.ways, state.depth
  logits, cache = walk.writer.decode_step(
    ways.tokens.reshape(-1), state.cache, memory
  )
  # One number of children for all steps: draws are then a function of the row.
  slots = walk.num_ways * walk.trie.width(1)
  children = walk.children(
    ways, logits.reshape(*ways.lows.shape, -1), depth, slots
  )
  found = children.ways
  wanted = found.log_probs + found.priors
  if keys is not None:
    step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, depth)
    chance = jax.vmap(lambda key: jax.random.gumbel(key, (slots,)))(step_keys)
    # Shares first: divided by a low temperature, sums lose the differences.
    shares = walk.log_shares(wanted, children.parents, found.exists)
    wanted = shares / temperature + chance
  chosen = walk.best(wanted, children)
  going = found.take(chosen)
  going = going._replace(exists=ways.exists & going.exists)
  ends = take(children.ends, chosen)
  ended = going._replace(exists=going.exists & ends)
  return _State(
    depth=depth + 1,
    ways=going._replace(exists=going.exists & ~ends),
    ended=_either(state.ended, ended),
    cache=cache,
  )
