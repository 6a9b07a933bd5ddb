"""Seeded candidate sets: the target and N negatives, in random order.

Each request's draw depends only on (seed, request id): the same request gets
the same candidates in any subset, order or batch of requests. The random
numbers are a hash (splitmix64) of the seed, the request id and a counter.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int, UInt64

from instructrec import progress
from instructrec.data import catalog, interaction

Strategy = Literal["uniform", "popularity"]
_CHUNK = 16_384
_LONG = 100_000
"""Requests whose draws take long enough to be watched."""


def mix(x: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
  """The splitmix64 finaliser: 64 well-mixed bits of each input."""
  x = (x + np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def request_keys(ids: list[str], seed: int) -> UInt64[np.ndarray, " requests"]:
  """64 bits for each request, from its id and the seed alone.

  FNV-1a over the UTF-8 bytes, mixed with the seed.
  """
  keys = np.empty(len(ids), np.uint64)
  for i, request_id in enumerate(ids):
    value = 0xCBF29CE484222325
    for byte in request_id.encode():
      value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    keys[i] = value
  return mix(keys ^ mix(np.array([seed], np.uint64)))


def _uniforms(
  keys: UInt64[np.ndarray, " requests"], first: int, count: int
) -> np.ndarray:
  """Doubles in [0, 1), `[requests, count]`, of the counters from `first`."""
  counters = mix(np.arange(first, first + count, dtype=np.uint64))
  return _doubles(mix(keys[:, None] ^ counters[None, :]))


def _doubles(bits: UInt64[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
  """Doubles in [0, 1) of the 53 bits that a double holds."""
  return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def pair_uniforms(
  request_ids: list[str], item_ids: list[str], seed: int
) -> Float[np.ndarray, "requests items"]:
  """A double in [0, 1) for each pair of a request and an item.

  Args:
    request_ids: the rows.
    item_ids: the columns.
    seed: of the numbers.

  Returns:
    Numbers that depend on (seed, request id, item id) alone.
  """
  # Items are keyed by another seed: a request and an item of the same id
  # would cancel each other.
  rows = request_keys(request_ids, seed)
  columns = request_keys(item_ids, seed + 1)
  return _doubles(mix(rows[:, None] ^ columns[None, :]))


def shuffle(
  request_id: str, item_ids: Sequence[str], seed: int
) -> tuple[str, ...]:
  """The items of a list in an order drawn by seed.

  Args:
    request_id: whose list.
    item_ids: distinct items.
    seed: of the order.

  Returns:
    The items; their order depends on (seed, request id) and on which items
    they are, and not on the order in which they came.
  """
  keys = pair_uniforms([request_id], list(item_ids), seed)[0]
  return tuple(item_ids[i] for i in np.argsort(keys))


def sample_candidates(
  requests: pl.DataFrame,
  items: catalog.Catalog,
  log: interaction.InteractionLog,
  *,
  num_negatives: int = 9,
  strategy: Strategy = "uniform",
  seed: int = 0,
) -> pl.DataFrame:
  """Adds `candidates` (item ids) and `label` (the target's index).

  Negatives are distinct and none that the user ever touched. The target's
  position is uniform.

  Args:
    requests: a table with `request_id`, `user_id` and `target`.
    items: what can be drawn.
    log: all interactions: gives what a user touched, and popularity.
    num_negatives: how many negatives.
    strategy: "uniform" over the catalogue, or "popularity": in proportion to
      the number of interactions.
    seed: of the draws.

  Returns:
    The table with the two columns.

  Raises:
    ValueError: for an unknown strategy, or where the catalogue is too small.
  """
  if strategy not in ("uniform", "popularity"):
    raise ValueError(
      f"unknown strategy {strategy!r}; expected 'uniform' or 'popularity'"
    )
  index = pl.DataFrame(
    {"item_id": items.item_ids, "item": np.arange(len(items))}
  )
  touched = log.frame.select("user_id", "item_id").join(index, on="item_id")
  cumulative = None
  drawable = len(items)
  if strategy == "popularity":
    counts = np.bincount(touched["item"].to_numpy(), minlength=len(items))
    drawable = int((counts > 0).sum())
    cumulative = np.cumsum(counts) / counts.sum()
  # Items, and not interactions: a user may take one again.
  own = touched.group_by("user_id").agg(pl.col("item").n_unique())
  most = int(own["item"].to_numpy().max())
  if drawable < most + num_negatives:
    raise ValueError(
      f"the catalogue has {drawable} items to draw from; a user who touched "
      f"{most} of them needs at least {most + num_negatives} for "
      f"{num_negatives} negatives; ask for fewer"
    )
  users = {u: i for i, u in enumerate(log.frame["user_id"].unique())}
  seen = np.sort(
    np.array([users[u] for u in touched["user_id"]], np.int64) * len(items)
    + touched["item"].to_numpy()
  )
  owner = np.array([users[u] for u in requests["user_id"]], np.int64)
  target = np.array([items.index(i) for i in requests["target"]], np.int64)
  keys = request_keys(requests["request_id"].to_list(), seed)
  found = [np.zeros((0, num_negatives), np.int64)]
  with progress.Progress(
    len(keys), "candidates", unit="requests", enabled=len(keys) > _LONG
  ) as line:
    for i in range(0, len(keys), _CHUNK):
      part = slice(i, i + _CHUNK)
      found.append(
        _draw(
          keys[part], owner[part], seen, num_negatives, len(items), cumulative
        )
      )
      line.advance(len(found[-1]))
  return with_lists(requests, items, target, np.concatenate(found), keys)


def with_lists(
  requests: pl.DataFrame,
  items: catalog.Catalog,
  target: Int[np.ndarray, " requests"],
  negatives: Int[np.ndarray, "requests negatives"],
  keys: UInt64[np.ndarray, " requests"],
) -> pl.DataFrame:
  """Adds `candidates` and `label`: negatives with the target among them.

  Args:
    requests: a table with a row a request.
    items: the catalogue.
    target: each request's target, as a place in the catalogue.
    negatives: places in the catalogue, in the order in which they are to
      stand.
    keys: from `request_keys`; they place the target.

  Returns:
    The table with the two columns.
  """
  count = negatives.shape[1] + 1
  # Counter 0 places the target; negatives start at counter 1.
  label = (_uniforms(keys, 0, 1)[:, 0] * count).astype(np.int64)
  lists = np.empty((len(keys), count), np.int64)
  slots = np.arange(count)[None, :]
  lists[slots != label[:, None]] = negatives.reshape(-1)
  lists[np.arange(len(keys)), label] = target
  ids = np.array(items.item_ids, dtype=object)
  return requests.with_columns(
    pl.Series("candidates", ids[lists].tolist(), pl.List(pl.String)),
    pl.Series("label", label),
  )


def unseen_warnings(
  items: catalog.Catalog, log: interaction.InteractionLog, strategy: Strategy
) -> list[str]:
  """What a reader of figures over uniform negatives should know.

  Args:
    items: what negatives are drawn from.
    log: all interactions.
    strategy: how they are drawn.

  Returns:
    A warning where more than a tenth of the items have no interaction.
  """
  unseen = len(items) - log.num_items
  if strategy != "uniform" or unseen <= len(items) / 10:
    return []
  return [
    f"{unseen:,} of the {len(items):,} items that negatives are drawn from "
    "have no interaction, and popularity alone tells these from the target; "
    "draw them with --negatives=popularity, or leave such items out of the "
    "catalogue (a k-core does, without --keep_rare_items)"
  ]


def _draw(
  keys: UInt64[np.ndarray, " requests"],
  owner: Int[np.ndarray, " requests"],
  seen: Int[np.ndarray, " interactions"],
  count: int,
  num_items: int,
  cumulative: np.ndarray | None,
) -> Int[np.ndarray, "requests count"]:
  """Rejection sampling in rounds until every request has its negatives.

  A round draws a few numbers a request and keeps, in order, those that are
  new to the request and to the user.
  """
  chosen = np.full((len(keys), count), -1, np.int64)
  filled = np.zeros(len(keys), np.int64)
  counter = 1
  while (open_rows := np.flatnonzero(filled < count)).size:
    values = _uniforms(keys[open_rows], counter, count + 2)
    counter += count + 2
    if cumulative is None:
      drawn = (values * num_items).astype(np.int64)
    else:
      drawn = np.searchsorted(cumulative, values, side="right")
    for column in drawn.T:
      rows = open_rows
      code = owner[rows] * num_items + column
      place = np.minimum(np.searchsorted(seen, code), len(seen) - 1)
      fresh = (
        (seen[place] != code)
        & (filled[rows] < count)
        & ~(chosen[rows] == column[:, None]).any(1)
      )
      taken = rows[fresh]
      chosen[taken, filled[taken]] = column[fresh]
      filled[taken] += 1
  return chosen
