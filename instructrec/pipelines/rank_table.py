"""Ranks of several methods, gathered block by block.

Of a block its ranks and what is known of its requests are kept, as many bytes a
request however long its list is. Candidates and their scores go to disk;
instructions and tokens are not kept.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.data import interaction
from instructrec.evaluation import (
  agreement,
  evaluate,
  facts,
  metrics,
  results,
  scored_lists,
  selection,
)
from instructrec.pipelines import blocks
from instructrec.retrieval import evaluate as ranking

_LONG = 20


class RankTable:
  """The ranks of the targets, a column a method.

  A target that a list lacks has the worst rank, that of the whole catalogue:
  no reranker can bring it back.

  Args:
    num_items: size of the catalogue.
    training_log: what targets are counted in, once.
    seed: of the bootstrap and of the randomisation test.
    metric_names: those to report, as `metrics.parse` reads them; none for
      the usual ones.
  """

  def __init__(
    self,
    num_items: int,
    training_log: interaction.InteractionLog,
    seed: int,
    metric_names: Sequence[str] = (),
  ) -> None:
    self._worst = num_items - 1
    self._item_counts = training_log.item_counts
    self._seed = seed
    self._metric_names = metric_names
    self._known: list[facts.Facts] = []
    self._lists = scored_lists.Spool()
    # Of the block that is not ended yet.
    self._scores: dict[str, Float[np.ndarray, "requests candidates"]] = {}
    self._ranks: dict[str, list[metrics.Ranks]] = defaultdict(list)
    self._descriptions: dict[str, str] = {}
    self._agreements: dict[str, agreement.Agreement] = {}
    self._chance: list[metrics.Ranks] = []
    self._labels: list[Int[np.ndarray, " requests"]] = []
    self._counts: list[Int[np.ndarray, " requests"]] = []
    self._request_ids: list[str] = []

  def add(
    self,
    block: blocks.Block,
    name: str,
    scores: Float[np.ndarray, "requests candidates"],
    description: str,
  ) -> None:
    """One method's scores of a block.

    Args:
      block: what was scored.
      name: of the method.
      scores: of its candidates; higher is better.
      description: a sentence on what they are.

    Raises:
      ValueError: where the block has scores of that name already.
    """
    if name in self._scores:
      raise ValueError(
        f"two methods are called {name!r}; rename the folder of a retriever"
      )
    self._ranks[name].append(self._from_scores(block, scores))
    self._scores[name] = scores
    self._descriptions[name] = description

  def add_orders(
    self,
    block: blocks.Block,
    name: str,
    scores: Sequence[Float[np.ndarray, "requests candidates"]],
    description: str,
  ) -> None:
    """One method's scores of a block under several orders of its candidates.

    Args:
      block: what was scored.
      name: of the method.
      scores: by order; metrics are those of the first.
      description: a sentence on what they are.

    Raises:
      ValueError: where the block has scores of that name already.
    """
    self.add(block, name, scores[0], description)
    if len(scores) > 1:
      found = agreement.Agreement.of(np.stack(scores), block.where)
      if name in self._agreements:
        found = self._agreements[name].merge(found)
      self._agreements[name] = found

  def end(self, block: blocks.Block) -> None:
    """Ends a block that every method has scored."""
    self._request_ids += [r.request_id for r in block.requests]
    self._known.append(ranking.known(block.requests, self._item_counts))
    self._lists.append(ranking.scored(block.requests, self._scores))
    self._scores = {}
    self._labels.append(block.labels)
    self._counts.append(block.where.sum(1))
    tied = np.zeros(block.where.shape)
    self._chance.append(self._from_scores(block, tied))

  def _from_scores(
    self, block: blocks.Block, scores: Float[np.ndarray, "requests candidates"]
  ) -> metrics.Ranks:
    has = block.labels >= 0
    greater = np.full(len(has), self._worst)
    equal = np.ones(len(has), np.int64)
    if has.any():
      greater[has], equal[has] = metrics.tied_ranks(
        scores[has], block.labels[has], where=block.where[has]
      )
    return metrics.Ranks(
      greater, equal, metrics.count_nan(scores, where=block.where)
    )

  def overall(self, group: str) -> list[results.EvaluationResult]:
    """All requests as one result.

    Args:
      group: its name.

    Returns:
      The result; none where there was no block.
    """
    if not self._request_ids:
      return []
    return [self._result(group, np.ones(len(self._request_ids), bool))]

  def by_retrieval(
    self, group: str, retriever: str
  ) -> list[results.EvaluationResult]:
    """All requests, and those whose target stands in its list.

    Args:
      group: what their names begin with.
      retriever: the method whose description says how many were retrieved.

    Returns:
      The two results; one where no target was retrieved.
    """
    if not self._request_ids:
      return []
    has = np.concatenate(self._labels) >= 0
    self._descriptions[retriever] += (
      f"; the target of {has.sum():,} of {len(has):,} requests was retrieved, "
      f"and no HR or NDCG over all requests exceeds {has.mean():.4f}"
    )
    found = [self._result(f"{group}, all requests", np.ones(len(has), bool))]
    if has.any():
      found.append(self._result(f"{group}, target retrieved", has))
    return found

  def _result(
    self, group: str, rows: Bool[np.ndarray, " requests"]
  ) -> results.EvaluationResult:
    counts = np.concatenate(self._counts)[rows]
    complete = (np.concatenate(self._labels)[rows] >= 0).all()
    # Lists of twenty and more are looked at as deep as published ones are.
    more = (_LONG,) if counts.min() >= _LONG else ()
    usual = selection.Selection(
      metrics.default_names(
        (*metrics.HIT_RATE_AT, *more), (*metrics.NDCG_AT, *more)
      )
    )
    result = evaluate.from_ranks(
      group,
      {name: _joined(parts, rows) for name, parts in self._ranks.items()},
      counts,
      request_ids=[
        name for name, row in zip(self._request_ids, rows, strict=True) if row
      ],
      selection=selection.Selection.of(self._metric_names, usual),
      seed=self._seed,
      descriptions=self._descriptions,
      chance=None if complete else _joined(self._chance, rows),
      known=facts.concatenate(self._known).take(rows),
    )
    return dataclasses.replace(
      result,
      lists=scored_lists.Selection(self._lists, rows),
      # Of all requests; they are not kept one by one.
      agreements=self._agreements if rows.all() else {},
    )


def _joined(
  parts: Sequence[metrics.Ranks], rows: Bool[np.ndarray, " requests"]
) -> metrics.Ranks:
  return metrics.Ranks(
    np.concatenate([part.greater for part in parts])[rows],
    np.concatenate([part.equal for part in parts])[rows],
    sum(part.num_nan for part in parts),
  )
