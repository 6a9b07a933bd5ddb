"""Lists for the rows of control tasks, of a run and of other rankers.

All rows are about the same requests. What a method lists without the wish is
its list for the plain row of the same request.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from instructrec.alignment import labels
from instructrec.data import request
from instructrec.evaluation import generated
from instructrec.evaluation.control import Direction
from instructrec.pipelines import control_writing
from instructrec.retrieval import retriever

MODEL, FREE = "model", "model, free"
FILTERED, FILTER_ONLY = "model, filtered", "model, filter only"
LED, READ = "model, led", "model, led and read"
STATE, STATE_FILTERED = "state vector", "state vector, filtered"
TEACHER, ORACLE = "teacher", "teacher, filtered"
POPULARITY, POPULAR_FILTERED = "popularity", "popularity, filtered"
LABELS = "labels"
WHAT = {
  MODEL: "titles of the catalogue alone, none twice, none of the history",
  FREE: "any text: what the model does by itself",
  FILTERED: "as model; a filter holds its lists to the wish",
  FILTER_ONLY: "likewise, but the model is asked for a plain list: it does not "
  "know the wish",
  LED: "as model; each title is led by what the state after the whole request "
  "matches below it (`state vector`)",
  READ: "as model, led; what was read of the words of the request, by rules "
  "(`alignment/read_constraints.py`), pulls as well: the more, the more of the "
  "places that are left are still needed for it",
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
    misnumbered: separators with a wrong number, by row; None where separators
      are not its own.
  """

  items: Int[np.ndarray, "rows places"]
  where: Bool[np.ndarray, " rows"]
  without: Int[np.ndarray, "rows places"] | None = None
  misnumbered: Int[np.ndarray, " rows"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ControlMethods:
  """Has all lists written.

  Attributes:
    writer: the run, and the rows.
    teacher: the retriever whose lists they teach.
    popularity: a retriever of what most people took.
    lead: what leads lists; None for a run that matches no titles.
  """

  writer: control_writing.ControlWriter
  teacher: retriever.Retriever
  popularity: retriever.Retriever
  lead: control_writing.Lead | None = None

  @functools.cached_property
  def lists(self) -> dict[str, Method]:
    """Lists of all methods, by name."""
    writer = self.writer
    rows, wishes = writer.requests.lists, writer.asked
    everywhere = np.ones(len(wishes), bool)
    has_user = rows.plain >= 0
    wished = wishes.wish.direction != Direction.PLAIN
    every = np.arange(len(wishes))
    written = writer.constrained(MODEL, every)
    # Rows without a user read whatever list, which nobody looks at.
    without = written[rows.plain]
    free, misnumbered = writer.free(FREE)
    found = {
      MODEL: Method(written, everywhere, without),
      FREE: Method(free, everywhere, free[rows.plain], misnumbered),
      FILTERED: Method(
        writer.constrained(FILTERED, np.flatnonzero(wished), keep=True),
        wished,
        without,
      ),
      FILTER_ONLY: Method(
        writer.constrained(
          FILTER_ONLY,
          np.flatnonzero(wished & has_user),
          prompts=rows.plain,
          keep=True,
        ),
        wished & has_user,
        without,
      ),
    }
    if self.lead is not None:
      led = writer.constrained(LED, every, lead=self.lead._replace(pull=0.0))
      read = writer.constrained(READ, every, lead=self.lead)
      found[LED] = Method(led, everywhere, led[rows.plain])
      found[READ] = Method(read, everywhere, read[rows.plain])
    for plain, filtered, ranked, where in self._rankers():
      best, kept = self._ranked(ranked, where)
      found[plain] = Method(best, where, best[rows.plain])
      found[filtered] = Method(kept, where & wished, best[rows.plain])
    found[LABELS] = Method(writer.taught, everywhere)
    return found

  def _rankers(
    self,
  ) -> Iterator[
    tuple[str, str, Iterator[labels.Ranking], Bool[np.ndarray, " rows"]]
  ]:
    """What ranks the catalogue: its two names, rankings, and of which rows."""
    writer = self.writer
    everywhere = np.ones(len(writer.asked), bool)
    has_user = writer.requests.lists.plain >= 0
    if writer.opened.ranks_catalogs:
      yield STATE, STATE_FILTERED, writer.matched(), everywhere
    for plain, filtered, one, where in (
      (TEACHER, ORACLE, self.teacher, has_user),
      (POPULARITY, POPULAR_FILTERED, self.popularity, everywhere),
    ):
      yield plain, filtered, self._retrieved(one, where), where

  def _retrieved(
    self, one: retriever.Retriever, where: Bool[np.ndarray, " rows"]
  ) -> Iterator[labels.Ranking]:
    """A retriever's rankings for the histories of some rows."""
    requests = [
      request.RankingRequest(name, user, tuple(history), ())
      for name, user, history in self.writer.requests.lists.frame.select(
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
    wishes = self.writer.asked
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
    return generated.padded(best), generated.padded(kept)
