"""Titles of the whole catalogue, written by a run, beside other rankers of it.

The protocol of GenRec: nothing but the history is given, all items are the
candidates, and a list of ten titles is what is looked at. Items of the history
are left out, as they are for retrievers, but where the model writes freely.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from instructrec.data import request
from instructrec.evaluation import evaluate as evaluate_lib
from instructrec.evaluation import generated, metrics, results, selection
from instructrec.models.generation import catalog_trie
from instructrec.models.objectives import objective
from instructrec.pipelines import blocks
from instructrec.retrieval import evaluate, retriever, run_weights
from instructrec.serving import model_parts, opened_run, run_retriever
from instructrec.settings.evaluation import PLACES
from instructrec.training import batches, scoring, title_writing

_USUAL = selection.Selection(metrics.default_names((1, 5, 10), (5, 10)))
# A writer's batches whose scores of all items are computed at once.
_BATCHES = 16
_Numbers = Int[np.ndarray, "requests places"]


@dataclasses.dataclass(frozen=True, eq=False)
class WrittenRows:
  """Writes for the requests of a task, and ranks them in other ways too.

  Attributes:
    opened: the run with its parameters.
    weights: of the parts of its score; see `retrieval/run_weights.py`.
    retrievers: fitted ones by name, as further rows.
    num_beams: each a row.
    num_exact: requests for which all titles are scored, to see what beams miss.
    seed: of the bootstrap.
    metric_names: those to report, as `metrics.parse` reads them; none for HR
      and NDCG at 5 and 10, as in the paper.
  """

  opened: opened_run.OpenedRun
  weights: run_weights.RunWeights
  retrievers: Mapping[str, retriever.Retriever]
  num_beams: Sequence[int]
  num_exact: int = 0
  seed: int = 0
  metric_names: Sequence[str] = ()

  def __post_init__(self) -> None:
    """Checks that the run has learnt to write.

    Raises:
      ValueError: where it has not.
    """
    parts = self.opened.parts
    if objective.LIKELIHOOD not in parts.trained:
      raise ValueError(
        f"the run in {parts.run.directory} matches titles and never learnt to "
        "write them; train one with gin/objectives/next_item_and_token.gin, or "
        "leave out --num_beams"
      )

  @functools.cached_property
  def _titles(self) -> blocks.Titles:
    run = self.opened.run
    return blocks.Titles.encode(self.opened.catalog, run.tokenizer)

  @functools.cached_property
  def _writer(self) -> title_writing.TitleWriter:
    parts, run = self.opened.parts, self.opened.run
    tokens = self._titles.tokens
    # What learns likelihoods is a `NetworkRankingModel`.
    model: Any = run.model
    config = model.module.config
    trie = catalog_trie.CatalogTrie.build(
      [row.tolist() for row in np.split(tokens.tokens, tokens.offsets[1:-1])],
      eos_id=config.eos_id,
      vocab_size=config.vocab_size,
      names=self.opened.catalog.titles,
    )
    return title_writing.TitleWriter(run.model, parts.params, trie, parts.items)

  def evaluate(
    self, group: str, found: Sequence[blocks.Block]
  ) -> tuple[results.EvaluationResult, list[str]]:
    """Writes lists, and ranks the catalogue in every other way.

    Args:
      group: name of the task.
      found: its requests.

    Returns:
      The result, and a section on what is wrong with the lists.
    """
    name = f"{group}, whole catalogue"
    requests = [one for block in found for one in block.requests]
    prompts = self._prompts(found)
    catalog = self.opened.catalog
    targets = np.array([catalog.index(str(r.target)) for r in requests])
    written, descriptions = self._written(requests, prompts)
    ranks = {
      method: lists.ranks(targets, len(catalog))
      for method, lists in written.items()
    }
    for method, one in self._rankers().items():
      ranks[method], _ = evaluate.catalog_ranks(one, requests)
      descriptions[method] = one.description
    log = self.opened.prepared.split.training_log
    result = evaluate_lib.from_ranks(
      name,
      ranks,
      np.full(len(requests), len(catalog)),
      request_ids=[r.request_id for r in requests],
      known=evaluate.known(requests, log.item_counts, has_lists=False),
      selection=selection.Selection.of(self.metric_names, _USUAL),
      seed=self.seed,
      descriptions=descriptions,
    )
    section = generated.section(
      name,
      written,
      [[catalog.index(i) for i in r.history] for r in requests],
      exact=self._exact(found, requests) if self.num_exact else None,
      seed=self.seed,
      clusters=[r.user_id for r in requests],
    )
    return result, section

  def _prompts(self, found: Sequence[blocks.Block]) -> title_writing.Prompts:
    """The instructions of the requests, as the task has them."""
    items, data = self.opened.parts.items, found[0].tokens
    examples = np.concatenate([block.examples for block in found])
    history = None
    if items is not None and items.history_length:
      history = items.history(data, examples)
    return title_writing.Prompts(
      batches.instructions(data, items),
      examples,
      history,
      self.opened.run.data.inputs_length,
    )

  def _rankers(self) -> dict[str, retriever.Retriever]:
    if not self.opened.ranks_catalogs:
      return dict(self.retrievers)
    return {
      "state vector": run_retriever.RunRetriever(self.opened),
      **self.retrievers,
    }

  def _kinds(
    self, requests: Sequence[request.RankingRequest]
  ) -> Shaped[np.ndarray, " requests"]:
    """By which of the run's weights each request is ranked."""
    return np.array(
      [
        run_weights.kind_of(history=bool(r.history), wish=bool(r.intention))
        for r in requests
      ]
    )

  def _leads(self, requests: Sequence[request.RankingRequest]) -> bool:
    """Whether the other parts of the score can lead beams.

    They are added to titles in units of these, which must count for all.
    """
    return self.opened.ranks_catalogs and all(
      self.weights.of_kind(str(kind)).get(model_parts.LIKELIHOOD, 0.0) > 0
      for kind in np.unique(self._kinds(requests))
    )

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> title_writing.ItemScores:
    """What the other parts say, and what ranks where no titles are written."""
    parts, ranker = self.opened.parts, self.opened.catalog_ranker
    histories = [r.history for r in requests]
    wishes = [r.intention for r in requests]
    found = parts.of_catalog(histories, wishes)
    lead = ranker.combined(histories, wishes, found)
    found[model_parts.PRIOR] = np.broadcast_to(parts.priors[1:], lead.shape)
    kinds, added = self._kinds(requests), np.zeros(lead.shape)
    for kind in np.unique(kinds):
      weights, rows = self.weights.of_kind(str(kind)), kinds == kind
      for part, weight in weights.items():
        if weight and part != model_parts.LIKELIHOOD:
          added[rows] += (
            weight / weights[model_parts.LIKELIHOOD] * found[part][rows]
          )
    return title_writing.ItemScores(added, lead)

  def _score_items(
    self, requests: Sequence[request.RankingRequest]
  ) -> title_writing.ScoreItems:
    """Scores computed for many requests at once, and handed out few by few."""
    size = _BATCHES * self._writer.batch_size

    @functools.lru_cache(maxsize=1)
    def block(start: int) -> title_writing.ItemScores:
      return self._scores(requests[start : start + size])

    def scores(rows: slice) -> title_writing.ItemScores:
      start = rows.start // size * size
      return block(start).rows(slice(rows.start - start, rows.stop - start))

    return scores

  def _written(
    self,
    requests: Sequence[request.RankingRequest],
    prompts: title_writing.Prompts,
  ) -> tuple[dict[str, generated.Written], dict[str, str]]:
    """Lists by method, and what the methods are."""
    excluded, leads = self._excluded(requests), self._leads(requests)
    kinds = np.unique(self._kinds(requests))
    score = "; ".join(self.weights.describe(str(kind)) for kind in kinds)
    found: dict[str, generated.Written] = {}
    what: dict[str, str] = {}
    for count in self.num_beams:
      name = f"titles, {count} beams"
      what[name] = "the likeliest titles of the catalogue, history left out"
      found[name] = _lists(
        self._writer.write(
          prompts, excluded, PLACES, num_beams=count, label=name
        )
      )
      if leads:
        name = f"titles and matches, {count} beams"
        what[name] = (
          f"the {count} items that the state vector ranks first, by the whole "
          f"score: {score}"
        )
        found[name] = _lists(
          self._writer.write(
            prompts,
            excluded,
            PLACES,
            num_beams=count,
            score_items=self._score_items(requests),
            label=name,
          )
        )
    name = f"titles, {PLACES} beams, free"
    what[name] = "what the model writes without a catalogue to keep to"
    found[name] = self._freely(prompts, name)
    return found, what

  def _excluded(
    self, requests: Sequence[request.RankingRequest]
  ) -> list[list[int]]:
    """Numbers of the history's items; a target that was taken before stays."""
    index = self.opened.catalog.index
    return [
      [index(item) + 1 for item in dict.fromkeys(r.history) if item != r.target]
      for r in requests
    ]

  def _freely(
    self, prompts: title_writing.Prompts, label: str
  ) -> generated.Written:
    """Free texts, and which of them are titles to the letter."""
    tokens = self._writer.write_freely(prompts, PLACES, label=label)
    decode = self.opened.run.tokenizer.decode
    index = {
      title: place for place, title in enumerate(self.opened.catalog.titles)
    }
    items = [
      [index.get(decode(text[text > 0]), generated.INVALID) for text in row]
      for row in tokens
    ]
    return generated.Written(np.array(items))

  def _exact(
    self,
    found: Sequence[blocks.Block],
    requests: Sequence[request.RankingRequest],
  ) -> dict[str, generated.Written]:
    """The best of all items for the first requests, by scoring every title."""
    few = requests[: self.num_exact]
    likelihoods = self._all_likelihoods(found, len(few))
    banned = np.zeros(likelihoods.shape, bool)
    for row, items in zip(banned, self._excluded(few), strict=True):
      row[np.array(items, np.int64) - 1] = True

    def best(scores: np.ndarray) -> generated.Written:
      scores = np.where(banned, -np.inf, scores)
      return generated.Written(
        np.argsort(-scores, axis=1, kind="stable")[:, :PLACES]
      )

    plain = best(likelihoods)
    exact = {f"titles, {count} beams": plain for count in self.num_beams}
    if self._leads(few):
      whole = best(likelihoods + self._scores(few).added)
      exact |= {
        f"titles and matches, {count} beams": whole for count in self.num_beams
      }
    return exact

  def _all_likelihoods(
    self, found: Sequence[blocks.Block], count: int
  ) -> Float[np.ndarray, "requests items"]:
    """The likelihood of every title for the first requests."""
    block, run = found[0], self.opened.run
    parts, total = self.opened.parts, len(self.opened.catalog)
    places = np.tile(np.arange(total), count)
    data = block.tokens.with_lists(
      block.examples[:count],
      self._titles.tokens.take(places),
      np.full(count, total),
      (places + 1).astype(np.int32),
    )
    (scores,) = scoring.score_lists(
      run.model,
      parts.params,
      data,
      np.arange(count),
      inputs_length=run.data.inputs_length,
      targets_length=int(self._titles.tokens.lengths.max()),
      batch_size=parts.batch_size,
      mesh_config=run.mesh,
      items=parts.items,
      label="score every title",
    ).values()
    return scores


def _lists(numbers: _Numbers) -> generated.Written:
  """Numbers from 1 as places of a list."""
  return generated.Written(
    np.where(numbers > 0, numbers.astype(np.int64) - 1, generated.EMPTY)
  )
