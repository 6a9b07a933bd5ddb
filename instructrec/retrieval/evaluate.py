"""Ranks of the targets in candidate lists and in the whole catalogue."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from instructrec.data import interaction, request
from instructrec.evaluation import (
  bias,
  facts,
  metrics,
  results,
  scored_lists,
)
from instructrec.evaluation import evaluate as evaluate_lib
from instructrec.evaluation import selection as selection_lib
from instructrec.retrieval import retriever

# Of the whole catalogue: its first ranks say little, its hundred best are what
# a reranker gets.
CATALOGUE = selection_lib.Selection(
  metrics.default_names((1, 10, 20, 100), (10, 20, 100))
)


def _lists(
  requests: Sequence[request.RankingRequest],
) -> tuple[Int[np.ndarray, " requests"], Int[np.ndarray, " requests"]]:
  """Index of the target in each request's candidates, and their number."""
  for r in requests:
    if r.target not in r.candidates:
      raise ValueError(
        f"the target {r.target!r} of request {r.request_id!r} is not among "
        f"its {len(r.candidates)} candidates"
      )
  labels = [r.candidates.index(r.target or "") for r in requests]
  counts = [len(r.candidates) for r in requests]
  return np.array(labels, np.int64), np.array(counts, np.int64)


def candidate_ranks(
  found: retriever.Retriever, requests: Sequence[request.RankingRequest]
) -> tuple[metrics.Ranks, Int[np.ndarray, " requests"]]:
  """The target's rank among each request's candidates.

  Args:
    found: the fitted retriever.
    requests: with targets among their candidates.

  Returns:
    The ranks, and the lengths of the lists.

  Raises:
    ValueError: where a target is not among the candidates.
  """
  labels, counts = _lists(requests)
  scores = found.score(requests)
  where = np.arange(scores.shape[1]) < counts[:, None]
  return metrics.Ranks.of(scores, labels, where=where), counts


def catalog_ranks(
  found: retriever.Retriever,
  requests: Sequence[request.RankingRequest],
  *,
  remove_seen: bool = True,
) -> tuple[metrics.Ranks, Int[np.ndarray, " requests"]]:
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
  for part, scores in found.catalog_chunks(requests):
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
  return metrics.Ranks(greater, equal, num_nan), counts


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
  ranks, _ = catalog_ranks(found, requests)
  values = metrics.from_ranks(ranks.greater, ranks.equal, ["NDCG@10"])
  return float(values["NDCG@10"].mean())


def known(
  requests: Sequence[request.RankingRequest],
  item_counts: collections.Counter[str],
  *,
  has_lists: bool = True,
) -> facts.Facts:
  """What reports split the figures by.

  Args:
    requests: with targets.
    item_counts: interactions of each item in the training log.
    has_lists: whether the candidates are ranked, and not the whole catalogue.

  Returns:
    The facts.
  """
  targets = [r.target or "" for r in requests]
  return facts.Facts.of(
    targets=targets,
    candidates=[r.candidates for r in requests] if has_lists else None,
    target_counts=np.array([item_counts[item] for item in targets], np.int64),
    history_lengths=np.array([len(r.history) for r in requests], np.int64),
    users=[r.user_id for r in requests],
  )


def scored(
  requests: Sequence[request.RankingRequest],
  scores: Mapping[str, Float[np.ndarray, "requests candidates"]],
) -> scored_lists.ScoredLists:
  """The candidates of requests with their scores.

  Args:
    requests: with targets.
    scores: by method.

  Returns:
    The lists.
  """
  return scored_lists.ScoredLists(
    request_ids=[r.request_id for r in requests],
    targets=[r.target or "" for r in requests],
    candidates=[r.candidates for r in requests],
    scores=scores,
  )


