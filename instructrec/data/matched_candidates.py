"""Negatives that are as popular as the target.

Among uniform negatives the target is mostly the best known item, and
popularity alone gets far. Here negatives are drawn from the items next to the
target in the order of popularity, as many above it as below, so that
popularity says next to nothing and what is left is taste. The target is in the
middle: popularity by itself puts it first less often than chance would, which
is how the lists are made and does not make popularity wrong. It is counted in
the training log: counted with the target's own interaction, the target would
stand among items that only look as popular.
"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Int, UInt64

from instructrec.data import candidates, catalog, interaction

WINDOW = 60


def popularity_ranks(
  items: catalog.Catalog, training_log: interaction.InteractionLog
) -> Int[np.ndarray, " items"]:
  """Place of each item of the catalogue in the order of popularity.

  Args:
    items: the catalogue.
    training_log: what popularity is counted in.

  Returns:
    0 for the most popular; of equally popular ones the catalogue's first is
    the first.
  """
  counts = training_log.item_counts
  order = np.argsort([-counts[i] for i in items.item_ids], kind="stable")
  ranks = np.empty(len(items), np.int64)
  ranks[order] = np.arange(len(items))
  return ranks


def sample(
  requests: pl.DataFrame,
  items: catalog.Catalog,
  log: interaction.InteractionLog,
  training_log: interaction.InteractionLog,
  *,
  num_negatives: int = 9,
  window: int = WINDOW,
  seed: int = 0,
) -> tuple[pl.DataFrame, int]:
  """Adds `candidates` and `label`, as `candidates.sample_candidates` does.

  A request's negatives are drawn uniformly from the items within `window`
  ranks of its target, on either side, that its user never touches. Where these
  are too few, the window is doubled until they are not.

  Args:
    requests: a table with `request_id`, `user_id` and `target`.
    items: what can be drawn.
    log: all interactions: gives what a user touches.
    training_log: what popularity is counted in.
    num_negatives: how many negatives.
    window: ranks on either side.
    seed: of the draws, which depend on it and the request alone.

  Returns:
    The table with the two columns, and how many windows were widened.

  Raises:
    ValueError: for a window below 1, or where the catalogue has too few items
      that a user never touches.
  """
  if window < 1:
    raise ValueError(f"window is {window}, expected at least one rank")
  ranks = popularity_ranks(items, training_log)
  by_rank = np.argsort(ranks)
  touched = {
    user: {ranks[items.index(item)] for item in taken}
    for user, taken in zip(*log.sequences(), strict=True)
  }
  ids = requests["request_id"].to_list()
  rows = candidates.request_keys(ids, seed)
  # Mixed once more: the random baseline ranks by `pair_uniforms`, and with the
  # same seed its last items would be the negatives.
  columns = candidates.mix(candidates.request_keys(items.item_ids, seed + 1))
  columns = columns[by_rank]
  target = np.array([items.index(i) for i in requests["target"]], np.int64)
  found = np.zeros((len(ids), num_negatives), np.int64)
  num_widened = 0
  for i, user in enumerate(requests["user_id"]):
    free = np.ones(len(items), bool)
    free[[*touched[user], ranks[target[i]]]] = False
    pool, widened = _pool(free, int(ranks[target[i]]), window, num_negatives)
    if len(pool) < num_negatives:
      raise ValueError(
        f"the catalogue has {len(pool)} items that the user of request "
        f"{ids[i]!r} never touches, expected at least {num_negatives} for "
        f"{num_negatives} negatives; ask for fewer candidates"
      )
    num_widened += widened
    found[i] = by_rank[_least(rows[i], columns, pool, num_negatives)]
  lists = candidates.with_lists(requests, items, target, found, rows)
  return lists, num_widened


def _pool(
  free: Bool[np.ndarray, " items"], place: int, window: int, wanted: int
) -> tuple[Int[np.ndarray, " pool"], bool]:
  """Ranks that may be drawn, and whether the window had to grow."""
  reach = window
  while True:
    start = max(0, place - reach)
    pool = start + np.flatnonzero(free[start : place + reach + 1])
    if len(pool) >= wanted or reach >= len(free):
      return pool, reach > window
    reach *= 2


def _least(
  row: np.uint64,
  columns: UInt64[np.ndarray, " items"],
  pool: Int[np.ndarray, " pool"],
  count: int,
) -> Int[np.ndarray, " count"]:
  """The items of the pool with the least numbers, which are a uniform draw."""
  keys = candidates.mix(row ^ columns[pool])
  return pool[np.argsort(keys, kind="stable")[:count]]
