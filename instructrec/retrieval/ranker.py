"""The interface of whatever ranks candidate lists without instructions."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float

from instructrec.data import request


class Ranker(Protocol):
  """Something that scores candidates; `retriever.Retriever` is one."""

  @property
  def name(self) -> str:
    """Of the method in reports."""
    ...

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """Scores each request's candidates; higher is better.

    Args:
      requests: what to score.

    Returns:
      float64; slots past the end of a shorter list are minus infinity. What
      a candidate gets depends neither on its place in the list nor on the
      other requests.

    Raises:
      RuntimeError: where the ranker needs to be fitted and was not.
    """
    ...


def pad(rows: Sequence[Sequence[float]]) -> Float[np.ndarray, "requests n"]:
  """Rows of different lengths as one array, filled with minus infinity.

  Args:
    rows: scores of each request's candidates.

  Returns:
    float64, as wide as the longest row.
  """
  width = max(map(len, rows), default=0)
  result = np.full((len(rows), width), -np.inf)
  for i, row in enumerate(rows):
    result[i, : len(row)] = row
  return result