def exposure(
  found: retriever.Retriever,
  requests: Sequence[request.RankingRequest],
  item_counts: collections.Counter[str],
  *,
  remove_seen: bool = True,
) -> bias.Exposure:
  """What a retriever shows of the whole catalogue.

  Args:
    found: the fitted retriever.
    requests: whom it shows items.
    item_counts: interactions of each item in the training log.
    remove_seen: whether the items of a request's history are left out.

  Returns:
    Coverage, Gini coefficient and popularity of the first `bias.TOP_K` items,
    or of as many as the smallest remaining catalogue has.
  """
  longest = max(len(set(r.history)) for r in requests)
  left = len(found.item_ids) - (longest if remove_seen else 0)
  k = min(bias.TOP_K, left)
  shown = found.retrieve(requests, k, remove_seen=remove_seen)
  return bias.exposure(
    np.stack([found.indices(ids, "what was shown") for ids in shown.item_ids]),
    np.array([item_counts[item] for item in found.item_ids], np.int64),
  )


def evaluate(
  group: str,
  found: Mapping[str, retriever.Retriever],
  requests: Sequence[request.RankingRequest],
  *,
  training_log: interaction.InteractionLog | None = None,
  selection: selection_lib.Selection = evaluate_lib.DEFAULT,
  seed: int = 0,
) -> results.EvaluationResult:
  """Reranks candidate lists with several retrievers.

  Args:
    group: name of the lists.
    found: fitted retrievers by name.
    requests: with targets among their candidates.
    training_log: what targets are counted in; None leaves out everything that
      is split by popularity and history, and the TREC files.
    selection: the metrics.
    seed: of the bootstrap and of the randomisation test.

  Returns:
    The result.

  Raises:
    ValueError: where there is no retriever, or a target is not among the
      candidates.
  """
  _check(group, found)
  labels, counts = _lists(requests)
  scores = {name: r.score(requests) for name, r in found.items()}
  result = evaluate_lib.from_scores(
    group,
    scores,
    labels,
    request_ids=[r.request_id for r in requests],
    where=np.arange(counts.max(initial=0)) < counts[:, None],
    known=None
    if training_log is None
    else known(requests, training_log.item_counts),
    selection=selection,
    seed=seed,
    descriptions={name: r.description for name, r in found.items()},
  )
  if training_log is None:
    return result
  return dataclasses.replace(result, lists=[scored(requests, scores)])


def evaluate_catalog(
  group: str,
  found: Mapping[str, retriever.Retriever],
  requests: Sequence[request.RankingRequest],
  *,
  training_log: interaction.InteractionLog | None = None,
  remove_seen: bool = True,
  selection: selection_lib.Selection = CATALOGUE,
  seed: int = 0,
) -> results.EvaluationResult:
  """Ranks the whole catalogue with several retrievers.

  Args:
    group: name of the evaluation.
    found: fitted retrievers by name.
    requests: with targets.
    training_log: what items are counted in; None leaves out everything that is
      split by popularity and history, and what the retrievers show.
    remove_seen: see `catalog_ranks`.
    selection: the metrics.
    seed: of the bootstrap and of the randomisation test.

  Returns:
    The result; HR@K is also the recall of the K items retrieved.

  Raises:
    ValueError: where there is no retriever or no request.
  """
  _check(group, found)
  ranked = {
    name: catalog_ranks(r, requests, remove_seen=remove_seen)
    for name, r in found.items()
  }
  _, counts = next(iter(ranked.values()))
  result = evaluate_lib.from_ranks(
    group,
    {name: ranks for name, (ranks, _) in ranked.items()},
    counts,
    request_ids=[r.request_id for r in requests],
    known=None
    if training_log is None
    else known(requests, training_log.item_counts, has_lists=False),
    selection=selection,
    seed=seed,
    descriptions={name: r.description for name, r in found.items()},
  )
  if training_log is None:
    return result
  return dataclasses.replace(
    result,
    exposures={
      name: exposure(
        r, requests, training_log.item_counts, remove_seen=remove_seen
      )
      for name, r in found.items()
    },
  )


def _check(group: str, found: Mapping[str, retriever.Retriever]) -> None:
  if not found:
    raise ValueError(f"{group}: there are no retrievers to evaluate")
