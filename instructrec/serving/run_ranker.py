"""Ranks for one request after another, as people ask: by titles and in words.

What ranks depends on what the run has learnt: matches of titles, which rank the
catalogue by weighted parts, or likelihoods of titles alone.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, Self, overload

import numpy as np
from jaxtyping import Float, Int

from instructrec.serving import (
  catalog_ranker,
  constraints,
  conversation,
  item_lookup,
  opened_run,
  reasons,
)
from instructrec.serving import ranker as ranker_lib
from instructrec.settings import option, ranking, run

_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟", "۔")  # noqa: RUF001
_CLOSING = "\"'”’»)]）」』"  # noqa: RUF001


@dataclasses.dataclass(frozen=True)
class Place:
  """One place of a ranking.

  Attributes:
    item_id: the item.
    title: what it is called.
    score: what it is ranked by: log-likelihood in nats, or the weighted sum.
    parts: what each part adds to it.
  """

  item_id: str
  title: str
  score: float
  parts: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Ranking(Sequence[Place]):
  """The best places for one request, best first.

  Attributes:
    places: at most as many as were asked for.
    num_candidates: how many items were ranked.
    score: what the score is, in words.
    history: ids of the items that it is ranked for, oldest first.
    wish: what was read as the wish; None where there was none.
    understood: what of the wish is known of items, in words; None where the
      run reads no wishes by rule.
    instruction: what the model was told; None where it reads histories item by
      item.
    notes: what was corrected, left out or not read.
  """

  places: tuple[Place, ...]
  num_candidates: int
  score: str
  history: tuple[str, ...] = ()
  wish: str | None = None
  understood: str | None = None
  instruction: str | None = None
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.places)

  @overload
  def __getitem__(self, index: int) -> Place: ...

  @overload
  def __getitem__(self, index: slice) -> Sequence[Place]: ...

  def __getitem__(self, index: int | slice) -> Place | Sequence[Place]:
    return self.places[index]


class NothingLeftError(ValueError):
  """No item meets all that is asked."""


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
  """A request, its items found in the catalogue.

  Attributes:
    history: ids, oldest first.
    wish: as it is ranked; None where there is none.
    k: how many places.
    places: positions in the catalogue of what is ranked.
    asked: beside the wish.
    is_whole: whether the places are of the whole catalogue.
    notes: what was corrected, left out or is not read.
  """

  history: tuple[str, ...]
  wish: str | None
  k: int
  places: Int[np.ndarray, " candidates"]
  asked: tuple[constraints.Constraint, ...]
  is_whole: bool
  notes: tuple[str, ...]


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
    wish: str | None = None,
    *,
    k: int = 10,
    candidates: Sequence[str] | None = None,
    on_unknown: ranking.OnUnknown | str = ranking.OnUnknown.error,
    asked: Sequence[constraints.Constraint] = (),
  ) -> Ranking:
    """The best items for a history and a wish.

    Args:
      history: titles or ids of what was taken, oldest first; may be empty.
        `id:7` and `title:7` say which of the two is meant.
      wish: what is wanted, in words; a full stop is put behind it where it has
        none, as the sentences of training do.
      k: how many places.
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
      ValueError: where there is neither history nor wish, an item is not known
        or there is no candidate, or k is below 1.
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
    wish: str | None = None,
    *,
    k: int = 10,
    candidates: Sequence[str] | None = None,
    on_unknown: ranking.OnUnknown | str = ranking.OnUnknown.error,
    asked: Sequence[constraints.Constraint] = (),
  ) -> "Request":
    """A request, its items found in the catalogue; see `rank`."""
    if k < 1:
      raise ValueError(f"k is {k}, expected 1 or more")
    policy, notes = ranking.OnUnknown(on_unknown), list[str]()
    items = self.opened.catalog
    taken = self.items(history, policy, notes)
    among = None
    if candidates is None:
      allowed = np.ones(len(items), bool)
      allowed[[items.index(item) for item in taken]] = False
      places = np.flatnonzero(allowed)
    else:
      among = self.items(candidates, policy, notes)
      places = np.array([items.index(item) for item in among], np.int64)
    if not len(places):
      raise ValueError("there are no candidates to rank")
    if asked:
      places = places[self.shelf.allowed(asked)[places]]
      if not len(places):
        texts = ", ".join(one.text for one in asked if one.binds)
        raise NothingLeftError(
          f"no item that is ranked is known to meet all of this: {texts}; ask "
          "for less"
        )
    said = sentence(wish)
    # What is asked may be all: a matching run then ranks for nobody.
    if (
      not taken and said is None and not (asked and self.opened.ranks_catalogs)
    ):
      raise ValueError("a request needs a history, a sentence, or both")
    notes += self.unread(taken, said)
    notes += self.unbound(said, asked)
    if warning := self.opened.weights_warning:
      notes.append(warning)
    return Request(
      tuple(taken), said, k, places, tuple(asked), among is None, tuple(notes)
    )

  def rank_all(self, requests: Sequence["Request"]) -> list[Ranking]:
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
    rank = self._matched if self.opened.ranks_catalogs else self._likely
    return [
      dataclasses.replace(
        found, history=one.history, wish=one.wish, notes=one.notes
      )
      for one, found in zip(requests, rank(requests), strict=True)
    ]

  @functools.cached_property
  def shelf(self) -> constraints.Shelf:
    """The items, asked for what they meet."""
    return constraints.Shelf(self.opened.catalog, self.opened.parts.attributes)

  @functools.cached_property
  def conversations(self) -> conversation.Conversations:
    """Reads conversations about the items.

    What holds after some messages is ranked for by `rank(state.history,
    state.wish, asked=state.kept)`.
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
      text = self.opened.parts.prompt(wish)
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

  def unbound(
    self, wish: str | None, asked: Sequence[constraints.Constraint]
  ) -> list[str]:
    """Prices that a wish bounds in vain: nothing is filtered by words.

    Args:
      wish: what is wanted; None for nothing.
      asked: what is filtered by.

    Returns:
      A note for each bound whose kind no filter has.
    """
    # Titles are read for it, which takes long for millions: only where a number
    # stands.
    if wish is None or not any(map(str.isdigit, wish)):
      return []
    filtered = {one.kind for one in asked}
    return [
      f"the wish asks for {one.text}, which filters nothing; give it as a "
      "filter"
      for one in self.conversations.bounds(wish)
      if one.kind not in filtered
    ]

  def _matched(self, requests: Sequence["Request"]) -> list[Ranking]:
    """The best by the weighted sum, with what each part adds."""
    ranker = self.opened.catalog_ranker
    found = ranker.rank_all(
      [
        catalog_ranker.Asked(
          one.history, one.wish, one.places, one.k, self._limits(one)
        )
        for one in requests
      ]
    )
    return [
      Ranking(
        tuple(Place(p.item_id, p.title, p.score, p.parts) for p in placed),
        len(one.places),
        ranker.weights.describe(ranker.kind(one.history, one.wish)),
        understood=one.wish and ranker.understood(one.wish, one.history),
      )
      for one, placed in zip(requests, found, strict=True)
    ]

  def explain(
    self, request: "Request", found: Ranking
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
      scores = functools.partial(self._likelihoods, ids)
    explainer = reasons.Explainer(
      self.shelf,
      self.opened.parts.reader,
      scores,
      scores_nothing=self.opened.ranks_catalogs,
    )
    return explainer.explain(
      request.history, request.wish, ids, request.asked, ranked
    )

  def _likelihoods(
    self,
    ids: Sequence[str],
    histories: Sequence[Sequence[str]],
    wishes: Sequence[str | None],
  ) -> Float[np.ndarray, "requests items"]:
    """Of some items; those of the others are no numbers."""
    items = self.opened.catalog
    scores = np.full((len(histories), len(items)), np.nan)
    for row, asked in enumerate(zip(histories, wishes, strict=True)):
      for one in self.instructions.rank(*asked, ids):
        scores[row, items.index(one.item_id)] = one.score
    return scores

  def _limits(self, request: "Request") -> Sequence[constraints.Limit]:
    return self.shelf.limits(request.asked) if request.asked else ()

  def _likely(self, requests: Sequence["Request"]) -> list[Ranking]:
    """The likeliest titles, one request after another."""
    return [self._likeliest(one) for one in requests]

  def _likeliest(self, request: "Request") -> Ranking:
    ranker, items = self.instructions, self.opened.catalog
    limits = self._limits(request)
    if request.is_whole:
      allowed = np.zeros(len(items), bool)
      allowed[request.places] = True
      ranked = ranker.top(
        request.history, request.wish, request.k, allowed=allowed, limits=limits
      )
    else:
      ids = [items.item_ids[place] for place in request.places]
      every = ranker.rank(request.history, request.wish, ids)
      by_place = {items.index(one.item_id): one for one in every}
      first = constraints.first(np.array([*by_place]), limits, request.k)
      ranked = [by_place[place] for place in first.tolist()]
    return Ranking(
      tuple(
        Place(p.item_id, p.title, p.score, {"likelihood": p.score})
        for p in ranked
      ),
      len(request.places),
      "log-likelihood in nats",
      instruction=ranker.instruction(request.history, request.wish),
    )


def sentence(wish: str | None) -> str | None:
  """A wish in one line, with a full stop where it ends in nothing.

  Args:
    wish: what was said; may be empty.

  Returns:
    The sentence; None where nothing was said.
  """
  text = " ".join((wish or "").split())
  if not text:
    return None
  ended = text.rstrip(_CLOSING).endswith(_ENDS)
  return text if ended else f"{text.rstrip(',;:')}."
