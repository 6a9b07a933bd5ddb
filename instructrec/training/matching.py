"""States of requests and vectors of titles, in compiled batches.

A match is one product: the state of a request, whatever its candidates, times
the vector of a title, whatever the request. So a catalogue's vectors are made
once, and a request ranks all of it by a matrix product.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from instructrec import progress
from instructrec.models.scoring import features
from instructrec.training import distributed, item_arrays, ragged
from instructrec.training import mesh as mesh_lib

# Titles of a compiled batch, and sizes that few titles and requests are filled
# up to: what comes later has the shape of something that came before.
_TITLES = 4096
SOME_TITLES = (16, 128, 1024)
REQUESTS = (1, 4, 16, 64, 256)


@dataclasses.dataclass(frozen=True, eq=False)
class Matcher:
  """A model's matches over the items of a run.

  Attributes:
    model: a `protocol.MatchingModel`.
    params: its parameters.
    items: as batches show them.
    mesh_config: how the devices of all processes share the work, whose
      parameters lie so; None where they lie otherwise.
  """

  model: Any
  params: Any
  items: item_arrays.ItemArrays
  mesh_config: mesh_lib.MeshConfig | None = None

  @functools.cached_property
  def vectors(self) -> Float[np.ndarray, "items_plus_1 embed"]:
    """The vector of every item by number; row 0 zeros."""
    found = self._vectors(np.arange(len(self.items.title_tokens)))
    found[0] = 0.0
    return found

  def _vectors(
    self, numbers: Int[np.ndarray, " titles"]
  ) -> Float[np.ndarray, "titles embed"]:
    return title_vectors(
      self.model,
      self.params,
      self.items.title_tokens[numbers],
      numbers.astype(np.int32),
      mesh_config=self.mesh_config,
    )

  def text_vectors(
    self, tokens: Int[np.ndarray, "texts length"]
  ) -> Float[np.ndarray, "texts embed"]:
    """Vectors of titles that are no items.

    Args:
      tokens: pieces of each, without an end token, as wide as the items'.

    Returns:
      float32.
    """
    size = _filled(len(tokens), SOME_TITLES)
    padded = np.zeros((-(-len(tokens) // size) * size, *tokens.shape[1:]), int)
    padded[: len(tokens)] = tokens
    found = [
      title_vectors(
        self.model,
        self.params,
        padded[start : start + size].astype(np.int32),
        np.zeros(size, np.int32),
        mesh_config=self.mesh_config,
      )
      for start in range(0, len(padded), size)
    ]
    return np.concatenate(found)[: len(tokens)]

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
    label: str | None = "match",
  ) -> Float[np.ndarray, "requests embed"]:
    """The state of each request.

    Args:
      texts: instructions, or prompts where histories are read item by item.
      rows: which text each request has.
      history: item numbers, the newest last, padded in front.
      inputs_length: width of the texts, in tokens; longer ones are cut.
      label: what the progress line says; None for none.

    Returns:
      float32; a state times a vector is a logit in nats.
    """
    longest = int(texts.lengths[rows].max(initial=1))
    width = min(int(features.padded_lengths(longest)), inputs_length)
    size = _rounded(filled(len(rows)), self.mesh_config)
    if size == 1:
      # Somebody waits: nothing to compile for another length.
      width = inputs_length
    found = []
    shown = size > 1 and distributed.is_lead()
    with (
      _used(self.mesh_config),
      progress.Progress(len(rows), label, enabled=shown) as line,
    ):
      for start in range(0, len(rows), size):
        # The last batch is filled up with repeats, to be compiled as the rest.
        stop = min(start + size, len(rows))
        own = np.resize(np.arange(start, stop), size)
        batch = {"encoder_input_tokens": texts.pad(rows[own], width)}
        batch |= self.items.history_arrays(history[own])
        batch = _placed(batch, self.mesh_config)
        states = _states_fn(self.model, self.mesh_config)(self.params, batch)
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

  def logits(
    self,
    states: Float[np.ndarray, "requests embed"],
    numbers: Int[np.ndarray, "requests candidates"],
  ) -> Float[np.ndarray, "requests candidates"]:
    """As `scores`, with popularity as in training; of few of the items.

    Only what is asked for gets a vector.

    Args:
      states: of the requests.
      numbers: of the items; 0 in slots past the end of a list.

    Returns:
      float64; minus infinity where there is no item.
    """
    wanted, places = np.unique(numbers, return_inverse=True)
    vectors = self._vectors(wanted)[places.reshape(numbers.shape)]
    found = np.einsum("rd,rcd->rc", states, vectors).astype(np.float64)
    found += self.popularity_weight * self.items.logs[numbers, 0]
    return np.where(numbers > 0, found, -np.inf)

  def catalog_logits(
    self, states: Float[np.ndarray, "requests embed"]
  ) -> Float[np.ndarray, "requests items"]:
    """As `logits`, of all items.

    Args:
      states: of the requests.

    Returns:
      float64, in the order of the items.
    """
    found = (states @ self.vectors[1:].T).astype(np.float64)
    return found + self.popularity_weight * self.items.logs[1:, 0]


def title_vectors(
  model: Any,
  params: Any,
  tokens: Int[np.ndarray, "titles length"],
  numbers: Int[np.ndarray, " titles"],
  *,
  mesh_config: mesh_lib.MeshConfig | None = None,
) -> Float[np.ndarray, "titles embed"]:
  """Vectors of titles, in batches of one size.

  Args:
    model: a `protocol.MatchingModel`.
    params: its parameters.
    tokens: pieces of each title, without an end token.
    numbers: of the items, from 1; 0 for one that is new.
    mesh_config: see `Matcher`.

  Returns:
    float32.
  """
  size = _rounded(min(_TITLES, len(tokens)), mesh_config)
  found = []
  with _used(mesh_config):
    for start in range(0, len(tokens), size):
      stop = min(start + size, len(tokens))
      rows = np.resize(np.arange(start, stop), size)
      titles = {"tokens": tokens[rows], "numbers": numbers[rows]}
      vectors = _vectors_fn(model, mesh_config)(
        params, *_placed(titles, mesh_config).values()
      )
      found.append(np.asarray(vectors)[: stop - start])
  return np.concatenate(found)


def filled(count: int) -> int:
  """What so many requests of one batch are filled up to."""
  return _filled(count, REQUESTS)


def _filled(count: int, sizes: tuple[int, ...]) -> int:
  """The least of a few sizes that holds so many, or the largest."""
  return next((size for size in sizes if size >= count), sizes[-1])


def _rounded(size: int, config: mesh_lib.MeshConfig | None) -> int:
  """The next size of a batch that divides over the mesh."""
  if config is None:
    return size
  data = mesh_lib.scoring_mesh(config).shape["data"]
  return -(-size // data) * data


def _used(
  config: mesh_lib.MeshConfig | None,
) -> contextlib.AbstractContextManager[None]:
  if config is None:
    return contextlib.nullcontext()
  return mesh_lib.use(mesh_lib.scoring_mesh(config), config)


def _placed(
  batch: dict[str, Any], config: mesh_lib.MeshConfig | None
) -> dict[str, Any]:
  """A batch that every process made, shared out over the mesh."""
  if config is None:
    return batch
  device_mesh = mesh_lib.scoring_mesh(config)
  size = len(next(iter(batch.values())))
  own = mesh_lib.process_rows(device_mesh, size, jax.process_index())
  rows = {name: array[own] for name, array in batch.items()}
  return mesh_lib.global_batch(device_mesh, rows, size)


def _compiled(
  function: Callable[..., Any], config: mesh_lib.MeshConfig | None
) -> Any:
  """With results that every process has, where they share the work."""
  if config is None:
    return jax.jit(function)
  everywhere = mesh_lib.replicated(mesh_lib.scoring_mesh(config))
  return jax.jit(function, out_shardings=everywhere)


@functools.lru_cache(maxsize=8)
def _states_fn(model: Any, config: mesh_lib.MeshConfig | None) -> Any:
  return _compiled(model.request_states, config)


@functools.lru_cache(maxsize=8)
def _vectors_fn(model: Any, config: mesh_lib.MeshConfig | None) -> Any:
  return _compiled(model.title_vectors, config)
