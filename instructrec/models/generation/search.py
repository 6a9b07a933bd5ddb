"""Greedy and beam search over a step function with a cache; deterministic.

Both run under `jax.jit` as one `lax.while_loop` that ends as soon as every row
has ended. Padding (id 0) is never chosen: it could not be told from the end.
Among equals the smaller token id, then the better beam, wins.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from instructrec.models.networks import network

DEFAULT_ALPHA = 0.6


@runtime_checkable
class Cache(Protocol):
  """What a step function remembers: a pytree of arrays."""

  def select(self, sequences: Int[Array, "sequences"]) -> Any:
    """The cache whose sequence i is sequence `sequences[i]` of this one."""


# (tokens [sequences], cache) -> (logits [sequences, vocab], cache)
StepFn = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


class Decodes(NamedTuple):
  """Decoded sequences, best first.

  Attributes:
    sequences: token ids with the end token, then 0.
    log_probs: log-probability of each sequence in nats, the end token
      included; -inf marks a slot for which there is no sequence.
    scores: what the order goes by: log_probs over the length penalty.
  """

  sequences: Int[Array, "batch decodes length"]
  log_probs: Float[Array, "batch decodes"]
  scores: Float[Array, "batch decodes"]


def length_penalty(
  length: int | Int[Array, ""], alpha: float
) -> Float[Array, ""]:
  """T5's divisor of log-probabilities: ((5 + length) / 6) ** alpha.

  Args:
    length: generated tokens, the end token included.
    alpha: 0 switches it off; larger values favour longer sequences.

  Returns:
    The divisor, 1 at length 1.
  """
  return jnp.power((5.0 + length) / 6.0, alpha)


def _token_log_probs(
  logits: Float[Array, "sequences vocab"],
) -> Float[Array, "sequences vocab"]:
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  return log_probs.at[:, network.PAD_ID].set(-jnp.inf)


class _GreedyState(NamedTuple):
  step: jax.Array
  tokens: jax.Array  # [batch]
  sequences: jax.Array  # [batch, length]
  log_probs: jax.Array  # [batch]
  ended: jax.Array  # [batch]
  cache: Cache


def greedy_search(
  step_fn: StepFn,
  cache: Cache,
  *,
  batch_size: int,
  max_length: int,
  eos_id: int = 1,
) -> Decodes:
  """Takes the likeliest token at every step.

  Args:
    step_fn: gives the logits after one more token.
    cache: empty, for `batch_size` sequences.
    batch_size: number of rows.
    max_length: tokens after which a sequence is cut.
    eos_id: the end token.

  Returns:
    One decode a row; `scores` equals `log_probs`.
  """

  def unfinished(state: _GreedyState) -> jax.Array:
    return (state.step < max_length) & ~jnp.all(state.ended)

  def advance(state: _GreedyState) -> _GreedyState:
    logits, new_cache = step_fn(state.tokens, state.cache)
    log_probs = _token_log_probs(logits)
    tokens = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
    gained = jnp.take_along_axis(log_probs, tokens[:, None], axis=-1)[:, 0]
    tokens = jnp.where(state.ended, network.PAD_ID, tokens)
    return _GreedyState(
      step=state.step + 1,
      tokens=tokens,
      sequences=state.sequences.at[:, state.step].set(tokens),
      log_probs=state.log_probs + jnp.where(state.ended, 0.0, gained),
      ended=state.ended | (tokens == eos_id),
      cache=new_cache,
    )

  last = jax.lax.while_loop(
    unfinished,
    advance,
    _GreedyState(
      step=jnp.zeros((), jnp.int32),
      tokens=jnp.full((batch_size,), network.PAD_ID, jnp.int32),
      sequences=jnp.full((batch_size, max_length), network.PAD_ID, jnp.int32),
      log_probs=jnp.zeros((batch_size,), jnp.float32),
      ended=jnp.zeros((batch_size,), bool),
      cache=cache,
    ),
  )
  log_probs = last.log_probs[:, None]
  return Decodes(last.sequences[:, None], log_probs, log_probs)


class _BeamState(NamedTuple):
  step: jax.Array
  alive_sequences: jax.Array  # [batch, beams, length]
  alive_log_probs: jax.Array  # [batch, beams], best first
  alive_tokens: jax.Array  # [batch, beams]
  done_sequences: jax.Array  # [batch, beams, length]
  done_log_probs: jax.Array  # [batch, beams]
  done_scores: jax.Array  # [batch, beams], best first
  cache: Cache


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
  """x[b, index[b, i], ...] for x [batch, m, ...], index [batch, n]."""
  return jax.vmap(lambda row, i: row[i])(x, index)


def _beam_step(
  state: _BeamState, step_fn: StepFn, eos_id: int, alpha: float
) -> _BeamState:
  batch, beams, _ = state.alive_sequences.shape
  logits, cache = step_fn(state.alive_tokens.reshape(-1), state.cache)
  log_probs = _token_log_probs(logits).reshape(batch, beams, -1)
  vocab = log_probs.shape[-1]
  # At most `beams` of twice as many candidates can be ends, one a beam, so
  # that `beams` of them can go on.
  candidates = state.alive_log_probs[..., None] + log_probs
  top, flat = jax.lax.top_k(candidates.reshape(batch, -1), 2 * beams)
  parent, token = flat // vocab, (flat % vocab).astype(jnp.int32)
  sequences = _take(state.alive_sequences, parent)
  sequences = sequences.at[:, :, state.step].set(token)
  ends = token == eos_id

  # [batch, beams + 2 * beams] -> [batch, beams]: the best ends so far.
  end_scores = top / length_penalty(state.step + 1, alpha)
  end_scores = jnp.where(ends, end_scores, -jnp.inf)
  done_scores, kept = jax.lax.top_k(
    jnp.concatenate([state.done_scores, end_scores], axis=1), beams
  )
  done_sequences = _take(
    jnp.concatenate([state.done_sequences, sequences], axis=1), kept
  )
  done_log_probs = _take(
    jnp.concatenate([state.done_log_probs, top], axis=1), kept
  )

  # [batch, 2 * beams] -> [batch, beams]: those that go on.
  alive_log_probs, going = jax.lax.top_k(jnp.where(ends, -jnp.inf, top), beams)
  rows = jnp.arange(batch)[:, None] * beams + _take(parent, going)
  return _BeamState(
    step=state.step + 1,
    alive_sequences=_take(sequences, going),
    alive_log_probs=alive_log_probs,
    alive_tokens=_take(token, going),
    done_sequences=done_sequences,
    done_log_probs=done_log_probs,
    done_scores=done_scores,
    cache=cache.select(rows.reshape(-1)),
  )


def _ranked(state: _BeamState, max_length: int, alpha: float) -> Decodes:
  """Ended sequences first, then those that were cut, then empty slots."""
  beams = state.alive_log_probs.shape[1]
  num_done = jnp.sum(state.done_scores > -jnp.inf, axis=1, keepdims=True)
  slot = jnp.arange(beams)[None, :]
  # Both halves are sorted; the alive ones fill what the ended ones leave.
  index = jnp.where(slot < num_done, slot, beams + slot - num_done)
  alive_scores = state.alive_log_probs / length_penalty(max_length, alpha)

  def pick(done: jax.Array, alive: jax.Array) -> jax.Array:
    return _take(jnp.concatenate([done, alive], axis=1), index)

  scores = pick(state.done_scores, alive_scores)
  exists = scores > -jnp.inf
  log_probs = pick(state.done_log_probs, state.alive_log_probs)
  sequences = pick(state.done_sequences, state.alive_sequences)
  return Decodes(
    sequences=jnp.where(exists[..., None], sequences, network.PAD_ID),
    log_probs=jnp.where(exists, log_probs, -jnp.inf),
    scores=scores,
  )


def beam_search(
  step_fn: StepFn,
  cache: Cache,
  *,
  batch_size: int,
  num_beams: int,
  max_length: int,
  eos_id: int = 1,
  alpha: float = DEFAULT_ALPHA,
) -> Decodes:
  """Keeps the `num_beams` likeliest beginnings at every step.

  Sequences are ordered by log-probability over `length_penalty`. Those that
  reach the end token come before those cut at `max_length`, whatever their
  scores are. A row stops when its worst kept end is at least as good as any
  beginning could still become, so other rows of the batch never change it.
  One beam is `greedy_search`.

  Args:
    step_fn: gives the logits after one more token, for batch_size * num_beams
      sequences, those of one row next to each other.
    cache: empty, for batch_size * num_beams sequences.
    batch_size: number of rows.
    num_beams: beginnings kept, and decodes returned, a row.
    max_length: tokens after which a sequence is cut.
    eos_id: the end token.
    alpha: exponent of the length penalty, 0 or more.

  Returns:
    `num_beams` decodes a row, best first.

  Raises:
    ValueError: if alpha is negative.
  """
  if alpha < 0.0:
    raise ValueError(
      f"alpha, the exponent of the length penalty, is {alpha!r}; expected 0 "
      "(no penalty) or more"
    )
  if num_beams == 1:
    return greedy_search(
      step_fn,
      cache,
      batch_size=batch_size,
      max_length=max_length,
      eos_id=eos_id,
    )

  def unfinished(state: _BeamState) -> jax.Array:
    # Log-probabilities only fall, and no divisor exceeds that of max_length.
    bound = state.alive_log_probs[:, 0] / length_penalty(max_length, alpha)
    settled = state.done_scores[:, -1] >= bound
    return (state.step < max_length) & ~jnp.all(settled)

  shape = (batch_size, num_beams)
  nothing = jnp.full(shape, -jnp.inf, jnp.float32)
  blank = jnp.full((*shape, max_length), network.PAD_ID, jnp.int32)
  last = jax.lax.while_loop(
    unfinished,
    lambda state: _beam_step(state, step_fn, eos_id, alpha),
    _BeamState(
      step=jnp.zeros((), jnp.int32),
      alive_sequences=blank,
      # All beams begin alike; only the first may count.
      alive_log_probs=nothing.at[:, 0].set(0.0),
      alive_tokens=jnp.full(shape, network.PAD_ID, jnp.int32),
      done_sequences=blank,
      done_log_probs=nothing,
      done_scores=nothing,
      cache=cache,
    ),
  )
  return _ranked(last, max_length, alpha)
