"""Beam search over the titles of a catalogue, whole on the device.

Beams are ways down the catalogue's trie (`catalog_walk`). One that is down to a
single item only spells its title; once no beam has a choice left, what remains
of the titles is read in blocks of tokens (`catalog_ends`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from instructrec.models.generation import (
  catalog_ends,
  catalog_trie,
  catalog_walk,
  leaf_intervals,
)
from instructrec.models.generation.catalog_walk import Walk
from instructrec.models.generation.catalog_ways import (
  Children,
  Ways,
  order_by,
  take,
)

_NARROW = 16
"""Children a beam, on average, up to which a step is computed as small."""


class _Done(NamedTuple):
  """The best items so far, best first."""

  exists: Bool[Array, "batch decodes"]
  leaves: Int[Array, "batch decodes"]
  log_probs: Float[Array, "batch decodes"]
  scores: Float[Array, "batch decodes"]

  def joined(self, more: "_Done") -> "_Done":
    """The best of both, as many as of these."""
    every = [
      jnp.concatenate(both, axis=1) for both in zip(self, more, strict=True)
    ]
    keys = order_by(every[3], every[0])
    _, best = jax.lax.top_k(keys, self.leaves.shape[1])
    return _Done(*(take(x, best) for x in every))

  def beyond(
    self, bounds: Float[Array, "batch ways"]
  ) -> Bool[Array, "batch ways"]:
    """Whether scores of at most `bounds` are too low to be among these."""
    return self.exists[:, -1:] & (bounds < self.scores[:, -1:])


class _State(NamedTuple):
  depth: Int[Array, ""]
  beams: Ways
  done: _Done
  cache: Any

  @classmethod
  def start(cls, beams: Ways, num_decodes: int, cache: Any) -> "_State":
    """Of no token yet."""
    batch, num_beams = beams.lows.shape
    # All beams begin alike; only the first may count.
    first = jnp.arange(num_beams) == 0
    shape = (batch, num_decodes)
    nothing = jnp.full(shape, -jnp.inf, jnp.float32)
    return cls(
      depth=jnp.zeros((), jnp.int32),
      beams=beams._replace(exists=beams.exists & first),
      done=_Done(
        jnp.zeros(shape, bool), jnp.zeros(shape, jnp.int32), nothing, nothing
      ),
      cache=cache,
    )


def beam_search(
  writer: catalog_walk.Writer,
  trie: catalog_trie.CatalogTrie,
  *,
  batch_size: int,
  num_beams: int,
  num_decodes: int,
  probability: str = catalog_walk.OPEN,
  normalization: str = "sum",
  conditions: leaf_intervals.Conditions = leaf_intervals.ANYTHING,
) -> catalog_walk.CatalogDecodes:
  """The likeliest items of a catalogue by their titles, best first, none twice.

  With as many beams as allowed items, they are the best of all of them. With
  fewer, a prefix that is not among the best `num_beams` of its length is given
  up, but never so that fewer items come back than were asked for and are
  allowed. Neither the other rows of a batch nor padding change a row's items.

  Args:
    writer: the network with a batch of prompts.
    trie: the catalogue.
    batch_size: number of prompts.
    num_beams: prefixes kept a prompt.
    num_decodes: items asked for, at most `num_beams`.
    probability: "open" takes a token's probability among all tokens, so that
      log-likelihoods are those of `score_batch`; "closed" among those that go
      on to an allowed item, so that those of all allowed items add up to one.
    normalization: what of log-likelihoods the order goes by: see
      `candidate_scores.candidate_scores`.
    conditions: what requests say of items.

  Returns:
    `num_decodes` items a row, or all that are allowed where these are fewer.

  Raises:
    ValueError: where a name or number is out of its range.
  """
  if not 1 <= num_decodes <= num_beams:
    raise ValueError(
      f"num_decodes is {num_decodes} with num_beams {num_beams}; expected "
      "1 <= num_decodes <= num_beams"
    )
  walk = Walk.of(
    writer,
    trie,
    num_ways=num_beams,
    probability=probability,
    normalization=normalization,
    conditions=conditions,
  )
  memory, cache = walk.start_decoding()
  state = jax.lax.while_loop(
    lambda state: jnp.any(state.beams.exists & ~state.beams.decided),
    lambda state: _step(walk, state, memory),
    _State.start(walk.start(batch_size), num_decodes, cache),
  )
  found = _with_ends(walk, state, memory)
  return catalog_walk.decodes(walk.trie, *found, state.depth)


def _with_ends(walk: Walk, state: _State, memory: Any) -> _Done:
  """The best items, with those that beams without a choice lead to."""
  beams, lengths = state.beams, walk.trie.title_lengths(state.beams.lows)

  def joined(log_probs: Array, whole: Array | bool) -> tuple[_Done, Array]:
    scores = walk.scores(log_probs, lengths, beams.priors)
    found = _Done(beams.exists & whole, beams.lows, log_probs, scores)
    return state.done.joined(found), scores

  def wanted(log_probs: Array, whole: Array) -> Array:
    done, bounds = joined(log_probs, whole)
    return ~done.beyond(bounds)

  log_probs = catalog_ends.read(
    walk, beams, state.cache, memory, state.depth, wanted
  )
  return joined(log_probs, True)[0]


def _step(walk: Walk, state: _State, memory: Any) -> _State:
  """Takes all beams of all rows one token further."""
  beams, depth = state.beams, state.depth
  batch, num_beams = beams.lows.shape
  logits, cache = walk.writer.decode_step(
    beams.tokens.reshape(-1), state.cache, memory
  )
  logits = logits.reshape(batch, num_beams, -1)

  def chosen(slots: int) -> tuple[Ways, Array, _Done]:
    children = walk.children(beams, logits, depth, slots)
    return _chosen(walk, beams, children, depth)

  # Beams are apart, so that no more children exist than leaves; one that only
  # spells its title goes on to one, beside those of all the nodes.
  wide = min(walk.trie.width(num_beams) + num_beams, walk.trie.capacity)
  wide = max(wide, num_beams)
  narrow = _NARROW * num_beams
  if narrow < wide:
    most = walk.num_children(beams).sum(axis=1).max()
    going, parents, ended = jax.lax.cond(
      most <= narrow, lambda: chosen(narrow), lambda: chosen(wide)
    )
  else:
    going, parents, ended = chosen(wide)
  done = state.done.joined(ended)
  # Log-probabilities only fall, and no title is longer than `max_length`.
  bounds = walk.scores(going.log_probs, walk.trie.max_length, going.priors)
  rows = jnp.arange(batch)[:, None] * num_beams + parents
  return _State(
    depth=depth + 1,
    beams=going._replace(exists=going.exists & ~done.beyond(bounds)),
    done=done,
    cache=cache.select(rows.reshape(-1)),
  )


def _chosen(
  walk: Walk,
  beams: Ways,
  children: Children,
  depth: Int[Array, ""],
) -> tuple[Ways, Int[Array, "batch beams"], _Done]:
  """The best children that go on, their parents, and the items that end."""
  found = children.ways
  keys = order_by(found.log_probs + found.priors, found.exists & ~children.ends)
  best, index = jax.lax.top_k(keys, beams.lows.shape[1])
  going = found.take(index)
  going = going._replace(exists=best > -jnp.inf)
  # A node's first child is its end, where it has one.
  ended = found.take(children.first)
  own = take(children.parents, children.first) == jnp.arange(
    beams.lows.shape[1]
  )
  ends = ended.exists & own & take(children.ends, children.first)
  scores = walk.scores(ended.log_probs, depth + 1, ended.priors)
  return (
    going,
    take(children.parents, index),
    _Done(ends & beams.exists, ended.lows, ended.log_probs, scores),
  )
