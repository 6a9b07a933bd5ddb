"""Lists for the rows of control tasks, of a run and of other rankers.

All rows are about the same requests. What a method lists without the wish is
its list for the plain row of the same request.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from instructrec.alignment import asked, labels
from instructrec.data import request
from instructrec.evaluation import generated
from instructrec.evaluation.control import Direction
from instructrec.instructions import title_list
from instructrec.models.generation import (
  catalog_walk,
  leaf_intervals,
  list_policy,
  list_quota,
)
from instructrec.models.scoring import features
from instructrec.pipelines import control_requests
from instructrec.retrieval import retriever
from instructrec.serving import opened_run
from instructrec.training import item_titles, title_writing

MODEL, FREE = "model", "model, free"
FILTERED, FILTER_ONLY = "model, filtered", "model, filter only"
STATE, STATE_FILTERED = "state vector", "state vector, filtered"
TEACHER, ORACLE = "teacher", "teacher, filtered"
POPULARITY, POPULAR_FILTERED = "popularity", "popularity, filtered"
LABELS = "labels"
SPARE = 5
"""Entries beyond the longest list, with which a free text is cut."""
WHAT = {
  MODEL: "titles of the catalogue alone, none twice, none of the history",
  FREE: "any text: what the model does by itself",
  FILTERED: "as model; a filter holds its lists to the wish",
  FILTER_ONLY: "likewise, but the model is asked for a plain list: it does not "
  "know the wish",
  STATE: "what the state after the whole request, wish included, matches best, "
  "with popularity by the model's own weight; no title is written",
  STATE_FILTERED: "its best under a filter that holds lists to the wish "
  "exactly",
  TEACHER: "the retriever's best, without the wish",
  ORACLE: "its best under a filter that holds lists to the wish exactly",
  POPULARITY: "what most people took, without the wish",
  POPULAR_FILTERED: "likewise under the filter",
  LABELS: "what such rows teach; it knows the target",
}


@dataclasses.dataclass(frozen=True)
class Method:
  """Lists of one method for all rows.

  Attributes:
    items: places of the catalogue, or what stands there instead.
    where: the rows that it has lists for.
    without: its lists without a wish, by row; None where it has none.
  """

  items: Int[np.ndarray, "rows places"]
  where: Bool[np.ndarray, " rows"]
  without: Int[np.ndarray, "rows places"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ControlMethods:
  """Has all lists written.

  Attributes:
    opened: the run with its parameters.
    requests: the rows.
    teacher: the retriever whose lists they teach.
    popularity: a retriever of what most people took.
  """

  opened: opened_run.OpenedRun
  requests: control_requests.ControlRequests
  teacher: retriever.Retriever
  popularity: retriever.Retriever

  @functools.cached_property
  def asked(self) -> asked.Asked:
    """What the rows ask."""
    return self.requests.asked()

  @functools.cached_property
  def writer(self) -> title_writing.TitleWriter:
    """The model over the catalogue of the rows."""
    parts, run = self.opened.parts, self.opened.run
    # What decodes is a `NetworkRankingModel`.
    model: Any = run.model
    config = model.module.config
    folder = self.requests.instructions.directory
    trie = item_titles.ItemTitles(folder, run.vocabulary)(
      vocab_size=config.vocab_size, eos_id=config.eos_id
    )
    return title_writing.TitleWriter(
      model, parts.params, trie, parts.items, parts.batch_size
    )

  @functools.cached_property
  def _policy(self) -> list_policy.ListPolicy:
    return list_policy.ListPolicy(
      separator_id=self.opened.run.tokenizer.separator_id(title_list.SENTINEL),
      max_items=int(self.asked.k.max()),
      probability=catalog_walk.OPEN,
    )

  @functools.cached_property
  def reader(self) -> title_list.Reader:
    """Reads titles as the vocabulary gives them back."""
    words = self.opened.run.tokenizer
    titles = words.encode_all(self.opened.catalog.titles)
    return title_list.Reader([words.decode(title) for title in titles])

  @functools.cached_property
  def lists(self) -> dict[str, Method]:
    """Lists of all methods, by name."""
    rows, wishes = self.requests.lists, self.asked
    everywhere = np.ones(len(wishes), bool)
    has_user = rows.plain >= 0
    wished = wishes.wish.direction != Direction.PLAIN
    written = self._constrained(MODEL, np.arange(len(wishes)))
    # Rows without a user read whatever list, which nobody looks at.
    without = written[rows.plain]
    free = self._free()
    found = {
      MODEL: Method(written, everywhere, without),
      FREE: Method(free, everywhere, free[rows.plain]),
      FILTERED: Method(
        self._constrained(FILTERED, np.flatnonzero(wished), keep=True),
        wished,
        without,
      ),
      FILTER_ONLY: Method(
        self._constrained(
          FILTER_ONLY,
          np.flatnonzero(wished & has_user),
          prompts=rows.plain,
          keep=True,
        ),
        wished & has_user,
        without,
      ),
    }
    for plain, filtered, ranked, where in self._rankers():
      best, kept = self._ranked(ranked, where)
      found[plain] = Method(best, where, best[rows.plain])
      found[filtered] = Method(kept, where & wished, best[rows.plain])
    index = self.opened.catalog.index
    taught = [
      [index(item) for item in ids] for ids in rows.frame["label_ids"].to_list()
    ]
    found[LABELS] = Method(_padded(taught), everywhere)
    return found

  def _constrained(
    self,
    name: str,
    rows: Int[np.ndarray, " some"],
    *,
    prompts: Int[np.ndarray, " rows"] | None = None,
    keep: bool = False,
  ) -> Int[np.ndarray, "rows places"]:
    """The model's lists for some rows, with the catalogue to keep to.

    Args:
      name: of the method.
      rows: which of them.
      prompts: the row whose prompt is read for each; None for its own.
      keep: whether they are held to the wish.
    """
    own = self.asked.take(rows)
    read = rows if prompts is None else prompts[rows]
    # As NumPy arrays, of which each batch takes its own.
    requests: Any = list_policy.ListRequests(
      own.k.astype(np.int32),  # type: ignore[arg-type]
      leaf_intervals.Conditions(excluded=_excluded(own)),
      _quota(own) if keep else None,
    )
    numbers = self.writer.write_lists(
      self.requests.lists.prompts_of(read), requests, self._policy, label=name
    ).items[:, 0]
    found = np.full(
      (len(self.asked), numbers.shape[1]), generated.EMPTY, np.int64
    )
    found[rows] = np.where(
      numbers > 0, np.asarray(numbers, np.int64) - 1, generated.EMPTY
    )
    return found

  def _free(self) -> Int[np.ndarray, "rows places"]:
    """What the model writes by itself, read to the letter."""
    prompts, words = self.requests.lists.prompts, self.opened.run.tokenizer
    policy = dataclasses.replace(
      self._policy, max_items=self._policy.max_items + SPARE, constrained=False
    )
    most: Any = np.full(len(prompts), policy.max_items, np.int32)
    found = self.writer.write_lists(
      prompts, list_policy.ListRequests(most), policy, label=FREE
    )
    readings = []
    for text in np.asarray(found.tokens[:, 0]):
      entries = title_list.split_tokens(
        text,
        separator_id=policy.separator_id,
        eos_id=self.writer.trie.eos_id,
      )
      readings.append(self.reader.read_entries(map(words.decode, entries)))
    return title_list.to_array(readings)

  def _rankers(
    self,
  ) -> Iterator[
    tuple[str, str, Iterator[labels.Ranking], Bool[np.ndarray, " rows"]]
  ]:
    """What ranks the catalogue: its two names, rankings, and of which rows."""
    everywhere = np.ones(len(self.asked), bool)
    has_user = self.requests.lists.plain >= 0
    if self.opened.ranks_catalogs:
      yield STATE, STATE_FILTERED, self._matched(), everywhere
    for plain, filtered, one, where in (
      (TEACHER, ORACLE, self.teacher, has_user),
      (POPULARITY, POPULAR_FILTERED, self.popularity, everywhere),
    ):
      yield plain, filtered, self._retrieved(one, where), where

  def _matched(self) -> Iterator[labels.Ranking]:
    """Rankings by the state after each row's own request."""
    matcher, prompts = self.opened.parts.matcher, self.requests.lists.prompts
    assert matcher is not None
    assert prompts.history is not None
    states = matcher.states(
      prompts.texts,
      prompts.rows,
      prompts.history,
      inputs_length=prompts.inputs_length,
      label=STATE,
    )
    for start in range(0, len(states), retriever.CHUNK):
      part = slice(start, start + retriever.CHUNK)
      scores = matcher.catalog_logits(states[part])
      for row, known in zip(scores, self.asked.history[part], strict=True):
        unseen = np.ones(len(row), bool)
        unseen[known[known >= 0]] = False
        yield labels.Ranking(row, unseen)

  def _retrieved(
    self, one: retriever.Retriever, where: Bool[np.ndarray, " rows"]
  ) -> Iterator[labels.Ranking]:
    """A retriever's rankings for the histories of some rows."""
    requests = [
      request.RankingRequest(name, user, tuple(history), ())
      for name, user, history in self.requests.lists.frame.select(
        "request_id", "user_id", "history_ids"
      )
      .filter(pl.Series(where))
      .iter_rows()
    ]
    return labels.rankings(one, requests)

  def _ranked(
    self, rankings: Iterable[labels.Ranking], where: Bool[np.ndarray, " rows"]
  ) -> tuple[np.ndarray, np.ndarray]:
    """The best of rankings of some rows, without and with the filter."""
    wishes = self.asked
    low, high = wishes.bounds
    best: list[list[int]] = [[] for _ in where]
    kept: list[list[int]] = [[] for _ in where]
    for row, ranking in zip(
      np.flatnonzero(where).tolist(), rankings, strict=True
    ):
      k = int(wishes.k[row])
      best[row] = ranking.best(k)
      kept[row] = ranking.best_within(
        k, wishes.having[row], int(low[row]), int(high[row])
      )
    return _padded(best), _padded(kept)


def _excluded(own: asked.Asked) -> Any:
  """Numbers of the items of histories, in widths of which there are few."""
  width = int(features.padded_lengths(max(1, own.history.shape[1])))
  missing = width - own.history.shape[1]
  return np.pad(own.history + 1, ((0, 0), (0, missing))).astype(np.int32)


def _quota(own: asked.Asked) -> list_quota.Quota:
  """What holds lists to their wishes, as NumPy arrays."""
  low, high = own.bounds
  arrays: Any = (own.having, low.astype(np.int32), high.astype(np.int32))
  return list_quota.Quota(*arrays)


def _padded(lists: Sequence[Sequence[int]]) -> Int[np.ndarray, "rows places"]:
  width = max(map(len, lists), default=0)
  found = np.full((len(lists), width), generated.EMPTY, np.int64)
  for row, items in zip(found, lists, strict=True):
    row[: len(items)] = items
  return found
