"""The numbers behind `score_weights`: a softmax over each list, and its fit.

Parts are centred within each list, which no softmax notices, and scaled by
their deviation within lists, so that one penalty suits parts of any unit.
"""

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float, Int

# Differences that are rounding alone, as a share of the values.
_ROUNDING = 1e-9
# Largest slope, in nats a request, that still counts as the optimum.
_FLAT = 1e-5

Scores = Float[np.ndarray, "requests candidates"]
Where = Bool[np.ndarray, "requests candidates"]


class NoOptimumError(ValueError):
  """The search for weights did not end at an optimum."""


def clean(values: Scores, where: Where, deviation: float) -> tuple[Scores, int]:
  """Gives each candidate a finite score.

  Args:
    values: scores, none of them plus infinity.
    where: which slots hold candidates.
    deviation: what a list goes by whose finite scores are all equal.

  Returns:
    The scores, and how many were not finite: these are their list's lowest
    less one deviation, 0 in a list without any finite one. Empty slots are 0.
  """
  finite = np.isfinite(values) & where
  clipped = where & ~finite
  kept = np.where(finite, values, 0.0)
  if not clipped.any():
    return kept, 0
  lowest = np.where(finite, values, np.inf).min(1, keepdims=True)
  of_list = _list_deviations(kept, finite)
  floor = lowest - np.where(of_list > 0, of_list, deviation)
  floor = np.where(finite.any(1, keepdims=True), floor, 0.0)
  return np.where(clipped, floor, kept), int(clipped.sum())


def _means(values: Scores, where: Where) -> Float[np.ndarray, "requests 1"]:
  counts = np.maximum(where.sum(1, keepdims=True), 1)
  return np.where(where, values, 0.0).sum(1, keepdims=True) / counts


def _centred(values: Scores, where: Where) -> Scores:
  """Scores less their list's mean; 0 where a list's are equal."""
  means = _means(values, where)
  found = np.where(where, values - means, 0.0)
  # Of equal scores only the rounding of their mean is left.
  spread = np.abs(found).max(1, keepdims=True, initial=0.0)
  return np.where(spread > _ROUNDING * np.abs(means), found, 0.0)


def _list_deviations(
  values: Scores, where: Where
) -> Float[np.ndarray, "requests 1"]:
  return np.sqrt(_means(_centred(values, where) ** 2, where))


def deviation(values: Scores, where: Where) -> float:
  """Standard deviation within lists, over all lists.

  Args:
    values: scores; those that are not finite are left out.
    where: which slots hold candidates.

  Returns:
    Root of the mean squared distance from the list's mean; 0 where every
    list's scores are equal.
  """
  finite = np.isfinite(values) & where
  total = (_centred(np.where(finite, values, 0.0), finite) ** 2).sum()
  return float(np.sqrt(total / max(1, finite.sum())))


@dataclasses.dataclass(frozen=True)
class Design:
  """Lists ready to be fitted.

  Attributes:
    scaled: parts of each candidate, centred within lists, deviation 1 or 0.
    scales: what they were divided by; 0 for a part that says nothing.
    labels: index of the target.
    where: which slots hold candidates.
    deviations: what a list goes by whose finite scores are all equal; see
      `clean`.
    num_clipped: scores that were not finite, by part.
  """

  scaled: Float[np.ndarray, "requests candidates parts"]
  scales: Float[np.ndarray, " parts"]
  labels: Int[np.ndarray, " requests"]
  where: Where
  deviations: tuple[float, ...]
  num_clipped: dict[str, int]

  @classmethod
  def of(
    cls,
    parts: Mapping[str, Scores],
    labels: Int[np.ndarray, " requests"],
    where: Where,
  ) -> Self:
    """Cleans, centres and scales.

    Args:
      parts: scores by part.
      labels: index of the target, in a slot with a candidate.
      where: which slots hold candidates.

    Returns:
      The design, parts in the order given.
    """
    # Of a part whose finite scores never differ, one of its own units.
    deviations = [deviation(part, where) or 1.0 for part in parts.values()]
    columns, clipped = [], {}
    for (name, part), by in zip(parts.items(), deviations, strict=True):
      cleaned, clipped[name] = clean(part, where, by)
      columns.append(_centred(cleaned, where))
    scales = np.array([deviation(column, where) for column in columns])
    return cls(
      np.stack(columns, axis=-1) / np.where(scales > 0, scales, 1.0),
      scales,
      labels,
      where,
      tuple(deviations),
      clipped,
    )

  def loss(
    self, weights: Float[np.ndarray, " parts"], l2: float
  ) -> tuple[float, Float[np.ndarray, " parts"]]:
    """Nats of the targets with the penalty, and the gradient.

    Args:
      weights: of the scaled parts.
      l2: the penalty is half of it times the squares of the weights.

    Returns:
      The sum over requests, and its derivatives.
    """
    scores = np.where(self.where, self.scaled @ weights, -np.inf)
    scores -= scores.max(1, keepdims=True)
    odds = np.exp(scores)
    total = odds.sum(1, keepdims=True)
    rows = np.arange(len(self.labels))
    value = float((np.log(total[:, 0]) - scores[rows, self.labels]).sum())
    gap = odds / total
    gap[rows, self.labels] -= 1
    gradient = np.einsum("rc,rcp->p", gap, self.scaled)
    return value + l2 / 2 * float(weights @ weights), gradient + l2 * weights

  def optimum(self, l2: float) -> Float[np.ndarray, " parts"]:
    """The weights of the scaled parts at which the loss is least.

    Args:
      l2: see `loss`.

    Returns:
      The weights; 0 for a part that says nothing.

    Raises:
      NoOptimumError: where the search ended elsewhere.
    """
    count = max(1, len(self.labels))

    def mean_loss(
      weights: Float[np.ndarray, " parts"],
    ) -> tuple[float, Float[np.ndarray, " parts"]]:
      value, gradient = self.loss(weights, l2)
      return value / count, gradient / count

    found = scipy.optimize.minimize(
      mean_loss,
      np.zeros(len(self.scales)),
      jac=True,
      method="L-BFGS-B",
      options={"maxiter": 1_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    slope = float(np.abs(mean_loss(found.x)[1]).max())
    if not slope < _FLAT:
      raise NoOptimumError(
        f"the score weights have a slope of {slope:.1e} nats a request after "
        f"{found.nit} steps; expected an optimum, use a larger l2 than {l2:g}"
      )
    return np.where(self.scales > 0, found.x, 0.0)
