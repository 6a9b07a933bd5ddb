"""Ranks for one request after another, as people ask: by titles and in words.

What ranks depends on what the run has learnt: matches of titles, which rank the
catalogue by weighted parts, or likelihoods of titles alone.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from instructrec import limits
from instructrec.serving import (
  catalog_ranker,
  constraints,
  conversation,
  conversation_state,
  item_lookup,
  item_shelf,
  likely_ranker,
  opened_run,
  rankings,
  reasons,
  wish_sentence,
)
from instructrec.serving import ranker as ranker_lib
from instructrec.settings import option, ranking, run


@dataclasses.dataclass(frozen=True, eq=False)
class Ranker:
  """A run that answers requests; the first one compiles, the others do not.

  Attributes:
    opened: the run with its items and wordings.

  Example:
    >>> ranker = instructrec.Ranker.open("work/model")
    >>> found = ranker.rank(history=["Toy Story (1995)"], wish="No cartoons!")
    >>> [place.title for place in found]
  """

  opened: opened_run.OpenedRun

  @classmethod
  def open(
    cls, model_dir: str | os.PathLike[str] | None = None, **settings: Any
  ) -> Self:
    """Opens the folder of a run.

    Args:
      model_dir: what `train` wrote, or T5X; None for `gin_files` and a
        `checkpoint`.
      **settings: other fields of `RunSettings`, such as `checkpoint`.

    Returns:
      The ranker.

    Raises:
      FileNotFoundError: where run, instructions or data are gone.
      TypeError: where there is no such setting.
      ValueError: where instructions or data are others.
    """
    made = option.make(run.RunSettings, model_dir=model_dir, **settings)
    return cls(opened_run.OpenedRun.open(made))

  def rank(
    self,
    history: Sequence[str] = (),
    wish: str | conversation_state.State | None = None,
    *,
    k: int = 10,
    candidates: Sequence[str] | None = None,
    on_unknown: ranking.OnUnknown | str = ranking.OnUnknown.error,
    asked: Sequence[constraints.Constraint] = (),
  ) -> rankings.Ranking:
    """The best items for a history and a wish.

    A wish is read as the one message of a conversation. What it wants moves
    items up; what binds in it (prices, "only", what is refused) keeps items out
    of the catalogue, and stands behind the others where candidates are given.

    Args:
      history: titles or ids of what was taken, oldest first; may be empty.
        `id:7` and `title:7` say which of the two is meant.
      wish: what is wanted, in words, or what `conversations` read of several
        messages. To the model, a full stop is put behind it where it has none,
        as the sentences of training do.
      k: how many places; fewer where the wish asks for fewer.
      candidates: titles or ids to rank; None for the catalogue but the history.
      on_unknown: "error", "skip" or "nearest": what to do with titles that the
        catalogue does not have; what was done is among the notes.
      asked: what is asked beside the wish. No item is ranked that breaks what
        binds; see `constraints`.

    Returns:
      The places; ties keep the order of the catalogue, or of the candidates.

    Raises:
      TypeError: for a title that stands alone where several are expected.
      NothingLeftError: where no item meets what is asked.
      ValueError: where there is neither history nor wish, the wish is too long,
        an item is not known or there is no candidate, or k is below 1.
    """
    request = self.request(
      history,
      wish,
      k=k,
      candidates=candidates,
      on_unknown=on_unknown,
      asked=asked,
    )
    (found,) = self.rank_all([request])
    return found

  def request(
    self,
    history: Sequence[str] = (),
    wish: str | conversation_state.State | None = None,
    *,
    k: int = 10,
    candidates: Sequence[str] | None = None,
    on_unknown: ranking.OnUnknown | str = ranking.OnUnknown.error,
    asked: Sequence[constraints.Constraint] = (),
  ) -> rankings.Request:
    """A request, its items found in the catalogue; see `rank`."""
    if k < 1:
      raise ValueError(f"k is {k}, expected 1 or more")
    if isinstance(wish, str):
      limits.WISH_CHARS.check(len(wish), "the wish")
    policy, notes = ranking.OnUnknown(on_unknown), list[str]()
    items = self.opened.catalog
    state = self.read(self.items(history, policy, notes), wish)
    taken, said = state.history, wish_sentence.sentence(state.wish)
    every = (*state.kept, *asked)
    among = breaking = None
    if candidates is None:
      asked = every
      if texts := [one.text for one in state.kept if one.binds]:
        notes.append(f"what the wish asks binds: {', '.join(texts)}")
      allowed = np.ones(len(items), bool)
      allowed[[items.index(item) for item in taken]] = False
      places = np.flatnonzero(allowed)
    else:
      among = self.items(candidates, policy, notes)
      places = np.array([items.index(item) for item in among], np.int64)
    if not len(places):
      raise ValueError("there are no candidates to rank")
    places = self._meeting(places, asked)
    k, more = constraints.places(asked, k)
    notes += more
    if among is not None and state.kept:
      breaking = ~self.shelf.allowed(state.kept, unknown=True)[places]
      notes += constraints.told(state.kept, breaking, "candidates")
    # What is asked may be all: a matching run then ranks for nobody.
    if (
      not taken and said is None and not (every and self.opened.ranks_catalogs)
    ):
      raise ValueError("a request needs a history, a sentence, or both")
    notes += self.unread(taken, said)
    if warning := self.opened.weights_warning:
      notes.append(warning)
    return rankings.Request(
      tuple(taken),
      said,
      k,
      places,
      every,
      among is None,
      tuple(notes),
      tuple(self.shelf.limits(asked, k)) if asked else (),
      breaking,
      state.understood if wish else None,
    )

  def read(
    self,
    history: Sequence[str],
    wish: str | conversation_state.State | None,
  ) -> conversation_state.State:
    """What a request asks, its history among it.

    Args:
      history: ids, oldest first.
      wish: see `rank`.

    Returns:
      As of a conversation of one message. Where nothing but the words is left
      to rank by, they are the wish of a run that ranks by likelihoods.
    """
    if isinstance(wish, conversation_state.State):
      before = [item for item in history if item not in wish.taken]
      return dataclasses.replace(wish, taken=(*before, *wish.taken))
    if wish is None or not wish.strip():
      return conversation_state.State(taken=tuple(history))
    state = self.conversations.read_wish(wish, history)
    if state.history or state.wish or self.opened.ranks_catalogs:
      return state
    return dataclasses.replace(state, wish=wish)

  def _meeting(
    self,
    places: Int[np.ndarray, " places"],
    asked: Sequence[constraints.Constraint],
  ) -> Int[np.ndarray, " meeting"]:
    """Those of some items that break nothing; fails where there is none."""
    if not asked:
      return places
    places = places[self.shelf.allowed(asked)[places]]
    if not len(places):
      texts = ", ".join(one.text for one in asked if one.binds)
      raise rankings.NothingLeftError(
        f"no item that is ranked is known to meet all of this: {texts}; ask "
        "for less"
      )
    return places

  def rank_all(
    self, requests: Sequence[rankings.Request]
  ) -> list[rankings.Ranking]:
    """Ranks for several requests, in as few steps as the run can.

    Args:
      requests: what `request` gave.

    Returns:
      A ranking for each; see `rank`.

    Raises:
      ValueError: where one has neither history nor wish, or no candidate.
    """
    if not requests:
      return []
    if self.opened.ranks_catalogs:
      ranked = self._matched(requests)
    else:
      ranked = [self._likely.rank(one) for one in requests]
    return [
      dataclasses.replace(
        found,
        history=one.history,
        wish=one.wish,
        understood=one.understood,
        notes=one.notes,
      )
      for one, found in zip(requests, ranked, strict=True)
    ]

  @functools.cached_property
  def shelf(self) -> item_shelf.Shelf:
    """The items, asked for what they meet."""
    return item_shelf.Shelf(self.opened.catalog, self.opened.parts.attributes)

  @functools.cached_property
  def conversations(self) -> conversation.Conversations:
    """Reads conversations about the items.

    What they come to is ranked for by `rank(wish=state)`.
    """
    return conversation.Conversations(self.shelf, self.opened.parts.reader)

  @functools.cached_property
  def lookup(self) -> item_lookup.ItemLookup:
    """Finds items by titles and ids."""
    return item_lookup.ItemLookup(self.opened.catalog)

  def items(
    self,
    names: Sequence[str],
    on_unknown: ranking.OnUnknown,
    notes: list[str],
  ) -> list[str]:
    """The ids of items; see `ItemLookup.items`."""
    return self.lookup.items(names, on_unknown, notes)

  @functools.cached_property
  def instructions(self) -> ranker_lib.InstructionRanker:
    """What ranks by likelihoods."""
    opened = self.opened.run
    return ranker_lib.InstructionRanker(
      model=opened.model,
      params=self.opened.params,
      tokenizer=opened.tokenizer,
      catalog=self.opened.catalog,
      inputs_length=opened.data.inputs_length,
      targets_length=opened.data.targets_length,
      template_set=self.opened.template_set,
    )

  @functools.cached_property
  def _likely(self) -> likely_ranker.LikelyRanker:
    return likely_ranker.LikelyRanker(self.instructions)

  def unread(self, history: Sequence[str], wish: str | None) -> list[str]:
    """What of a request is longer than the model reads, in words.

    Args:
      history: item ids, oldest first.
      wish: what is wanted, as a sentence; None for nothing.

    Returns:
      A note for each thing that is not read.
    """
    if not history and wish is None:
      return []
    if self.opened.ranks_catalogs:
      text = self.opened.parts.prompts.text(wish)
      read = self.opened.run.data.history_length
    else:
      text = self.instructions.instruction(history, wish)
      read = self.instructions.num_read(history, wish)
    notes = []
    if read < len(history):
      notes.append(
        f"of the history, the newest {read} of {len(history)} items are read"
      )
    # What stands behind a wish may go; the wish ends where it ends.
    what, end = "instruction", len(text)
    if wish is not None and wish in text:
      what, end = "wish", text.index(wish) + len(wish)
    most = self.opened.run.data.inputs_length - 1
    vocabulary = self.opened.run.tokenizer
    tokens = vocabulary.encode(text[:end])[:-1]
    if len(tokens) > most:
      notes.append(
        f"the {what} is cut: up to its end there are {len(tokens)} tokens, the "
        f"model reads {most}, to '...{vocabulary.decode(tokens[:most])[-40:]}'"
      )
    return notes

  def _matched(
    self, requests: Sequence[rankings.Request]
  ) -> list[rankings.Ranking]:
    """The best by the weighted sum, with what each part adds."""
    ranker = self.opened.catalog_ranker
    found = ranker.rank_all(
      [
        catalog_ranker.Asked(
          one.history, one.wish, one.places, one.k, one.limits, one.breaking
        )
        for one in requests
      ]
    )
    return [
      rankings.Ranking(
        tuple(
          rankings.Place(p.item_id, p.title, p.score, p.parts) for p in placed
        ),
        len(one.places),
        ranker.weights.describe(ranker.kind(one.history, one.wish)),
      )
      for one, placed in zip(requests, found, strict=True)
    ]

  def explain(
    self, request: rankings.Request, found: rankings.Ranking
  ) -> list[reasons.Reasons]:
    """Why the places of a ranking are there.

    Args:
      request: what was asked.
      found: its ranking.

    Returns:
      The reasons for each place; see `reasons`.
    """
    items = self.opened.catalog
    ids = [place.item_id for place in found]
    ranked = np.zeros(len(items), bool)
    scores: reasons.Scores
    if self.opened.ranks_catalogs:
      ranked[request.places] = True
      scores = self.opened.catalog_ranker.score_catalog
    else:
      ranked[[items.index(item) for item in ids]] = True
      scores = functools.partial(self._likely.scores, ids)
    explainer = reasons.Explainer(
      self.shelf,
      self.opened.parts.reader,
      scores,
      scores_nothing=self.opened.ranks_catalogs,
    )
    return explainer.explain(
      request.history, request.wish, ids, request.asked, ranked
    )
