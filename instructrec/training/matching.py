"""States of requests and vectors of titles, in compiled batches.

A match is one product: the state of a request, whatever its candidates, times
the vector of a title, whatever the request. So a catalogue's vectors are made
once, and a request ranks all of it by a matrix product.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from instructrec import progress
from instructrec.models.scoring import features
from instructrec.training import item_arrays, ragged

# Titles and requests of a compiled batch.
_TITLES, _REQUESTS = 4096, 256


@dataclasses.dataclass(frozen=True, eq=False)
class Matcher:
  """A model's matches over the items of a run.

  Attributes:
    model: a `protocol.MatchingModel`.
    params: its parameters.
    items: as batches show them.
  """

  model: Any
  params: Any
  items: item_arrays.ItemArrays

  @functools.cached_property
  def vectors(self) -> Float[np.ndarray, "items_plus_1 embed"]:
    """The vector of every item by number; row 0 zeros."""
    tokens = self.items.title_tokens
    numbers = np.arange(len(tokens), dtype=np.int32)
    found = title_vectors(self.model, self.params, tokens, numbers)
    found[0] = 0.0
    return found

  @functools.cached_property
  def popularity_weight(self) -> float:
    """What log popularity counted beside a match in training."""
    return float(self.model.popularity_weight(self.params))

  def states(
    self,
    texts: ragged.Ragged,
    rows: Int[np.ndarray, " requests"],
    history: Int[np.ndarray, "requests history"],
    *,
    inputs_length: int,
    label: str = "match",
  ) -> Float[np.ndarray, "requests embed"]:
    """The state of each request.

    Args:
      texts: instructions, or prompts where histories are read item by item.
      rows: which text each request has.
      history: item numbers, the newest last, padded in front.
      inputs_length: width of the texts, in tokens; longer ones are cut.
      label: what the progress line says.

    Returns:
      float32; a state times a vector is a logit in nats.
    """
    longest = int(texts.lengths[rows].max(initial=1))
    width = min(int(features.padded_lengths(longest)), inputs_length)
    size = _REQUESTS
    if len(rows) == 1:
      # Somebody waits: no repeats, and nothing to compile for another length.
      size, width = 1, inputs_length
    found = []
    with progress.Progress(len(rows), label, enabled=size > 1) as line:
      for start in range(0, len(rows), size):
        # The last batch is filled up with repeats, to be compiled as the rest.
        stop = min(start + size, len(rows))
        own = np.resize(np.arange(start, stop), size)
        batch = {"encoder_input_tokens": texts.pad(rows[own], width)}
        batch |= self.items.history_arrays(history[own])
        states = _states_fn(self.model)(self.params, batch)
        found.append(np.asarray(states)[: stop - start])
        line.advance(stop - start)
    return np.concatenate(found)

  def scores(
    self,
    states: Float[np.ndarray, "requests embed"],
    numbers: Int[np.ndarray, "requests candidates"],
  ) -> Float[np.ndarray, "requests candidates"]:
    """Matches of each request with its own candidates, in nats.

    Args:
      states: of the requests.
      numbers: of the items; 0 in slots past the end of a list.

    Returns:
      float64; minus infinity where there is no item.
    """
    found = np.einsum("rd,rcd->rc", states, self.vectors[numbers])
    return np.where(numbers > 0, found.astype(np.float64), -np.inf)


def title_vectors(
  model: Any,
  params: Any,
  tokens: Int[np.ndarray, "titles length"],
  numbers: Int[np.ndarray, " titles"],
) -> Float[np.ndarray, "titles embed"]:
  """Vectors of titles, in batches of one size.

  Args:
    model: a `protocol.MatchingModel`.
    params: its parameters.
    tokens: pieces of each title, without an end token.
    numbers: of the items, from 1; 0 for one that is new.

  Returns:
    float32.
  """
  size = min(_TITLES, len(tokens))
  found = []
  for start in range(0, len(tokens), size):
    stop = min(start + size, len(tokens))
    rows = np.resize(np.arange(start, stop), size)
    vectors = _vectors_fn(model)(params, tokens[rows], numbers[rows])
    found.append(np.asarray(vectors)[: stop - start])
  return np.concatenate(found)


@functools.lru_cache(maxsize=8)
def _states_fn(model: Any) -> Any:
  return jax.jit(model.request_states)


@functools.lru_cache(maxsize=8)
def _vectors_fn(model: Any) -> Any:
  return jax.jit(model.title_vectors)
