"""Ranks for one request after another, as people ask: by titles and in words.

What ranks depends on what the run has learnt: matches of titles, which rank the
catalogue by weighted parts, or likelihoods of titles alone.
"""

import dataclasses
import difflib
import functools
import os
from collections.abc import Sequence
from typing import Any, Self, overload

from instructrec.serving import opened_run
from instructrec.serving import ranker as ranker_lib
from instructrec.settings import option, ranking, run

_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟", "۔")  # noqa: RUF001
_CLOSING = "\"'”’»)]）」』"  # noqa: RUF001
# Less alike than that, a title is another one and no slip.
_ALIKE = 0.6
_PREFIXES = ("id:", "title:")


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

    Returns:
      The places; ties keep the order of the catalogue, or of the candidates.

    Raises:
      TypeError: for a title that stands alone where several are expected.
      ValueError: where there is neither history nor wish, an item is not known
        or there is no candidate, or k is below 1.
    """
    if k < 1:
      raise ValueError(f"k is {k}, expected 1 or more")
    policy, notes = ranking.OnUnknown(on_unknown), list[str]()
    taken = self.items(history, policy, notes)
    among = None
    if candidates is not None:
      among = self.items(candidates, policy, notes)
    said = sentence(wish)
    notes += self.unread(taken, said)
    rank = self._matched if self.opened.ranks_catalogs else self._likely
    found = rank(taken, said, among, k)
    return dataclasses.replace(
      found, history=tuple(taken), wish=said, notes=tuple(notes)
    )

  def items(
    self,
    names: Sequence[str],
    on_unknown: ranking.OnUnknown,
    notes: list[str],
  ) -> list[str]:
    """The ids of items.

    Args:
      names: titles or ids.
      on_unknown: what to do with those that the catalogue does not have.
      notes: takes what was done about them.

    Returns:
      The ids.

    Raises:
      TypeError: for one title that stands alone.
      ValueError: see `rank`.
    """
    if isinstance(names, str):
      raise TypeError(f"found {names!r}, expected several titles or ids")
    found = []
    for name in names:
      self._check_meant(name)
      try:
        found.append(self._item(name))
      except ValueError as error:
        nearest = None
        if on_unknown == ranking.OnUnknown.nearest:
          nearest = self._nearest(name)
        if nearest is not None:
          title = self.opened.catalog.title(nearest)
          notes.append(f"{name!r} was read as {title!r}")
          found.append(nearest)
        elif on_unknown == ranking.OnUnknown.skip:
          notes.append(f"left out: {error}")
        else:
          raise
    return found

  def _check_meant(self, name: str) -> None:
    """Fails for the id of an item that is another one's title."""
    items = self.opened.catalog
    if name in items and self._titles.get(name, name) != name:
      raise ValueError(
        f"{name!r} is the id of {items.title(name)!r} and the title of the "
        f"item {self._titles[name]!r}; write 'id:{name}' or 'title:{name}'"
      )

  def _item(self, name: str) -> str:
    """The id of the item with a title or an id."""
    items = self.opened.catalog
    kind, colon, rest = name.partition(":")
    marked = f"{kind}{colon}" in _PREFIXES
    if name in items:
      return name
    if marked and name not in self._titles:
      if kind == "title":
        return items.find_title(rest)
      if rest not in items:
        raise ValueError(f"no item has the id {rest!r}")
      return rest
    return items.find_title(name)

  def _nearest(self, name: str) -> str | None:
    close = difflib.get_close_matches(
      name.casefold(), self._folded, n=1, cutoff=_ALIKE
    )
    return self._folded[close[0]] if close else None

  @functools.cached_property
  def _titles(self) -> dict[str, str]:
    items = self.opened.catalog
    return dict(zip(items.titles, items.item_ids, strict=True))

  @functools.cached_property
  def _folded(self) -> dict[str, str]:
    # Of titles that differ in case alone, the first.
    titles = reversed(self._titles.items())
    return {title.casefold(): item for title, item in titles}

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

  def _matched(
    self,
    history: list[str],
    wish: str | None,
    candidates: list[str] | None,
    k: int,
  ) -> Ranking:
    """The best by the weighted sum, with what each part adds."""
    ranker = self.opened.catalog_ranker
    ranked = ranker.rank(history, wish, candidates, k)
    return Ranking(
      tuple(Place(p.item_id, p.title, p.score, p.parts) for p in ranked),
      self._num_candidates(history, candidates),
      ranker.weights.describe(ranker.kind(history, wish)),
      understood=wish and ranker.understood(wish, history),
    )

  def _likely(
    self,
    history: list[str],
    wish: str | None,
    candidates: list[str] | None,
    k: int,
  ) -> Ranking:
    """The likeliest titles."""
    ranker = self.instructions
    if candidates is None:
      ranked = ranker.top(history, wish, k)
    else:
      ranked = ranker.rank(history, wish, candidates)[:k]
    return Ranking(
      tuple(
        Place(p.item_id, p.title, p.score, {"likelihood": p.score})
        for p in ranked
      ),
      self._num_candidates(history, candidates),
      "log-likelihood in nats",
      instruction=ranker.instruction(history, wish),
    )

  def _num_candidates(
    self, history: list[str], candidates: list[str] | None
  ) -> int:
    if candidates is not None:
      return len(candidates)
    return len(self.opened.catalog) - len(set(history))


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
