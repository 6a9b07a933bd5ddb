"""Control metrics of a method's lists, as columns and as means.

| column | of each list |
|---|---|
| CorrectCount | 1 where it has as many entries as asked for |
| TooMany, TooFew | entries behind the k-th; entries that are missing |
| NonExist | entries that are no title |
| EmptyEntry | those of them without text |
| RepeatItem, InHistory | items of an earlier place; of the history |
| WrongNumber | separators that say another number than that of what follows |
| HR@10 and others | `evaluation.metrics`, of the target among the first k |
| TCP | good items that have what the wish speaks of / k |
| CPA, CPA within one | 1 where the shortfall is 0; at most 1 |
| TCP plain, CPA plain | the same of the method's list without a wish |
| TCP lift | TCP - TCP plain |
| control cost | NDCG without a wish - NDCG with it |
| control cost where obeyed | that of lists with CPA 1 |

Errors are numbers of entries, as RecLM-gen counts them. Two of its metrics are
mended: TCP and CPA count good items alone, so that for lists without mistakes
they are the paper's. Where no item is as the wish says (`Case.EMPTY_POOL`), TCP
and CPA are not defined: NaN. WrongNumber is added by what read the texts, for
items do not tell it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import bias, control, generated, intervals, metrics

MISNUMBERED = "WrongNumber"
ACCURACY = ("HR@10", "NDCG@10", "MRR@10")
COST_OF = "NDCG@10"
"""What control may cost."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
  """Lists of one method.

  Attributes:
    items: of each place, best first; `generated.INVALID`, `control.BLANK` or
      `generated.EMPTY` where there is none. There may be more places than were
      asked for.
    k: how many items were asked for.
    history: items of each request's history; -1 where it has fewer.

  Raises:
    ValueError: where shapes or numbers do not fit.
  """

  items: Int[np.ndarray, "lists places"]
  k: Int[np.ndarray, " lists"]
  history: Int[np.ndarray, "lists seen"]

  def __post_init__(self) -> None:
    """Checks the arrays."""
    shapes = self.items.shape, self.k.shape, self.history.shape
    if (
      self.items.ndim != 2
      or self.history.ndim != 2
      or self.k.shape != self.items.shape[:1]
      or self.history.shape[:1] != self.k.shape
    ):
      raise ValueError(
        f"items, k and history have shapes {shapes}; expected "
        "[lists, places], [lists] and [lists, seen]"
      )
    if len(self.k) and self.k.min() < 1:
      raise ValueError(f"k is {self.k.min()}, expected at least 1 item a list")
    if self.items.size and self.items.min() < control.BLANK:
      raise ValueError(
        f"items hold {self.items.min()}; expected indices, "
        f"{generated.INVALID} for no title, {generated.EMPTY} for no entry or "
        f"{control.BLANK} for an entry without text"
      )

  @property
  def good(self) -> Bool[np.ndarray, "lists places"]:
    """Which places hold an item with which nothing is wrong."""
    return control.good(self.items, self.k, self.history)

  def accuracy(
    self,
    targets: Int[np.ndarray, " lists"],
    names: Sequence[str] = ACCURACY,
  ) -> dict[str, Float[np.ndarray, " lists"]]:
    """Metrics of the targets among the places that were asked for.

    Args:
      targets: index of each target.
      names: of metrics with a cut-off.

    Returns:
      Values by name.

    Raises:
      ValueError: where a name is that of no metric, or has no cut-off.
    """
    cutoffs = {name: metrics.cutoff(name) for name in names}
    if whole := [name for name, cutoff in cutoffs.items() if cutoff is None]:
      raise ValueError(
        f"{whole[0]} takes the whole catalogue; expected a metric with a "
        f"cut-off, such as {whole[0]}@10: a list says nothing of the rest"
      )
    inside = control.within(self.items, self.k)
    written = generated.Written(np.where(inside, self.items, generated.EMPTY))
    # Behind every cut-off.
    last = max([self.items.shape[1], *filter(None, cutoffs.values())]) + 1
    ranks = written.ranks(targets, last)
    return metrics.from_ranks(ranks.greater, ranks.equal, names)

  def exposure(
    self, item_counts: Int[np.ndarray, " items"]
  ) -> bias.Exposure | None:
    """Coverage, Gini coefficient and popularity of the good items.

    Args:
      item_counts: training interactions of each item of the catalogue.

    Returns:
      The figures; None where no list has a good item.
    """
    shown = self.items[self.good]
    if not shown.size:
      return None
    found = bias.exposure(shown[None], item_counts)
    return dataclasses.replace(found, k=int(self.k.max()))


