"""Whether the order in which candidates are presented decides the ranking."""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Bool, Float

# Pairs of candidates compared at a time.
_CHUNK_PAIRS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Whether the order of presentation changes the ranking.

  Attributes:
    num_shuffles: orders in which the candidates were presented.
    num_requests: lists that were ranked in all of them.
    top_1: share of requests whose best candidate is the same in all of them.
    kendall_tau: mean of tau-b over requests and pairs of shuffles; 1 where the
      rankings are equal. None where every ranking is one tie.
    num_undefined: pairs of rankings left out of it, as one of them is one tie.
  """

  num_shuffles: int
  num_requests: int
  top_1: float
  kendall_tau: float | None
  num_undefined: int

  @classmethod
  def of(
    cls,
    scores: Float[np.ndarray, "shuffles requests candidates"],
    where: Bool[np.ndarray, "requests candidates"] | None = None,
  ) -> "Agreement":
    """How far the rankings of differently presented candidates agree.

    Args:
      scores: of each shuffle, put back so that a candidate has the same column
        in all of them.
      where: which slots hold candidates; None for all.

    Returns:
      The figures.

    Raises:
      ValueError: where there are fewer than two shuffles or candidates, no
        request, or a score is not a number.
    """
    if scores.ndim != 3 or min(scores.shape[0], scores.shape[2]) < 2:
      raise ValueError(
        f"scores have shape {scores.shape}, expected [shuffles, requests, "
        "candidates] with at least two shuffles and two candidates"
      )
    if not scores.shape[1]:
      raise ValueError("there are no requests to compare")
    if where is None:
      where = np.ones(scores.shape[1:], bool)
    if num_nan := int(np.isnan(scores[:, where]).sum()):
      raise ValueError(
        f"{num_nan} scores are not a number, expected an order of all "
        "candidates"
      )
    scores = np.where(where, scores, -np.inf)
    best = (scores == scores.max(2, keepdims=True)) & where
    first, second = np.triu_indices(scores.shape[2], 1)
    rows = max(1, _CHUNK_PAIRS // len(first))
    taus = []
    for start in range(0, scores.shape[1], rows):
      part = scores[:, start : start + rows]
      # Which of two candidates is ahead, for all pairs: -1, 0 or 1. A
      # comparison and no difference: infinite scores have none.
      left, right = part[..., first], part[..., second]
      here = where[start : start + rows]
      here = here[:, first] & here[:, second]
      signs = [
        ((a > b).astype(np.float32) - (a < b)) * here
        for a, b in zip(left, right, strict=True)
      ]
      norms = [np.sqrt((sign**2).sum(1, dtype=np.float64)) for sign in signs]
      for a, b in itertools.combinations(range(len(signs)), 2):
        norm = norms[a] * norms[b]
        defined = norm > 0
        together = (signs[a] * signs[b]).sum(1, dtype=np.float64)
        taus.append(
          np.where(defined, together / np.where(defined, norm, 1), np.nan)
        )
    tau = np.concatenate(taus)
    undefined = int(np.isnan(tau).sum())
    return cls(
      num_shuffles=len(scores),
      num_requests=scores.shape[1],
      top_1=float((best == best[0]).all(axis=(0, 2)).mean()),
      kendall_tau=None if undefined == len(tau) else float(np.nanmean(tau)),
      num_undefined=undefined,
    )

  @property
  def _num_defined(self) -> int:
    pairs = self.num_shuffles * (self.num_shuffles - 1) // 2
    return pairs * self.num_requests - self.num_undefined

  def merge(self, other: "Agreement") -> "Agreement":
    """Of these requests and others.

    Args:
      other: of the same number of shuffles.

    Returns:
      The figures over both.

    Raises:
      ValueError: where the numbers of shuffles differ.
    """
    if self.num_shuffles != other.num_shuffles:
      raise ValueError(
        f"agreements of {self.num_shuffles} and {other.num_shuffles} shuffles "
        "do not merge; ask about all requests equally often"
      )
    both = (self, other)
    requests = sum(each.num_requests for each in both)
    defined = sum(each._num_defined for each in both)
    taus = sum((each.kendall_tau or 0.0) * each._num_defined for each in both)
    return Agreement(
      num_shuffles=self.num_shuffles,
      num_requests=requests,
      top_1=sum(each.top_1 * each.num_requests for each in both) / requests,
      kendall_tau=taus / defined if defined else None,
      num_undefined=self.num_undefined + other.num_undefined,
    )
