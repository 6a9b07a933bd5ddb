"""Answers that are lists of titles, whole on the device.

In tokens a list is the tokens of each title, between them separators that say
how many titles are still to come, and the end token last
(`instructions.title_list`). Lists are written token by token, or given; either
way `list_walk.ListWalk.options` says what may come next and how likely it is,
so that both have the same log-probabilities.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from instructrec.models.generation import (
  catalog_trie,
  catalog_walk,
  list_policy,
  list_walk,
)
from instructrec.models.networks import network, reading


class _Draft(NamedTuple):
  """Lists as they are written."""

  step: Int[Array, ""]
  state: list_walk.State
  newest: Int[Array, " lists"]
  tokens: Int[Array, "lists length"]
  log_probs: Float[Array, "lists length"]
  cache: Any

  @classmethod
  def blank(cls, state: list_walk.State, length: int, cache: Any) -> "_Draft":
    """Of no token yet."""
    rows = len(state.going)
    return cls(
      step=jnp.zeros((), jnp.int32),
      state=state,
      newest=jnp.full(rows, network.PAD_ID, jnp.int32),
      tokens=jnp.full((rows, length), network.PAD_ID, jnp.int32),
      log_probs=jnp.zeros((rows, length), jnp.float32),
      cache=cache,
    )

  def longer(
    self,
    lists: list_walk.ListWalk,
    options: list_walk.Options,
    keys: Float[Array, "lists options"],
    cache: Any,
  ) -> "_Draft":
    """With the option of the highest key, where a list goes on."""
    tokens = lists.chosen(options, keys)
    tokens = jnp.where(self.state.going, tokens, network.PAD_ID)
    state, gained = lists.write(self.state, options, tokens)
    return _Draft(
      step=self.step + 1,
      state=state,
      newest=tokens,
      tokens=self.tokens.at[:, self.step].set(tokens),
      log_probs=self.log_probs.at[:, self.step].set(gained),
      cache=cache,
    )


def write_lists(
  writer: catalog_walk.Writer,
  trie: catalog_trie.CatalogTrie,
  requests: list_policy.ListRequests,
  policy: list_policy.ListPolicy,
  *,
  num_lists: int = 1,
  temperature: float = 0.0,
  rng: PRNGKeyArray | None = None,
) -> list_policy.TitleLists:
  """Writes lists; the prompts are read once, whatever the number of lists.

  Constrained lists have as many items as were asked for, or all that are
  allowed where these are fewer. Each is of the catalogue, allowed, not
  excluded, within the quota and in its list once, whatever the network says.
  Where scores of items lead them, a token counts with what speaks for the items
  below it that the list may still have.
  Neither the other rows of a batch nor padding change a row's lists.

  Args:
    writer: the network with a batch of prompts.
    trie: the catalogue.
    requests: what is asked.
    policy: settings.
    num_lists: lists a prompt, independent of each other.
    temperature: what the policy's log-probabilities are divided by where tokens
      are drawn; 0 takes the likeliest one each time. At 1, lists are drawn with
      the "closed" probabilities or, not constrained, with the "open" ones; the
      reported ones are those of temperature 1.
    rng: key of the draws; those of a list depend on it, on the place of its
      prompt and its own, and on the prompt. Or a key of each prompt [batch];
      then where it stands does not matter. None where the temperature is 0.

  Returns:
    The lists.

  Raises:
    ValueError: where a number is out of its range, or the key is missing.
  """
  catalog_walk.check_draws("num_lists", num_lists, temperature, rng)
  lists, state = list_walk.ListWalk.start(
    writer, trie, requests, policy, num_lists
  )
  rows, length = len(lists.lengths), policy.length(trie)
  noise = None
  if temperature and rng is not None:
    noise = _noise(rng, rows, num_lists)
  memory, cache = writer.start_decoding(
    sequences_per_prompt=num_lists, max_length=length
  )

  def advance(draft: _Draft) -> _Draft:
    logits, cache = writer.decode_step(draft.newest, draft.cache, memory)
    options = lists.options(draft.state, logits)
    keys = options.keys
    if noise is not None:
      # Shares first: divided by a low temperature, sums lose the differences.
      keys = lists.shares(options) / temperature
      keys += noise(draft.step, keys.shape[1])
    return draft.longer(lists, options, keys, cache)

  last = jax.lax.while_loop(
    lambda draft: (draft.step < length) & jnp.any(draft.state.going),
    advance,
    _Draft.blank(state, length, cache),
  )
  return _finished(last, lists, policy, num_lists)


def _finished(
  draft: _Draft,
  lists: list_walk.ListWalk,
  policy: list_policy.ListPolicy,
  num_lists: int,
) -> list_policy.TitleLists:
  """Lists that are written, by prompts."""
  state = lists.cut(draft.state)

  def by_prompt(x: Array) -> Array:
    return x.reshape(-1, num_lists, *x.shape[1:])

  tokens, log_probs = by_prompt(draft.tokens), by_prompt(draft.log_probs)
  return list_policy.TitleLists(
    tokens=tokens,
    items=by_prompt(state.items),
    token_log_probs=log_probs,
    log_probs=policy.by_item(log_probs, tokens),
    num_items=by_prompt(state.place),
    ended=by_prompt(state.ended),
  )


def _noise(
  rng: PRNGKeyArray, rows: int, num_lists: int
) -> Callable[[Array, int], Array]:
  """Gumbel noise of a step for so many options of each list."""
  prompts, own = jnp.divmod(jnp.arange(rows), num_lists)
  if _of_prompts(rng):
    keys = rng[prompts]
  else:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, prompts)
  keys = jax.vmap(jax.random.fold_in)(keys, own)

  def noise(step: Array, count: int) -> Array:
    step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
    return jax.vmap(lambda key: jax.random.gumbel(key, (count,)))(step_keys)

  return noise


def _of_prompts(rng: PRNGKeyArray) -> bool:
  """Whether keys are one a prompt: one of the old kind is an array, too."""
  return jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) and rng.ndim == 1


class Followed(NamedTuple):
  """What a policy makes of given lists, token by token.

  Attributes:
    log_probs: in nats; 0 where there is no token, and -inf where the policy
      never writes it.
    entropies: of what might have been written instead, in nats; 0 where there
      is no token.
    features: what each token is predicted from.
  """

  log_probs: Float[Array, "batch lists length"]
  entropies: Float[Array, "batch lists length"]
  features: Float[Array, "batch lists length embed"]


def follow(
  reading: reading.Reading,
  trie: catalog_trie.CatalogTrie,
  requests: list_policy.ListRequests,
  policy: list_policy.ListPolicy,
  tokens: Int[Array, "batch lists length"],
) -> Followed:
  """Reads given lists as the policy that writes such lists.

  Has a gradient. Logits exist for one position of all lists at a time.

  Args:
    reading: the network with a batch of prompts.
    trie: the catalogue.
    requests: what was asked.
    policy: settings.
    tokens: of `TitleLists`.

  Returns:
    Log-probabilities and entropies; the latter are of "closed" probabilities
    or of lists that are not constrained.
  """
  batch, num_lists, length = tokens.shape
  before = jnp.pad(tokens[..., :-1], ((0, 0), (0, 0), (1, 0)))
  features = reading.features(before, tokens)
  lists, state = list_walk.ListWalk.start(
    reading, trie, requests, policy, num_lists
  )

  # What a position costs to compute again is its logits.
  @jax.checkpoint
  def advance(
    state: list_walk.State, at: tuple[Array, Array]
  ) -> tuple[list_walk.State, tuple[Array, Array]]:
    features, newest = at
    options = lists.options(state, reading.logits(features))
    state, gained = lists.write(state, options, newest)
    return state, (gained, _entropy(options.log_probs, newest))

  rows = batch * num_lists
  _, (log_probs, entropies) = jax.lax.scan(
    advance,
    state,
    (
      jnp.moveaxis(features.reshape(rows, length, -1), 1, 0),
      tokens.reshape(rows, length).T,
    ),
  )
  return Followed(
    log_probs.T.reshape(tokens.shape),
    entropies.T.reshape(tokens.shape),
    features,
  )


def _entropy(
  log_probs: Float[Array, "lists options"], newest: Int[Array, " lists"]
) -> Float[Array, " lists"]:
  """Of what may be written, where something is."""
  possible = jnp.isfinite(log_probs) & (newest != network.PAD_ID)[:, None]
  # Zero times infinity has no gradient.
  known = jnp.where(possible, log_probs, 0.0)
  return -jnp.where(possible, jnp.exp(known) * known, 0.0).sum(axis=1)


def token_log_probs(
  reading: reading.Reading,
  trie: catalog_trie.CatalogTrie,
  requests: list_policy.ListRequests,
  policy: list_policy.ListPolicy,
  tokens: Int[Array, "batch lists length"],
) -> Float[Array, "batch lists length"]:
  """The log-probabilities of `follow` alone."""
  return follow(reading, trie, requests, policy, tokens).log_probs
