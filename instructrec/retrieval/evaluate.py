"""Ranks of the targets in candidate lists and in the whole catalogue."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from instructrec.data import request
from instructrec.evaluation import metrics, results
from instructrec.retrieval import retriever

# Of the whole catalogue: its first ranks say little, its hundred best are what
# a reranker gets.
CATALOGUE_HR_AT = (1, 10, 20, 100)
CATALOGUE_NDCG_AT = (10, 20, 100)


def candidate_ranks(
  found: retriever.Retriever, requests: Sequence[request.RankingRequest]
) -> tuple[results.Ranks, Int[np.ndarray, " requests"]]:
  """The target's rank among each request's candidates.

  Args:
    found: the fitted retriever.
    requests: with targets among their candidates.

  Returns:
    The ranks, and the lengths of the lists.

  Raises:
    ValueError: where a target is not among the candidates.
  """
  for r in requests:
    if r.target not in r.candidates:
      raise ValueError(
        f"the target {r.target!r} of request {r.request_id!r} is not among "
        f"its {len(r.candidates)} candidates"
      )
  scores = found.score(requests)
  counts = np.array([len(r.candidates) for r in requests], np.int64)
  labels = np.array(
    [r.candidates.index(r.target or "") for r in requests], np.int64
  )
  where = np.arange(scores.shape[1]) < counts[:, None]
  ranks = results.Ranks(
    *metrics.tied_ranks(scores, labels, where=where),
    metrics.count_nan(scores, where=where),
  )
  return ranks, counts


def catalogue_ranks(
  found: retriever.Retriever,
  requests: Sequence[request.RankingRequest],
  *,
  remove_seen: bool = True,
) -> tuple[results.Ranks, Int[np.ndarray, " requests"]]:
  """The target's rank among all items, in memory flat in the requests.

  Args:
    found: the fitted retriever.
    requests: with targets.
    remove_seen: whether the items of a request's history are left out; a
      target that was seen before stays in.

  Returns:
    The ranks, and how many items each request ranks.

  Raises:
    ValueError: where there is no request, or a target is no item.
  """
  if not requests:
    raise ValueError("there are no requests to rank the catalogue for")
  parts, num_nan = [], 0
  for part, scores in found.catalogue_chunks(requests):
    labels = np.concatenate(
      [
        found.indices((r.target or "",), f"the target of {r.request_id!r}")
        for r in part
      ]
    )
    where = ~found.seen(part) if remove_seen else np.ones(scores.shape, bool)
    where[np.arange(len(part)), labels] = True
    greater, equal = metrics.tied_ranks(scores, labels, where=where)
    parts.append((greater, equal, where.sum(1)))
    num_nan += metrics.count_nan(scores, where=where)
  greater, equal, counts = map(np.concatenate, zip(*parts, strict=True))
  return results.Ranks(greater, equal, num_nan), counts


def ndcg_at_10(
  found: retriever.Retriever, requests: Sequence[request.RankingRequest]
) -> float:
  """Mean NDCG@10 over the whole catalogue without seen items.

  What early stopping and tuning look at, on validation requests.

  Args:
    found: the fitted retriever.
    requests: with targets.

  Returns:
    The mean.
  """
  ranks, _ = catalogue_ranks(found, requests)
  values = metrics.from_ranks(ranks.greater, ranks.equal, ndcg_at=(10,))
  return float(values["NDCG@10"].mean())


def evaluate(
  group: str,
  found: Mapping[str, retriever.Retriever],
  requests: Sequence[request.RankingRequest],
  *,
  ndcg_at: Sequence[int] = metrics.NDCG_AT,
  seed: int = 0,
) -> results.EvaluationResult:
  """Reranks candidate lists with several retrievers.

  Args:
    group: name of the lists.
    found: fitted retrievers by name.
    requests: with targets among their candidates.
    ndcg_at: cut-offs of NDCG@K, 10 among them.
    seed: of the bootstrap.

  Returns:
    The result.
  """
  ranked = {name: candidate_ranks(r, requests) for name, r in found.items()}
  return _result(
    group, found, ranked, requests, metrics.HIT_RATE_AT, ndcg_at, seed
  )


def evaluate_catalogue(
  group: str,
  found: Mapping[str, retriever.Retriever],
  requests: Sequence[request.RankingRequest],
  *,
  remove_seen: bool = True,
  seed: int = 0,
) -> results.EvaluationResult:
  """Ranks the whole catalogue with several retrievers.

  Args:
    group: name of the evaluation.
    found: fitted retrievers by name.
    requests: with targets.
    remove_seen: see `catalogue_ranks`.
    seed: of the bootstrap.

  Returns:
    The result; HR@K is also the recall of the K items retrieved.
  """
  ranked = {
    name: catalogue_ranks(r, requests, remove_seen=remove_seen)
    for name, r in found.items()
  }
  return _result(
    group, found, ranked, requests, CATALOGUE_HR_AT, CATALOGUE_NDCG_AT, seed
  )


def _result(
  group: str,
  found: Mapping[str, retriever.Retriever],
  ranked: Mapping[str, tuple[results.Ranks, Int[np.ndarray, " requests"]]],
  requests: Sequence[request.RankingRequest],
  hit_rate_at: Sequence[int],
  ndcg_at: Sequence[int],
  seed: int,
) -> results.EvaluationResult:
  if not ranked:
    raise ValueError(f"{group}: there are no retrievers to evaluate")
  _, counts = next(iter(ranked.values()))
  return results.evaluate_ranks(
    group,
    {name: ranks for name, (ranks, _) in ranked.items()},
    counts,
    request_ids=[r.request_id for r in requests],
    hit_rate_at=hit_rate_at,
    ndcg_at=ndcg_at,
    seed=seed,
    descriptions={name: r.description for name, r in found.items()},
  )
