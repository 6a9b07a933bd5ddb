r"""Lists that a model wrote itself, title by title, over a whole catalogue.

A written list has k places, best first. A place holds an item, a text that is
no title of the catalogue, or nothing. As in the GenRec paper (section 4) a hit
is the target at a place, by item id or by its exact title, and every place
counts, also one that repeats an earlier one. Beside hits:

    invalid    = places with a text that is no title / places
    repeated   = places with an item of an earlier place / places
    in history = places with an item of the request's history / places
    short      = requests with an empty place / requests

Between two lists of the same requests, `recall` is the share of the one's items
that the other holds as well: how far a beam finds what an exact search finds.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import intervals, markdown, metrics

INVALID, EMPTY = -1, -2
"""What stands at a place that names no item, and at one that has no text."""


@dataclasses.dataclass(frozen=True, eq=False)
class Written:
  """Lists of one method.

  Attributes:
    items: index of the item at each place, `INVALID` or `EMPTY`.
  """

  items: Int[np.ndarray, "requests places"]

  @property
  def is_item(self) -> Bool[np.ndarray, "requests places"]:
    """Which places hold an item."""
    return self.items >= 0

  def ranks(
    self, targets: Int[np.ndarray, " requests"], num_items: int
  ) -> metrics.Ranks:
    """Where the targets stand.

    Args:
      targets: index of each request's target.
      num_items: of the catalogue: the rank of a target that is not written.

    Returns:
      The ranks; a text that is no title takes a place as an item does.
    """
    hit = self.items == targets[:, None]
    # Nothing that was written ranks among what follows it.
    greater = np.where(hit.any(1), hit.argmax(1), num_items - 1)
    return metrics.Ranks(greater, np.ones(len(hit), np.int64), 0)

  def rates(
    self, history: Sequence[Sequence[int]]
  ) -> dict[str, Float[np.ndarray, " requests"]]:
    """What is wrong with each list.

    Args:
      history: indices of the items of each request's history.

    Returns:
      Shares of places, and whether the list is short, by name.
    """
    is_item, places = self.is_item, self.items.shape[1]
    known = np.array(
      [
        np.isin(row, list(taken))
        for row, taken in zip(self.items, history, strict=True)
      ]
    ).reshape(self.items.shape)
    return {
      "invalid": (self.items == INVALID).sum(1) / places,
      "repeated": repeated(self.items).sum(1) / places,
      "in history": (known & is_item).sum(1) / places,
      "short": (self.items == EMPTY).any(1).astype(np.float64),
    }

  def recall(self, other: "Written") -> Float[np.ndarray, " requests"]:
    """Share of another's items that these lists hold.

    Args:
      other: lists of the same requests.

    Returns:
      Of each request; 1 where the other is empty.
    """
    found = []
    for own, wanted in zip(self.items, other.items, strict=True):
      items = np.unique(wanted[wanted >= 0])
      found.append(np.isin(items, own).mean() if len(items) else 1.0)
    return np.array(found)


def padded(
  lists: Sequence[Sequence[int]], fill: int = EMPTY
) -> Int[np.ndarray, "lists places"]:
  """Lists of places of a catalogue as one array.

  Args:
    lists: of any lengths.
    fill: what stands behind each.

  Returns:
    As wide as the longest, int64.
  """
  width = max(map(len, lists), default=0)
  found = np.full((len(lists), width), fill, np.int64)
  for row, items in zip(found, lists, strict=True):
    row[: len(items)] = items
  return found


def repeated(
  items: Int[Any, "*lists places"],
) -> Bool[Any, "*lists places"]:
  """Which places hold an item that stands at an earlier place.

  Args:
    items: NumPy's or JAX's; negative where there is none.

  Returns:
    Truth values.
  """
  same = items[..., :, None] == items[..., None, :]
  earlier = np.tri(items.shape[-1], k=-1, dtype=bool)
  return (same & earlier).any(-1) & (items >= 0)


def section(
  group: str,
  lists: Mapping[str, Written],
  history: Sequence[Sequence[int]],
  *,
  exact: Mapping[str, Written] | None = None,
  seed: int = 0,
  clusters: Sequence[str] | None = None,
) -> list[str]:
  """A table of what is wrong with written lists.

  Args:
    group: name of the requests.
    lists: of each method.
    history: indices of the items of each request's history.
    exact: what an exact search finds for the first of the requests, by the
      method whose lists it judges.
    seed: of the bootstrap.
    clusters: the users, where they repeat.

  Returns:
    Lines of Markdown.
  """
  names: tuple[str, ...] = ("invalid", "repeated", "in history", "short")
  if exact:
    names = (*names, "recall of the exact")
  rows = []
  for name, written in lists.items():
    values = written.rates(history)
    found = intervals.bootstrap(
      np.stack(list(values.values()), 1), seed=seed, clusters=clusters
    )
    cells = dict(zip(values, map(_cell, found), strict=True))
    if exact and name in exact:
      count = len(exact[name].items)
      recall = Written(written.items[:count]).recall(exact[name])
      (own,) = intervals.bootstrap(
        recall[:, None],
        seed=seed,
        clusters=None if clusters is None else clusters[:count],
      )
      cells[names[-1]] = f"{_cell(own)}, {count} requests"
    rows.append((name, *(cells.get(column, "-") for column in names)))
  return [
    f"## Written lists: {group}",
    "",
    "Shares of the places of a list that hold no title of the catalogue, an "
    "item of an earlier place, an item of the history; of lists with fewer "
    "titles than asked for"
    + (
      "; and of the items that an exact search finds, those that the list has."
      if exact
      else "."
    ),
    "",
    markdown.table(("method", *names), rows),
    "",
  ]


def _cell(found: intervals.Interval) -> str:
  return f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"