def per_list(
  lists: Lists,
  targets: Int[np.ndarray, " lists"],
  wish: control.Wish,
  has: Bool[np.ndarray, "lists places"],
  *,
  plain: Lists | None = None,
  plain_has: Bool[np.ndarray, "lists places"] | None = None,
  names: Sequence[str] = ACCURACY,
) -> dict[str, Float[np.ndarray, " lists"]]:
  """Every metric of each list; see the module.

  Args:
    lists: of the method, under the wish.
    targets: index of each target.
    wish: what was asked for; of direction PLAIN, nothing.
    has: which places hold an item that has what the wish speaks of.
    plain: the method's lists for the same requests without a wish.
    plain_has: as `has`, of these.
    names: of metrics with a cut-off.

  Returns:
    float64 columns by name; NaN where a metric is not defined.

  Raises:
    ValueError: where shapes or names do not fit.
  """
  _check(lists, targets, wish, has)
  wrong = control.errors(lists.items, lists.k, lists.history)
  columns: dict[str, Any] = {
    "CorrectCount": control.correct_count(lists.items, lists.k, wish),
    "TooMany": wrong.too_many.sum(1),
    "TooFew": control.num_missing(lists.items, lists.k, wish),
    "NonExist": wrong.invalid.sum(1),
    "EmptyEntry": wrong.blank.sum(1),
    "RepeatItem": wrong.repeated.sum(1),
    "InHistory": wrong.in_history.sum(1),
    **lists.accuracy(targets, names),
  }
  columns |= _control(lists, wish, has)
  if plain is not None:
    if plain_has is None:
      raise ValueError("plain lists come with plain_has: what their items have")
    _check(plain, targets, wish, plain_has)
    without = _control(plain, wish, plain_has)
    columns["TCP plain"] = without["TCP"]
    columns["CPA plain"] = without["CPA"]
    columns["TCP lift"] = columns["TCP"] - without["TCP"]
    before, after = (
      each.accuracy(targets, (COST_OF,))[COST_OF] for each in (plain, lists)
    )
    cost = before - after
    columns["control cost"] = cost
    columns["control cost where obeyed"] = np.where(
      columns["CPA"] == 1, cost, np.nan
    )
  return {name: np.asarray(each, np.float64) for name, each in columns.items()}


def _control(
  lists: Lists, wish: control.Wish, has: Bool[np.ndarray, "lists places"]
) -> dict[str, Float[np.ndarray, " lists"]]:
  """How far lists are as the wish says; NaN where none could be."""
  good = lists.good
  missing = control.shortfall(has, good, lists.k, wish)
  impossible = control.is_empty(wish, lists.k)
  return {
    name: np.where(impossible, np.nan, each)
    for name, each in (
      ("TCP", (good & has).sum(1) / lists.k),
      ("CPA", missing == 0),
      ("CPA within one", missing <= 1),
    )
  }


def _check(
  lists: Lists,
  targets: Int[np.ndarray, " lists"],
  wish: control.Wish,
  has: Bool[np.ndarray, "lists places"],
) -> None:
  if has.shape != lists.items.shape or has.dtype != bool:
    raise ValueError(
      f"what items have is of shape {has.shape} and dtype {has.dtype}; "
      f"expected truth values {lists.items.shape}, one for each place"
    )
  for name, each in (("targets", targets), *wish._asdict().items()):
    if each.shape != lists.k.shape:
      raise ValueError(
        f"{name} have shape {each.shape}, expected {lists.k.shape}: one for "
        "each list"
      )
  if (wish.count > lists.k).any() or (wish.count < 0).any():
    raise ValueError(
      f"a wish is for {wish.count.max()} items at most and "
      f"{wish.count.min()} at least, of lists of {lists.k.min()} or more; "
      "expected 0 to k"
    )


def turns(
  first: Int[np.ndarray, " lists"],
  second: Int[np.ndarray, " lists"],
  most: Int[np.ndarray, " lists"],
) -> Float[np.ndarray, " lists"]:
  """Whether a second sentence ("more of those") is met by the second list.

  "Fewer of those" is more of the others: items count that have it not.

  Args:
    first: good items of the first list that the correction asks more of.
    second: likewise of the second list.
    most: how many there can be.

  Returns:
    1 where there are more, or as many as there can be.
  """
  return ((second > first) | (second >= most)).astype(np.float64)


def held(
  first: Int[np.ndarray, " lists"], second: Int[np.ndarray, " lists"]
) -> Float[np.ndarray, " lists"]:
  """Whether the first wish still holds after a correction.

  Args:
    first: shortfall of the first list for the first wish.
    second: shortfall of the second list for it.

  Returns:
    1 where the second list obeys, 0 where it does not any more, and NaN where
    the first did not.
  """
  return np.where(first == 0, second == 0, np.nan)


def summary(
  columns: Mapping[str, Float[np.ndarray, " lists"]],
  *,
  seed: int,
  num_resamples: int = intervals.NUM_RESAMPLES,
  clusters: Sequence[Any] | np.ndarray | None = None,
) -> dict[str, intervals.Interval | None]:
  """Means with bootstrap intervals, each over the lists that have the metric.

  Args:
    columns: as `per_list` gives them.
    seed: of the resampling.
    num_resamples: how many resamples.
    clusters: see `intervals.bootstrap`.

  Returns:
    An interval by name; None where no list has the metric.
  """
  groups: dict[bytes, list[str]] = {}
  for name, column in columns.items():
    groups.setdefault(np.isfinite(column).tobytes(), []).append(name)
  found: dict[str, intervals.Interval | None] = {}
  for mask, names in groups.items():
    where = np.frombuffer(mask, bool)
    if not where.any():
      found |= dict.fromkeys(names)
      continue
    means = intervals.bootstrap(
      np.stack([columns[name][where] for name in names], 1),
      seed=seed,
      num_resamples=num_resamples,
      clusters=None if clusters is None else np.asarray(clusters)[where],
    )
    found |= zip(names, means, strict=True)
  return {name: found[name] for name in columns}
