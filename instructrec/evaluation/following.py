"""Whether a model does what a wish says: "A", "no A", and what says nothing.

Every history is answered four times over the whole catalogue: without a wish,
with a wish for the attribute A, with a wish for anything but A, and with a
wish for another attribute, B. What counts is the share of the ten best items
that have A.

| figure | formula, a mean over histories |
|---|---|
| share of A under x | items of A among the ten best under x / 10 |
| wanted | share("A") > share(plain), or both are 1 |
| unwanted | share("no A") < share(plain), or both are 0 |
| against | share("A") > share("B") |
| right direction | mean of wanted, unwanted and against |
| clean first five | no item of A among the first five under "no A" |
| nonsense | Spearman's correlation with the plain scores, see below |
| own added | HR@1 with the own wish - HR@1 without one |
| other lost | HR@1 without a wish - HR@1 with somebody else's |

The correlation is that of the scores of the plain hundred best: without a wish,
and under one that says nothing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import intervals

SCHEMA_VERSION = 1
CONDITIONS = ("plain", "A", "no A", "B")
DIRECTIONS = ("wanted", "unwanted", "against")
FIRST = 5


@dataclasses.dataclass(frozen=True)
class Answers:
  """The best items of each history, and which of them have what was wished.

  Attributes:
    plain: positions of the best items in the catalogue without a wish, best
      first.
    wanted: under the wish for A.
    unwanted: under the wish for anything but A.
    other: under the wish for B.
    has_a: which items of the catalogue have A; True or False for each.
    has_b: likewise for B.
    nonsense: scores of the plain hundred best under a wish that says nothing,
      where that was asked for.
    reference: the plain scores of the same items.
    hits: HR@1 of each history's list by what it was scored with: "none",
      "own" and "other"; NaN where a history has no such list.
  """

  plain: Int[np.ndarray, "histories best"]
  wanted: Int[np.ndarray, "histories best"]
  unwanted: Int[np.ndarray, "histories best"]
  other: Int[np.ndarray, "histories best"]
  has_a: Bool[np.ndarray, "histories items"]
  has_b: Bool[np.ndarray, "histories items"]
  nonsense: Float[np.ndarray, "histories hundred"] | None = None
  reference: Float[np.ndarray, "histories hundred"] | None = None
  hits: Mapping[str, Float[np.ndarray, " histories"]] | None = None


@dataclasses.dataclass(frozen=True)
class Following:
  """How far wishes are followed; see the module for the formulas.

  Attributes:
    num_histories: how many.
    num_best: how many best items were looked at.
    num_resamples: of the bootstrap.
    share_of_a: by condition: "plain", "A", "no A" and "B".
    share_of_b: likewise, of the other attribute.
    directions: "wanted", "unwanted" and "against".
    right_direction: their mean.
    clean_first_five: under "no A".
    nonsense: rank correlation, where it was measured.
    own_added: HR@1 that the own wish adds, where lists were given.
    other_lost: HR@1 that somebody else's wish costs, likewise.
  """

  num_histories: int
  num_best: int
  num_resamples: int
  share_of_a: dict[str, intervals.Interval]
  share_of_b: dict[str, intervals.Interval]
  directions: dict[str, intervals.Interval]
  right_direction: intervals.Interval
  clean_first_five: intervals.Interval
  nonsense: intervals.Interval | None = None
  own_added: intervals.Interval | None = None
  other_lost: intervals.Interval | None = None

  def to_json(self) -> dict[str, Any]:
    """Everything, as JSON values."""
    return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

  @classmethod
  def from_json(cls, record: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gave.

    Args:
      record: JSON values.

    Returns:
      The result.

    Raises:
      ValueError: where the record is of another schema version, or a field is
        missing.
    """
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
      raise ValueError(
        f"the following result has schema_version {version}, expected "
        f"{SCHEMA_VERSION}; evaluate again with this version of instructrec"
      )
    names = [field.name for field in dataclasses.fields(cls)]
    missing = [name for name in names if name not in record]
    if missing:
      raise ValueError(f"the following result lacks {', '.join(missing)}")
    return cls(**{name: _from_json(record[name]) for name in names})


def _from_json(value: Any) -> Any:
  if isinstance(value, Mapping):
    if value.keys() == {"mean", "low", "high"}:
      return intervals.Interval(**value)
    return {name: _from_json(item) for name, item in value.items()}
  return value


