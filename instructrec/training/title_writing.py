"""Titles of a catalogue that a model writes, in compiled batches."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from instructrec import progress
from instructrec.models.generation import (
  catalog_beam,
  catalog_trie,
  generation,
  leaf_intervals,
  list_policy,
  title_lists,
)
from instructrec.models.networks import reading
from instructrec.models.scoring import features
from instructrec.training import item_arrays, ragged


class ItemScores(NamedTuple):
  """What speaks for each item beside its title.

  Attributes:
    added: to the log-likelihood of the title, in units of it.
    lead: by which the items are chosen that may be written at all.
  """

  added: Float[np.ndarray, "requests items"]
  lead: Float[np.ndarray, "requests items"]

  def rows(self, rows: slice) -> "ItemScores":
    """Those of some of the requests."""
    return ItemScores(self.added[rows], self.lead[rows])


ScoreItems = Callable[[slice], ItemScores]
"""Scores items for a range of the requests."""


@dataclasses.dataclass(frozen=True, eq=False)
class Prompts:
  """Requests as a model reads them.

  Attributes:
    texts: instructions, or prompts where histories are read item by item.
    rows: which text each request has.
    history: item numbers, the newest last, padded in front; None where
      histories stand in the text.
    inputs_length: width of the texts, in tokens; longer ones are cut.
  """

  texts: ragged.Ragged
  rows: Int[np.ndarray, " requests"]
  history: Int[np.ndarray, "requests history"] | None
  inputs_length: int

  def __len__(self) -> int:
    return len(self.rows)

  @functools.cached_property
  def _width(self) -> int:
    longest = int(self.texts.lengths[self.rows].max(initial=1))
    return min(int(features.padded_lengths(longest)), self.inputs_length)

  def batch(
    self,
    chosen: Int[np.ndarray, " batch"],
    items: item_arrays.ItemArrays | None,
  ) -> dict[str, np.ndarray]:
    """Some of the requests as arrays."""
    found = {
      "encoder_input_tokens": self.texts.pad(self.rows[chosen], self._width)
    }
    if self.history is not None and items is not None:
      found |= items.history_arrays(self.history[chosen])
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class TitleWriter:
  """A model that writes titles, with or without its catalogue at hand.

  Attributes:
    model: a `ranking_model.NetworkRankingModel`.
    params: its parameters.
    trie: the catalogue's titles.
    items: as batches show them; None for a model of text alone.
    batch_size: requests that are written for at once.
  """

  model: Any
  params: Any
  trie: catalog_trie.CatalogTrie
  items: item_arrays.ItemArrays | None = None
  batch_size: int = 16

  @functools.cached_property
  def _tables(self) -> catalog_trie.CatalogTrie:
    return jax.device_put(self.trie)

  def write(
    self,
    prompts: Prompts,
    excluded: Sequence[Sequence[int]],
    k: int,
    *,
    num_beams: int,
    score_items: ScoreItems | None = None,
    label: str = "write",
  ) -> Int[np.ndarray, "requests k"]:
    """The k best items by their titles, out of the catalogue.

    Args:
      prompts: the requests.
      excluded: numbers of items that a request may not get, from 1.
      k: how many.
      num_beams: prefixes kept a request, k or more.
      score_items: what is added to titles; the `num_beams` items that it
        leads with are the only ones that may come back, among which beams miss
        none. None ranks all by titles alone.
      label: what the progress line says.

    Returns:
      Item numbers, best first; 0 where a request has no more.
    """
    widest = int(features.padded_lengths(max(map(len, excluded), default=1)))
    banned = np.zeros((len(prompts), widest), np.int32)
    for row, items in zip(banned, excluded, strict=True):
      row[: len(items)] = items
    search = _search_fn(self.model, num_beams, k)

    def run(chosen: np.ndarray, start: int, stop: int) -> np.ndarray:
      rows, own = slice(start, stop), chosen - start
      scores: np.ndarray | None
      allowed: np.ndarray | None
      scores = allowed = None
      if score_items is not None:
        found = score_items(rows)
        scores = self._wide(found.added.astype(np.float32))[own]
        best = _best(found.lead, excluded[start:stop], num_beams)
        allowed = self._wide(best)[own]
      batch = prompts.batch(chosen, self.items)
      return search(
        self.params, batch, self._tables, banned[chosen], scores, allowed
      )

    return self._batches(len(prompts), run, label)

  def _wide(
    self, values: Shaped[np.ndarray, "requests items"]
  ) -> Shaped[np.ndarray, "requests capacity"]:
    """What is said of items, as wide as the tables."""
    missing = self.trie.capacity - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)))

  def write_freely(
    self,
    prompts: Prompts,
    k: int,
    *,
    max_length: int = 0,
    label: str = "write freely",
  ) -> Int[np.ndarray, "requests k length"]:
    """What the model writes without a catalogue: beam search over all tokens.

    Args:
      prompts: the requests.
      k: how many sequences, and beams.
      max_length: tokens of a sequence; those of the longest title if 0.
      label: what the progress line says.

    Returns:
      Tokens with the end token, then 0; best first.
    """
    search = _free_fn(self.model, k, max_length or self.trie.max_length)

    def run(chosen: np.ndarray, start: int, stop: int) -> np.ndarray:
      return search(self.params, prompts.batch(chosen, self.items))

    return self._batches(len(prompts), run, label)

  def write_lists(
    self,
    prompts: Prompts,
    requests: list_policy.ListRequests,
    policy: list_policy.ListPolicy,
    *,
    lead: Callable[[slice], Float[np.ndarray, "some items"]] | None = None,
    num_lists: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    label: str = "write lists",
  ) -> list_policy.TitleLists:
    """Lists of titles, out of the catalogue or without it.

    Args:
      prompts: the requests.
      requests: what they ask of lists, as NumPy arrays.
      policy: how tokens have their probability.
      lead: of a range of the requests, the scores of items that lead their
        lists (`Conditions.item_scores`); None where nothing does.
      num_lists: lists a request.
      temperature: see `title_lists.write_lists`; 0 is greedy.
      seed: of what is drawn; a request's depends on it, on the request's place
        and on the request.
      label: what the progress line says.

    Returns:
      The lists, as NumPy arrays.

    Raises:
      ValueError: where the catalogue's titles cannot stand in lists.
    """
    policy.check(self.trie)
    write = _lists_fn(self.model, policy, num_lists, temperature)
    rng = jax.random.key(seed)

    def wide(values: np.ndarray | None) -> np.ndarray | None:
      return None if values is None else self._wide(values)

    def run(
      chosen: np.ndarray, start: int, stop: int
    ) -> list_policy.TitleLists:
      own = jax.tree.map(lambda x: x[chosen] if np.ndim(x) else x, requests)
      conditions = own.conditions
      scores = wide(conditions.item_scores)
      if lead is not None:
        scores = lead(slice(start, stop)).astype(np.float32)
        scores = self._wide(scores)[chosen - start]
      own = own.replace(
        conditions=conditions.replace(
          allowed=wide(conditions.allowed), item_scores=scores
        ),
        quota=own.quota and own.quota.replace(items=wide(own.quota.items)),
      )
      return write(
        self.params,
        prompts.batch(chosen, self.items),
        self._tables,
        own,
        jax.vmap(jax.random.fold_in, (None, 0))(rng, chosen),
      )

    return self._batches(len(prompts), run, label)

  def _batches(
    self, count: int, run: Callable[[np.ndarray, int, int], Any], label: str
  ) -> Any:
    """All requests, the last batch filled up with repeats."""
    found = []
    with progress.Progress(count, label) as line:
      for start in range(0, count, self.batch_size):
        stop = min(start + self.batch_size, count)
        chosen = np.resize(np.arange(start, stop), self.batch_size)
        rows = slice(stop - start)
        batch = run(chosen, start, stop)
        found.append(
          jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], batch)
        )
        line.advance(stop - start)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def _best(
  scores: Float[np.ndarray, "requests items"],
  excluded: Sequence[Sequence[int]],
  count: int,
) -> Bool[np.ndarray, "requests items"]:
  """The items with the highest scores, of those that are not excluded."""
  scores = np.array(scores)
  for row, items in zip(scores, excluded, strict=True):
    row[np.array(items, np.int64) - 1] = -np.inf
  found = np.zeros(scores.shape, bool)
  best = np.argpartition(-scores, min(count, scores.shape[1]) - 1, axis=1)
  np.put_along_axis(found, best[:, :count], True, axis=1)
  return found


@functools.lru_cache(maxsize=16)
def _search_fn(model: Any, num_beams: int, k: int) -> Any:
  def search(
    params: Any,
    batch: dict[str, jax.Array],
    trie: catalog_trie.CatalogTrie,
    excluded: jax.Array,
    item_scores: jax.Array | None,
    allowed: jax.Array | None,
  ) -> jax.Array:
    return catalog_beam.beam_search(
      reading.Reading(model.module, params, batch),
      trie,
      batch_size=len(excluded),
      num_beams=num_beams,
      num_decodes=k,
      normalization=model.score_normalization,
      conditions=leaf_intervals.Conditions(
        allowed=allowed, excluded=excluded, item_scores=item_scores
      ),
    ).items

  return jax.jit(search)


@functools.lru_cache(maxsize=16)
def _free_fn(model: Any, k: int, max_length: int) -> Any:
  config = generation.GenerationConfig(
    num_beams=k,
    num_decodes=k,
    # Likelihoods as they are: what candidates are ranked by.
    length_penalty_alpha=0.0,
    max_decode_length=max_length,
    eos_id=model.module.config.eos_id,
  )

  def search(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
    found = generation.generate(model.module, params, batch, config)
    return found.sequences

  return jax.jit(search)


@functools.lru_cache(maxsize=16)
def _lists_fn(
  model: Any,
  policy: list_policy.ListPolicy,
  num_lists: int,
  temperature: float,
) -> Any:
  def write(
    params: Any,
    batch: dict[str, jax.Array],
    trie: catalog_trie.CatalogTrie,
    requests: list_policy.ListRequests,
    rng: jax.Array,
  ) -> list_policy.TitleLists:
    return title_lists.write_lists(
      reading.Reading(model.module, params, batch),
      trie,
      requests,
      policy,
      num_lists=num_lists,
      temperature=temperature,
      rng=rng,
    )

  return jax.jit(write)
