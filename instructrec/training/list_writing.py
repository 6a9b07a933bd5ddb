"""Lists of titles that a model writes, in compiled batches."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from instructrec.models.generation import (
  catalog_trie,
  catalog_walk,
  leaf_intervals,
  list_policy,
  list_quota,
  title_lists,
)
from instructrec.models.networks import reading
from instructrec.models.scoring import features
from instructrec.training import item_arrays, title_writing

SPARE = 5
"""Entries beyond those asked for, with which a free text is cut."""


@dataclasses.dataclass(frozen=True)
class Filter:
  """How many items of lists are to have something, to be kept exactly.

  Attributes:
    having: which items of the catalogue have it, one mask a request.
    at_least: of each list.
    at_most: likewise.
  """

  having: Sequence[Bool[np.ndarray, " items"]]
  at_least: Int[np.ndarray, " requests"]
  at_most: Int[np.ndarray, " requests"]


@dataclasses.dataclass(frozen=True, eq=False)
class ListWriter:
  """A model that writes lists, the likeliest token each time.

  Attributes:
    model: a `ranking_model.NetworkRankingModel`.
    params: its parameters.
    trie: the catalogue's titles.
    separator_id: the token between titles.
    max_items: titles of the longest list.
    items: as batches show them; None for a model of text alone.
    batch_size: requests that are written for at once.

  Raises:
    ValueError: where a title has the separator among its tokens.
  """

  model: Any
  params: Any
  trie: catalog_trie.CatalogTrie
  separator_id: int
  max_items: int
  items: item_arrays.ItemArrays | None = None
  batch_size: int = 16

  def __post_init__(self) -> None:
    """Checks that titles can stand in lists."""
    self._policy.check(self.trie)

  @property
  def _policy(self) -> list_policy.ListPolicy:
    return list_policy.ListPolicy(
      separator_id=self.separator_id,
      max_items=self.max_items,
      probability=catalog_walk.OPEN,
    )

  @functools.cached_property
  def _tables(self) -> catalog_trie.CatalogTrie:
    return jax.device_put(self.trie)

  def write(
    self,
    prompts: title_writing.Prompts,
    lengths: Int[np.ndarray, " requests"],
    excluded: Int[np.ndarray, "requests excluded"],
    *,
    keep: Filter | None = None,
    label: str = "write lists",
  ) -> Int[np.ndarray, "requests places"]:
    """Lists of the catalogue's titles, none twice.

    Args:
      prompts: the requests.
      lengths: titles of each list.
      excluded: numbers of items that a request may not get, from 1; 0 is none.
      keep: what lists are held to, whatever the model says; None for nothing.
      label: what the progress line says.

    Returns:
      Item numbers from 1, in the order of the list; 0 behind its end.
    """
    write = _write_fn(self.model, self._policy)
    width = int(features.padded_lengths(max(1, excluded.shape[1])))
    banned = np.zeros((len(prompts), width), np.int32)
    banned[:, : excluded.shape[1]] = excluded

    def run(chosen: np.ndarray, _start: int, _stop: int) -> np.ndarray:
      asked = list_policy.ListRequests(
        jnp.asarray(lengths[chosen], jnp.int32),
        leaf_intervals.Conditions(excluded=jnp.asarray(banned[chosen])),
        None if keep is None else self._quota(keep, chosen),
      )
      batch = prompts.batch(chosen, self.items)
      return write(self.params, batch, self._tables, asked).items[:, 0]

    return title_writing.in_batches(len(prompts), self.batch_size, run, label)

  def _quota(self, keep: Filter, chosen: np.ndarray) -> list_quota.Quota:
    having = np.zeros((len(chosen), self.trie.capacity), bool)
    for row, request in zip(having, chosen, strict=True):
      mask = keep.having[request]
      row[: len(mask)] = mask
    return list_quota.Quota(
      jnp.asarray(having),
      jnp.asarray(keep.at_least[chosen], jnp.int32),
      jnp.asarray(keep.at_most[chosen], jnp.int32),
    )

  def write_freely(
    self, prompts: title_writing.Prompts, *, label: str = "write freely"
  ) -> Int[np.ndarray, "requests length"]:
    """What the model writes without a catalogue to keep to.

    Args:
      prompts: the requests.
      label: what the progress line says.

    Returns:
      Tokens with the end token, then 0. A text is cut where it has `SPARE`
      entries more than the longest list, or as many tokens as these could have.
    """
    policy = dataclasses.replace(
      self._policy, max_items=self.max_items + SPARE, constrained=False
    )
    write = _write_fn(self.model, policy)
    lengths = jnp.full(self.batch_size, policy.max_items, jnp.int32)

    def run(chosen: np.ndarray, _start: int, _stop: int) -> np.ndarray:
      batch = prompts.batch(chosen, self.items)
      asked = list_policy.ListRequests(lengths)
      return write(self.params, batch, self._tables, asked).tokens[:, 0]

    return title_writing.in_batches(len(prompts), self.batch_size, run, label)


@functools.lru_cache(maxsize=16)
def _write_fn(model: Any, policy: list_policy.ListPolicy) -> Any:
  def write(
    params: Any,
    batch: dict[str, jax.Array],
    trie: catalog_trie.CatalogTrie,
    requests: list_policy.ListRequests,
  ) -> list_policy.TitleLists:
    return title_lists.write_lists(
      reading.Reading(model.module, params, batch), trie, requests, policy
    )

  return jax.jit(write)