def measure(
  answers: Answers,
  *,
  seed: int,
  num_resamples: int = intervals.NUM_RESAMPLES,
) -> Following:
  """Computes all figures with their bootstrap intervals over histories.

  Args:
    answers: of the histories.
    seed: of the resampling.
    num_resamples: how many resamples.

  Returns:
    The figures.

  Raises:
    ValueError: where shapes do not fit, or there are no histories.
  """
  _check(answers)
  tops = dict(zip(CONDITIONS, _lists(answers), strict=True))
  columns: dict[str, Float[np.ndarray, " histories"]] = {}
  for condition, top in tops.items():
    columns[f"a {condition}"] = share(top, answers.has_a)
    columns[f"b {condition}"] = share(top, answers.has_b)
  columns |= _directions(columns)
  columns["right"] = np.mean([columns[name] for name in DIRECTIONS], axis=0)
  first = share(answers.unwanted[:, :FIRST], answers.has_a)
  columns["clean"] = (first == 0).astype(float)
  if answers.nonsense is not None and answers.reference is not None:
    columns["nonsense"] = rank_correlation(answers.nonsense, answers.reference)
  found = dict(
    zip(
      columns,
      intervals.bootstrap(
        np.stack(list(columns.values()), axis=1),
        seed=seed,
        num_resamples=num_resamples,
      ),
      strict=True,
    )
  )
  own_added, other_lost = _hit_rates(
    answers.hits, seed=seed, num_resamples=num_resamples
  )
  return Following(
    num_histories=len(answers.plain),
    num_best=answers.plain.shape[1],
    num_resamples=num_resamples,
    share_of_a={name: found[f"a {name}"] for name in CONDITIONS},
    share_of_b={name: found[f"b {name}"] for name in CONDITIONS},
    directions={name: found[name] for name in DIRECTIONS},
    right_direction=found["right"],
    clean_first_five=found["clean"],
    nonsense=found.get("nonsense"),
    own_added=own_added,
    other_lost=other_lost,
  )


def share(
  top: Int[np.ndarray, "histories best"],
  has: Bool[np.ndarray, "histories items"],
) -> Float[np.ndarray, " histories"]:
  """How many of the best items have something.

  Args:
    top: positions of the best items.
    has: which items of the catalogue have it.

  Returns:
    A share for each history.
  """
  return np.take_along_axis(has, top, axis=1).mean(axis=1)


def _directions(
  columns: Mapping[str, Float[np.ndarray, " histories"]],
) -> dict[str, Float[np.ndarray, " histories"]]:
  plain, own, without, other = (columns[f"a {name}"] for name in CONDITIONS)
  return {
    "wanted": ((own > plain) | ((own == 1) & (plain == 1))).astype(float),
    "unwanted": ((without < plain) | ((without == 0) & (plain == 0))).astype(
      float
    ),
    "against": (own > other).astype(float),
  }


def rank_correlation(
  scores: Float[np.ndarray, "histories n"],
  reference: Float[np.ndarray, "histories n"],
) -> Float[np.ndarray, " histories"]:
  """Spearman's correlation of each row; ties have their mean rank.

  Args:
    scores: of some items.
    reference: other scores of the same items.

  Returns:
    From -1 to 1; 0 where all items of a row are tied, for then nothing is left
    of the order.
  """
  x, y = (_ranks(values) for values in (scores, reference))
  x -= x.mean(axis=1, keepdims=True)
  y -= y.mean(axis=1, keepdims=True)
  scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
  return np.where(scale > 0, (x * y).sum(1) / np.where(scale > 0, scale, 1), 0)


def _ranks(
  values: Float[np.ndarray, "histories n"],
) -> Float[np.ndarray, "histories n"]:
  """Mean ranks: items below an item, and half of those tied with it."""
  result = np.empty(values.shape)
  for row, found in zip(result, values, strict=True):
    _, place, count = np.unique(found, return_inverse=True, return_counts=True)
    row[:] = (np.cumsum(count) - (count + 1) / 2)[place]
  return result


def _hit_rates(
  hits: Mapping[str, Float[np.ndarray, " histories"]] | None,
  *,
  seed: int,
  num_resamples: int,
) -> tuple[intervals.Interval | None, intervals.Interval | None]:
  if hits is None:
    return None, None
  known = np.all([np.isfinite(row) for row in hits.values()], axis=0)
  if not known.any():
    return None, None
  none, own, other = (hits[name][known] for name in ("none", "own", "other"))
  added, lost = intervals.bootstrap(
    np.stack([own - none, none - other], axis=1),
    seed=seed,
    num_resamples=num_resamples,
  )
  return added, lost


def _lists(answers: Answers) -> tuple[np.ndarray, ...]:
  return answers.plain, answers.wanted, answers.unwanted, answers.other


def _check(answers: Answers) -> None:
  shape = answers.plain.shape
  if len(shape) != 2 or shape[1] < FIRST:
    raise ValueError(
      f"the plain lists have shape {shape}, expected [histories, best items], "
      f"at least {FIRST} of them"
    )
  for name, top in zip(CONDITIONS, _lists(answers), strict=True):
    if top.shape != shape:
      raise ValueError(
        f"the lists of {name!r} have shape {top.shape}, those without a wish "
        f"{shape}; expected the same histories and as many items"
      )
  size = answers.has_a.shape
  for name, has in (("A", answers.has_a), ("B", answers.has_b)):
    if has.shape != size or has.dtype != bool or len(has) != shape[0]:
      raise ValueError(
        f"what has {name} is of shape {has.shape} and dtype {has.dtype}; "
        f"expected truth values [{shape[0]} histories, items]"
      )
  nonsense, reference = answers.nonsense, answers.reference
  if (nonsense is None) != (reference is None):
    raise ValueError("nonsense and reference scores must come together")
  sizes = [None if x is None else x.shape for x in (nonsense, reference)]
  if sizes[0] != sizes[1]:
    raise ValueError(
      f"scores under nonsense have shape {sizes[0]}, the plain ones "
      f"{sizes[1]}; expected the same items"
    )
  expected = {"none", "own", "other"}
  if answers.hits is not None and set(answers.hits) != expected:
    raise ValueError(
      f"hits are of {sorted(answers.hits)}, expected {sorted(expected)}"
    )
