r"""Ranking metrics of candidate lists with one right candidate, in NumPy.

For a request let `greater` be the number of candidates that score above the
right one, and `equal` the number that score the same, itself included. Under
uniformly random tie-breaking the right one has each of the ranks
`greater + 1 ... greater + equal` with probability `1 / equal`. A metric says
what a rank is worth (`FORMULAS`), nothing past its cut-off K, and is the
expected worth:

    metric@K = (1 / equal) * sum of worth(rank) over ranks <= K

The closed form takes differences of prefix sums over the ranks, so a tie costs
no more than any other score. A score that is not a number counts as worse than
any other, minus infinity included; `count_nan` says how many there are.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Formula:
  """What a metric makes of the rank of the right candidate.

  Attributes:
    worth: from the ranks 1, 2, ..., float64 `[ranks]`, and the cut-off to what
      each is worth; ranks past the cut-off are worth nothing whatever it says.
    whole: whether the metric also goes without a cut-off, over whole lists; the
      cut-off that `worth` gets is then the number of ranks.
  """

  worth: Callable[[Float[np.ndarray, " ranks"], int], np.ndarray]
  whole: bool = False


FORMULAS = {
  "HR": Formula(lambda ranks, cutoff: np.ones_like(ranks)),
  "NDCG": Formula(lambda ranks, cutoff: 1 / np.log2(ranks + 1), whole=True),
  "MRR": Formula(lambda ranks, cutoff: 1 / ranks, whole=True),
  # With one right candidate these are what others call HR, MRR and HR / K.
  "Recall": Formula(lambda ranks, cutoff: np.ones_like(ranks)),
  "MAP": Formula(lambda ranks, cutoff: 1 / ranks, whole=True),
  "Precision": Formula(lambda ranks, cutoff: np.ones_like(ranks) / cutoff),
}
"""By name; `NAME@K`, and `NAME` of those over whole lists, are metrics."""
_CUTOFF = re.compile("[1-9][0-9]{0,8}")

HIT_RATE_AT = (1, 3, 5, 10)
NDCG_AT = (3, 5, 10)


def default_names(
  hit_rate_at: Sequence[int] = HIT_RATE_AT, ndcg_at: Sequence[int] = NDCG_AT
) -> tuple[str, ...]:
  """The metrics of the InstructRec paper, and MRR.

  Args:
    hit_rate_at: cut-offs K of HR@K.
    ndcg_at: cut-offs K of NDCG@K.

  Returns:
    Names in this order.
  """
  hits = (f"HR@{k}" for k in hit_rate_at)
  return (*hits, *(f"NDCG@{k}" for k in ndcg_at), "MRR")


NAMES = default_names()
"""What evaluations have where nothing else is asked for."""
# Rows of scores looked at together: comparisons stay in the cache, and a
# million lists need no more memory than a few thousand.
_CHUNK = 4_000


def parse(given: Iterable[str]) -> tuple[str, ...]:
  """Reads names of metrics.

  Args:
    given: names such as `HR@20`, or several in one text with commas.

  Returns:
    The names, in order.

  Raises:
    ValueError: for what is no metric, with the nearest name, and for one that
      is named twice.
  """
  found: list[str] = []
  for name in (part.strip() for text in given for part in text.split(",")):
    _formula(name)
    if name in found:
      raise ValueError(f"the metric {name} is named twice; name it once")
    found.append(name)
  return tuple(found)


def cutoff(name: str) -> int | None:
  """The K of a metric's name; None where it takes whole lists.

  Args:
    name: such as HR@20.

  Returns:
    K.

  Raises:
    ValueError: for what is no metric.
  """
  return _formula(name)[1]


def _formula(name: str) -> tuple[Formula, int | None]:
  """What a name stands for, and its cut-off."""
  stem, at, given = name.partition("@")
  k = int(given) if _CUTOFF.fullmatch(given) else None
  formula = FORMULAS.get(stem)
  if formula is not None and (k or (formula.whole and not at)):
    return formula, k
  folded = {known.casefold(): known for known in FORMULAS}
  (close,) = difflib.get_close_matches(stem.casefold(), folded, n=1, cutoff=0.0)
  nearest = folded[close]
  if at or not FORMULAS[nearest].whole:
    nearest += f"@{k or 10}"
  whole = [known for known, each in FORMULAS.items() if each.whole]
  raise ValueError(
    f"there is no metric {name!r}; the nearest is {nearest}. A metric is "
    f"{', '.join(FORMULAS)} with @ and a cut-off of 1 or more, such as HR@20; "
    f"{', '.join(whole)} go without one, too"
  )


def _check(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  where: Bool[np.ndarray, "requests candidates"] | None,
) -> None:
  if scores.ndim != 2 or labels.shape != scores.shape[:1]:
    raise ValueError(
      f"scores have shape {scores.shape} and labels {labels.shape}; expected "
      "[requests, candidates] and [requests]"
    )
  if not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f"labels have dtype {labels.dtype}, expected integers: the index of the "
      "right candidate"
    )
  if where is not None and where.shape != scores.shape:
    raise ValueError(
      f"where has shape {where.shape}, expected that of the scores, "
      f"{scores.shape}"
    )
  if len(labels) and (labels.min() < 0 or labels.max() >= scores.shape[1]):
    raise ValueError(
      f"labels go from {labels.min()} to {labels.max()}, expected indices of "
      f"{scores.shape[1]} candidates"
    )
  if where is not None:
    empty = np.flatnonzero(~where[np.arange(len(labels)), labels])
    if len(empty):
      raise ValueError(
        f"the label of request {empty[0]} is {labels[empty[0]]}, a slot "
        "without candidate"
      )


def tied_ranks(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> tuple[Int[np.ndarray, " requests"], Int[np.ndarray, " requests"]]:
  """Counts what scores above, and the same as, the right candidate.

  Args:
    scores: higher is better.
    labels: index of the right candidate.
    where: which slots hold candidates; None for all.

  Returns:
    `greater` and `equal` (at least 1: the right candidate itself), int64.

  Raises:
    ValueError: where shapes or labels do not fit.
  """
  _check(scores, labels, where)
  greater = np.zeros(len(labels), np.int64)
  equal = np.ones(len(labels), np.int64)
  for start in range(0, len(labels), _CHUNK):
    rows = slice(start, start + _CHUNK)
    part = scores[rows]
    right = part[np.arange(len(part)), labels[rows]][:, None]
    above, same = part > right, part == right
    invalid = np.isnan(part)
    if invalid.any():
      # A number beats a NaN; NaN ties with NaN; else plain comparison.
      above |= ~invalid & np.isnan(right)
      same |= invalid & np.isnan(right)
    if where is not None:
      above &= where[rows]
      same &= where[rows]
    greater[rows] = np.count_nonzero(above, axis=1)
    equal[rows] = np.count_nonzero(same, axis=1)
  return greater, equal


def expected_rank(
  greater: Int[np.ndarray, " requests"],
  equal: Int[np.ndarray, " requests"],
) -> Float[np.ndarray, " requests"]:
  """Mean of the ranks that the right candidate may get; 1 is the best.

  Args:
    greater: candidates above the right one.
    equal: candidates tied with it, itself included.

  Returns:
    `greater + (equal + 1) / 2`.
  """
  return greater + (equal + 1) / 2


def count_nan(
  scores: Float[np.ndarray, "requests candidates"],
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> int:
  """How many scores of candidates are not numbers.

  Args:
    scores: any.
    where: which slots hold candidates; None for all.

  Returns:
    Their number.
  """
  total = 0
  for start in range(0, len(scores), _CHUNK):
    invalid = np.isnan(scores[start : start + _CHUNK])
    if where is not None:
      invalid &= where[start : start + _CHUNK]
    total += int(np.count_nonzero(invalid))
  return total


@dataclasses.dataclass(frozen=True)
class Ranks:
  """Where one method puts the right candidate of each request.

  Attributes:
    greater: candidates above it; see `tied_ranks`.
    equal: candidates tied with it, itself included.
    num_nan: scores that were not a number, over all requests.
  """

  greater: Int[np.ndarray, " requests"]
  equal: Int[np.ndarray, " requests"]
  num_nan: int = 0

  @classmethod
  def of(
    cls,
    scores: Float[np.ndarray, "requests candidates"],
    labels: Int[np.ndarray, " requests"],
    *,
    where: Bool[np.ndarray, "requests candidates"] | None = None,
  ) -> Self:
    """The ranks that scores give; args and errors are those of `tied_ranks`."""
    greater, equal = tied_ranks(scores, labels, where=where)
    return cls(greater, equal, count_nan(scores, where=where))


def from_ranks(
  greater: Int[np.ndarray, " requests"],
  equal: Int[np.ndarray, " requests"],
  names: Sequence[str] = NAMES,
) -> dict[str, Float[np.ndarray, " requests"]]:
  """Expected metrics of each request; see the module.

  Args:
    greater: candidates above the right one.
    equal: candidates tied with it, itself included.
    names: of the metrics.

  Returns:
    float64 values in [0, 1] by name, in the order of `names`.

  Raises:
    ValueError: where a name is that of no metric.
  """
  last = greater + equal
  ranks = np.arange(1.0, int(last.max(initial=1)) + 1)
  result = {}
  for name in names:
    formula, k = _formula(name)
    k = len(ranks) if k is None else k
    worth = np.where(ranks <= k, formula.worth(ranks, k), 0.0)
    prefix = np.concatenate([[0.0], np.cumsum(worth)])
    # A lone rank needs no prefix sums, whose difference would round.
    result[name] = np.where(
      equal == 1, worth[greater], (prefix[last] - prefix[greater]) / equal
    )
  return result


def per_request(
  scores: Float[np.ndarray, "requests candidates"],
  labels: Int[np.ndarray, " requests"],
  names: Sequence[str] = NAMES,
  *,
  where: Bool[np.ndarray, "requests candidates"] | None = None,
) -> dict[str, Float[np.ndarray, " requests"]]:
  """Metrics of each request.

  Args:
    scores: higher is better.
    labels: index of the right candidate.
    names: of the metrics.
    where: which slots hold candidates; None for all.

  Returns:
    float64 values by name, in the order of `names`.

  Raises:
    ValueError: where shapes, labels or names do not fit.

  Example:
    >>> values = per_request(np.array([[0.1, 0.9, 0.5]]), np.array([2]))
    >>> float(values["HR@1"][0]), float(values["MRR"][0])
    (0.0, 0.5)
  """
  greater, equal = tied_ranks(scores, labels, where=where)
  return from_ranks(greater, equal, names)


def chance(
  num_candidates: Sequence[int] | Int[np.ndarray, " requests"] | int,
  names: Sequence[str] = NAMES,
) -> dict[str, float]:
  """Each metric's mean where the order says nothing.

  Args:
    num_candidates: list length, or that of each request.
    names: of the metrics.

  Returns:
    Means by name: the value of a constant scorer.

  Raises:
    ValueError: where there is no list, or one without candidates.
  """
  counts = np.atleast_1d(np.asarray(num_candidates, np.int64))
  if not len(counts) or counts.min() < 1:
    raise ValueError(
      f"num_candidates is {num_candidates}, expected lists of at least one "
      "candidate"
    )
  lengths, times = np.unique(counts, return_counts=True)
  values = from_ranks(np.zeros_like(lengths), lengths, names)
  # Shares, not a mean over requests: where all lists are of one length, the
  # level is that length's to the last bit, and a constant scorer's too.
  shares = times / len(counts)
  return {name: float(value @ shares) for name, value in values.items()}
