"""Several scores of a candidate as one: a sum whose weights are learnt.

A candidate has *parts*: its title's likelihood, that without the request, its
popularity, a retriever's score. What ranks is their weighted sum. The weights
are those of a conditional logit (McFadden, 1974): a softmax over the weighted
sums of each list, fitted so that the targets of validation requests are
likely. Unlike a search over weights of an order it has one optimum, a gradient,
and takes as many parts as there are.

A valid candidate whose part is minus infinity or not a number gets the lowest
value of its list less one deviation; how many there were is counted. A part
that is the same for all candidates of every list says nothing and weighs 0.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from instructrec.retrieval import conditional_logit, score_parts
from instructrec.retrieval.score_parts import Parts, ScoreWeightsError, Where

FORMAT_VERSION = 1
L2 = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitLog:
  """How weights came about.

  Attributes:
    split: whose requests they were fitted on.
    seed: by which these requests were drawn.
    l2: penalty on the weights of parts with deviation 1: half of `l2` times
      their squares, beside the sum of nats over the requests.
    num_requests: lists with their target that were fitted on.
    num_left_out: lists without their target, which say nothing.
    nats_before: mean negative log-probability of the target where all weights
      are 0, which is the logarithm of the list's length.
    nats_after: the same with the weights.
    num_clipped: scores that were minus infinity or not a number, by part.
  """

  split: str
  seed: int
  l2: float
  num_requests: int
  num_left_out: int
  nats_before: float
  nats_after: float
  num_clipped: dict[str, int]


@dataclasses.dataclass(frozen=True)
class ScoreWeights:
  """What each part counts.

  Attributes:
    names: of the parts, sorted.
    values: their weights, for parts as they are given.
    deviations: of each part within lists; see the module on clipping.
    log: how they came about.
  """

  names: tuple[str, ...]
  values: tuple[float, ...]
  deviations: tuple[float, ...]
  log: FitLog

  @classmethod
  def fit(
    cls,
    parts: Parts,
    labels: Int[np.ndarray, " requests"],
    where: Where,
    *,
    l2: float = L2,
    split: str = "validation",
    seed: int = 0,
  ) -> Self:
    """Fits weights on lists that all fit in memory.

    Args:
      parts: each part's scores of the same candidates.
      labels: index of the target; -1 where the list lacks it.
      where: which slots hold candidates.
      l2: see `FitLog`.
      split: whose requests these are.
      seed: by which they were drawn; it is only recorded.

    Returns:
      The weights.

    Raises:
      ScoreWeightsError: where shapes or values do not fit, or no list has its
        target.
    """
    fit = ScoreWeightsFit(l2=l2, split=split, seed=seed)
    fit.add(parts, labels, where)
    found = fit.fit()
    return cls(found.names, found.values, found.deviations, found.log)

  @property
  def weights(self) -> dict[str, float]:
    """The weights by part."""
    return dict(zip(self.names, self.values, strict=True))

  @property
  def needed(self) -> tuple[str, ...]:
    """The parts without which nothing can be combined: weight other than 0."""
    return tuple(name for name, value in self.weights.items() if value)

  def combine(
    self, parts: Parts, where: Where | None = None
  ) -> Float[np.ndarray, "requests candidates"]:
    """The weighted sum.

    Args:
      parts: at least those that are `needed`; others are not looked at.
      where: which slots hold candidates; None for those where a needed part is
        finite.

    Returns:
      float64; minus infinity where there is no candidate. A candidate's score
      depends on nothing else than its parts, but for clipped ones, which look
      at their list.

    Raises:
      ScoreWeightsError: where a part is missing or of another shape.
    """
    if missing := [name for name in self.needed if name not in parts]:
      raise ScoreWeightsError(
        f"the weights need the parts {missing}, which are not among "
        f"{sorted(parts)}; score with them, or fit weights without them"
      )
    # With no weight at all, any part tells the shape.
    wanted = self.needed or self.names
    chosen = {name: parts[name] for name in wanted if name in parts}
    score_parts.check(chosen, where=where)
    if where is None:
      where = np.any([np.isfinite(part) for part in chosen.values()], axis=0)
    total = np.zeros(where.shape)
    deviations = dict(zip(self.names, self.deviations, strict=True))
    for name in self.needed:
      cleaned, _ = conditional_logit.clean(parts[name], where, deviations[name])
      total += self.weights[name] * cleaned
    return np.where(where, total, -np.inf)

  def check_split(self, split: str) -> None:
    """Fails where requests would be ranked by weights that know them.

    Args:
      split: whose requests are to be evaluated.

    Raises:
      ScoreWeightsError: where the weights were fitted on that split.
    """
    if split == self.log.split:
      raise ScoreWeightsError(
        f"the score weights were fitted on the split {split!r}, which is the "
        "one to be evaluated; evaluate the split 'test', or fit them on others"
      )

  def to_json(self) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
      "format_version": FORMAT_VERSION,
      "weights": self.weights,
      "deviations": dict(zip(self.names, self.deviations, strict=True)),
      "fit": dataclasses.asdict(self.log),
    }

  @classmethod
  def from_json(cls, record: Any, source: str = "the record") -> Self:
    """Reads what `to_json` gave.

    Args:
      record: JSON values.
      source: where they come from, for messages.

    Returns:
      The weights.

    Raises:
      ScoreWeightsError: where they are of another version, or something is
        missing, unknown or no number.
    """
    weights, deviations = _check_record(record, source)
    names = tuple(sorted(weights))
    return cls(
      names,
      tuple(float(weights[name]) for name in names),
      tuple(float(deviations[name]) for name in names),
      FitLog(**record["fit"]),
    )


class ScoreWeightsFit:
  """Gathers lists block by block, then fits.

  Args:
    l2: see `FitLog`.
    split: whose requests are added.
    seed: by which they were drawn; it is only recorded.

  Raises:
    ScoreWeightsError: for a negative or infinite `l2`.
  """

  def __init__(
    self, *, l2: float = L2, split: str = "validation", seed: int = 0
  ) -> None:
    if not (l2 >= 0 and math.isfinite(l2)):
      raise ScoreWeightsError(f"l2 is {l2}, expected a number from 0 on")
    self._l2, self._split, self._seed = l2, split, seed
    self._parts: dict[str, list[np.ndarray]] = {}
    self._labels: list[np.ndarray] = []
    self._where: list[np.ndarray] = []
    self._left_out = 0

  @property
  def names(self) -> tuple[str, ...]:
    """The parts, sorted; none before the first block."""
    return tuple(sorted(self._parts))

  def add(
    self, parts: Parts, labels: Int[np.ndarray, " requests"], where: Where
  ) -> None:
    """Adds lists; those without their target are left out.

    Args:
      parts: each part's scores of the same candidates.
      labels: index of the target; -1 where the list lacks it.
      where: which slots hold candidates.

    Raises:
      ScoreWeightsError: where shapes or labels do not fit, or the parts are
        others than before.
    """
    score_parts.check(parts, labels, where)
    if self._labels and set(parts) != set(self._parts):
      raise ScoreWeightsError(
        f"the parts are {sorted(parts)}, those of the lists before "
        f"{list(self.names)}; expected the same in every block"
      )
    has = labels >= 0
    self._left_out += int((~has).sum())
    for name, values in parts.items():
      kept = np.array(values[has], np.float64)
      self._parts.setdefault(name, []).append(kept)
    self._labels.append(labels[has])
    self._where.append(where[has])

  def fit(self, names: Sequence[str] | None = None) -> ScoreWeights:
    """Fits the weights of the lists so far.

    Args:
      names: which parts; None for all.

    Returns:
      The weights.

    Raises:
      ScoreWeightsError: where there is no list or no such part, or no optimum
        was found.
    """
    chosen = self.names if names is None else tuple(sorted(set(names)))
    unknown = [name for name in chosen if name not in self._parts]
    if unknown or not chosen:
      raise ScoreWeightsError(
        f"the parts to weigh are {list(chosen)}, expected some of "
        f"{list(self.names)}"
      )
    labels, where = (
      np.concatenate(self._labels),
      score_parts.stack(self._where, False),
    )
    if not len(labels):
      raise ScoreWeightsError(
        f"none of the {self._left_out} lists has its target; expected some to "
        "fit score weights on"
      )
    design = conditional_logit.Design.of(
      {name: score_parts.stack(self._parts[name], np.nan) for name in chosen},
      labels,
      where,
    )
    scaled = design.optimum(self._l2)
    values = scaled / np.where(design.scales > 0, design.scales, 1.0)
    log = FitLog(
      split=self._split,
      seed=self._seed,
      l2=self._l2,
      num_requests=len(labels),
      num_left_out=self._left_out,
      nats_before=float(np.log(where.sum(1)).mean()),
      nats_after=design.loss(scaled, 0.0)[0] / len(labels),
      num_clipped=design.num_clipped,
    )
    return ScoreWeights(chosen, tuple(values.tolist()), design.deviations, log)


def _check_record(
  record: Any, source: str
) -> tuple[Mapping[str, float], Mapping[str, float]]:
  """Weights and deviations of a record that is in order."""

  def fail(text: str) -> ScoreWeightsError:
    return ScoreWeightsError(f"{source}: {text}; fit the score weights anew")

  def is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and math.isfinite(value)

  keys = {"format_version", "weights", "deviations", "fit"}
  if not isinstance(record, Mapping) or set(record) != keys:
    found = list(record) if isinstance(record, Mapping) else record
    raise fail(f"found {found!r:.100}, expected {sorted(keys)}")
  if record["format_version"] != FORMAT_VERSION:
    raise fail(
      f"format_version is {record['format_version']!r}, expected "
      f"{FORMAT_VERSION}"
    )
  for key in ("weights", "deviations"):
    values = record[key]
    if not isinstance(values, Mapping) or not values:
      raise fail(f"{key} is {values!r:.100}, expected numbers by part")
    for name, value in values.items():
      if not is_number(value):
        raise fail(f"{key} of {name!r} is {value!r}, expected a finite number")
  if set(record["weights"]) != set(record["deviations"]):
    raise fail("weights and deviations are of different parts")
  if bad := [n for n, value in record["deviations"].items() if value <= 0]:
    raise fail(f"the deviations of {bad} are not positive")
  _check_log(record["fit"], set(record["weights"]), fail, is_number)
  return record["weights"], record["deviations"]


def _check_log(
  log: Any,
  names: set[str],
  fail: Callable[[str], ScoreWeightsError],
  is_number: Callable[[Any], bool],
) -> None:
  fields = {field.name for field in dataclasses.fields(FitLog)}
  if not isinstance(log, Mapping) or set(log) != fields:
    raise fail(f"fit is {log!r:.200}, expected {sorted(fields)}")
  if not isinstance(log["split"], str):
    raise fail(f"fit's split is {log['split']!r}, expected a name")
  clipped = log["num_clipped"]
  if not isinstance(clipped, Mapping) or set(clipped) != names:
    raise fail(f"fit's num_clipped is {clipped!r}, expected one of each part")
  numbers = {k: log[k] for k in fields - {"split", "num_clipped"}}
  for name, value in {**numbers, **clipped}.items():
    if not is_number(value):
      raise fail(f"fit's {name} is {value!r}, expected a finite number")
