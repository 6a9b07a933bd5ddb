"""Reranks: several scorers over the same requests, a result for each group."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.evaluation import intervals, results

Request = TypeVar("Request")
Scorer = Callable[[Sequence[Request]], Float[np.ndarray, "requests candidates"]]


def rerank(
  scorers: Mapping[str, Scorer[Request]],
  requests: Sequence[Request],
  labels: Int[np.ndarray, " requests"],
  *,
  request_ids: Sequence[str],
  where: Bool[np.ndarray, "requests candidates"] | None = None,
  groups: Sequence[str] | None = None,
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
  descriptions: Mapping[str, str] | None = None,
) -> dict[str, results.EvaluationResult]:
  """Scores all requests with all scorers and evaluates each group.

  A scorer sees one group at a time, all of its requests in one call.

  Args:
    scorers: by name; each takes requests and gives the scores of their
      candidates, higher is better.
    requests: whatever the scorers read.
    labels: index of the right candidate.
    request_ids: id of each request.
    where: which slots hold candidates; None for all.
    groups: group of each request, such as its task type; None for one group,
      "all". Figures of different groups are never averaged together.
    seed: of the bootstrap.
    num_resamples: of the bootstrap.
    descriptions: a sentence on what a scorer is, for any of them.

  Returns:
    A result for each group, in the order of first appearance.

  Raises:
    ValueError: where lengths do not fit, or a scorer gives scores of another
      shape than [requests, candidates].
  """
  if groups is None:
    groups = ["all"] * len(requests)
  lengths = {
    "labels": len(labels),
    "request_ids": len(request_ids),
    "groups": len(groups),
    **({} if where is None else {"where": len(where)}),
  }
  for name, length in lengths.items():
    if length != len(requests):
      raise ValueError(
        f"there are {len(requests)} requests and {length} {name}, expected as "
        "many"
      )
  found = {}
  names = np.asarray(groups, dtype=object)
  for group in dict.fromkeys(groups):
    members = np.flatnonzero(names == group)
    part = [requests[int(i)] for i in members]
    part_where = None if where is None else where[members]
    ids = [request_ids[int(i)] for i in members]
    found[group] = results.evaluate(
      group,
      {
        name: _score(name, scorer, part, part_where)
        for name, scorer in scorers.items()
      },
      labels[members],
      request_ids=ids,
      where=part_where,
      seed=seed,
      num_resamples=num_resamples,
      descriptions=descriptions,
    )
  return found


def _score(
  name: str,
  scorer: Scorer[Request],
  requests: Sequence[Request],
  where: Bool[np.ndarray, "requests candidates"] | None,
) -> Float[np.ndarray, "requests candidates"]:
  scores = np.asarray(scorer(requests))
  shape = scores.shape
  if scores.dtype.kind in "iub":  # Padding needs a minus infinity.
    scores = scores.astype(np.float64)
  fits = scores.ndim == 2 and len(scores) == len(requests)
  if fits and where is not None and scores.shape[1] < where.shape[1]:
    # A ranker pads to the longest list of the call, `where` to that of all.
    fits = not where[:, scores.shape[1] :].any()
    missing = where.shape[1] - scores.shape[1]
    scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
  if not fits or (where is not None and scores.shape != where.shape):
    width = "candidates" if where is None else where.shape[1]
    raise ValueError(
      f"scorer {name!r} gave scores of shape {shape}, expected "
      f"({len(requests)}, {width})"
    )
  return scores
