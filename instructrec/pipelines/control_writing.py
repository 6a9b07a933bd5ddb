"""Lists that a run writes, or ranks, for the rows of control tasks."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from instructrec.alignment import asked, labels, read_constraints
from instructrec.evaluation import generated
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

SPARE = 5
"""Entries beyond the longest list, with which a free text is cut; in tokens it
has as much room beyond the longest that the rows teach."""


class Lead(NamedTuple):
  """What leads lists that a run of matches writes.

  Attributes:
    match: what a nat of a match counts against one of a title.
    pull: in nats of matches, how what was read of the words pulls; see
      `list_quota.Quota`. 0 leaves it out.
  """

  match: float
  pull: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class ControlWriter:
  """Has a run answer rows.

  Attributes:
    opened: the run with its parameters.
    requests: the rows.
  """

  opened: opened_run.OpenedRun
  requests: control_requests.ControlRequests

  @functools.cached_property
  def said(self) -> asked.Asked:
    """What the words of the rows say that they ask, whatever the rows say.

    Read from the text that the model reads.
    """
    reader = read_constraints.ConstraintReader(self.opened.parts.attributes)
    rows, words = self.requests.lists, self.opened.run.tokenizer
    texts = map(words.decode, map(rows.prompts.texts.row, rows.prompts.rows))
    read = [*map(reader.read, texts)]
    return asked.Asked.of(rows.frame, self.opened.catalog, read)

  @functools.cached_property
  def asked(self) -> asked.Asked:
    """What the rows ask."""
    return self.requests.asked()

  @functools.cached_property
  def taught(self) -> Int[np.ndarray, "rows places"]:
    """Places of the items of the lists that the rows teach."""
    index = self.opened.catalog.index
    labelled = self.requests.lists.frame["label_ids"].to_list()
    return generated.padded([[*map(index, ids)] for ids in labelled])

  @functools.cached_property
  def titles(self) -> title_writing.TitleWriter:
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
      separator_ids=self.opened.run.tokenizer.separator_ids(
        title_list.SENTINELS
      ),
      max_items=int(self.asked.k.max()),
      probability=catalog_walk.OPEN,
    )

  @functools.cached_property
  def reader(self) -> title_list.Reader:
    """Reads titles as the vocabulary gives them back."""
    words = self.opened.run.tokenizer
    titles = words.encode_all(self.opened.catalog.titles)
    return title_list.Reader([words.decode(title) for title in titles])

  def constrained(
    self,
    name: str,
    rows: Int[np.ndarray, " some"],
    *,
    prompts: Int[np.ndarray, " rows"] | None = None,
    keep: bool = False,
    lead: Lead | None = None,
  ) -> Int[np.ndarray, "rows places"]:
    """The model's lists for some rows, with the catalogue to keep to.

    Args:
      name: what the progress line says.
      rows: which of them.
      prompts: the row whose prompt is read for each; None for its own.
      keep: whether they are held to the wish.
      lead: what leads them; None where titles are written without matches.

    Returns:
      Places of the catalogue for all rows, `generated.EMPTY` for the others.
    """
    own = self.asked.take(rows)
    read = rows if prompts is None else prompts[rows]
    quota = _quota(own) if keep else None
    if lead is not None and lead.pull:
      quota = _quota(self.said.take(read), lead.match * lead.pull)
    # As NumPy arrays, of which each batch takes its own.
    requests: Any = list_policy.ListRequests(
      own.k.astype(np.int32),  # type: ignore[arg-type]
      leaf_intervals.Conditions(
        excluded=_excluded(own),
        item_weight=1.0 if lead is None else lead.match,
      ),
      quota,
    )

    def scores(part: slice) -> Float[np.ndarray, "some items"]:
      return self.matches(read[part])

    numbers = self.titles.write_lists(
      self.requests.lists.prompts_of(read),
      requests,
      self._policy,
      lead=None if lead is None else scores,
      label=name,
    ).items[:, 0]
    found = np.full(
      (len(self.asked), numbers.shape[1]), generated.EMPTY, np.int64
    )
    found[rows] = np.where(
      numbers > 0, np.asarray(numbers, np.int64) - 1, generated.EMPTY
    )
    return found

  def free(
    self, name: str
  ) -> tuple[Int[np.ndarray, "rows places"], Int[np.ndarray, " rows"]]:
    """What the model writes by itself, read to the letter.

    Args:
      name: what the progress line says.

    Returns:
      Items, or what stands in their place; and separators with a wrong number.
    """
    prompts, words = self.requests.lists.prompts, self.opened.run.tokenizer
    most_items = self._policy.max_items
    longest = int(self.requests.lists.answers.lengths.max())
    policy = dataclasses.replace(
      self._policy,
      max_items=most_items + SPARE,
      constrained=False,
      max_length=longest * (most_items + SPARE) // most_items,
    )
    most: Any = np.full(len(prompts), policy.max_items, np.int32)
    found = self.titles.write_lists(
      prompts, list_policy.ListRequests(most), policy, label=name
    )
    readings = []
    for text in np.asarray(found.tokens[:, 0]):
      parts = title_list.split_tokens(
        text,
        separator_ids=policy.separator_ids,
        eos_id=self.titles.trie.eos_id,
      )
      entries = map(words.decode, parts.entries)
      readings.append(self.reader.read_entries(entries, parts.misnumbered))
    misnumbered = [reading.misnumbered for reading in readings]
    return title_list.to_array(readings), np.array(misnumbered)

  @functools.cached_property
  def _states(self) -> Float[np.ndarray, "rows embed"]:
    """After each row's own request."""
    matcher, prompts = self.opened.parts.matcher, self.requests.lists.prompts
    assert matcher is not None
    assert prompts.history is not None
    return matcher.states(
      prompts.texts,
      prompts.rows,
      prompts.history,
      inputs_length=prompts.inputs_length,
      label="states",
    )

  def matches(
    self, rows: Int[np.ndarray, " some"] | slice
  ) -> Float[np.ndarray, "some items"]:
    """How the states of some rows match the catalogue, with popularity."""
    matcher = self.opened.parts.matcher
    assert matcher is not None
    return matcher.catalog_logits(self._states[rows])

  def matched(self) -> Iterator[labels.Ranking]:
    """Rankings by the state after each row's own request."""
    for start in range(0, len(self.asked), retriever.CHUNK):
      part = slice(start, start + retriever.CHUNK)
      scores = self.matches(part)
      for row, known in zip(scores, self.asked.history[part], strict=True):
        unseen = np.ones(len(row), bool)
        unseen[known[known >= 0]] = False
        yield labels.Ranking(row, unseen)


def _excluded(own: asked.Asked) -> Any:
  """Numbers of the items of histories, in widths of which there are few."""
  width = int(features.padded_lengths(max(1, own.history.shape[1])))
  missing = width - own.history.shape[1]
  return np.pad(own.history + 1, ((0, 0), (0, missing))).astype(np.int32)


def _quota(own: asked.Asked, pull: float | None = None) -> list_quota.Quota:
  """What holds or pulls lists to what is asked, as NumPy arrays."""
  low, high = own.bounds
  arrays: Any = {
    "items": own.having,
    "at_least": low.astype(np.int32),
    "at_most": high.astype(np.int32),
  }
  return list_quota.Quota(**arrays, pull=pull)
