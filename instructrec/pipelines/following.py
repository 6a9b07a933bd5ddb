"""Measures whether wishes are followed, over the whole catalogue.

For each history an attribute A is drawn from its plain hundred best: an item of
them, and then something that it has and that some but not all of the hundred
have. B is drawn alike, of what hardly an item has together with A. Both are put
into held-out wordings; every draw depends on (seed, number of the history).

The model is a function from histories and wishes to scores of the whole
catalogue, so that this module knows none.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from instructrec.data.catalog import Catalog
from instructrec.evaluation import following, intervals, metrics
from instructrec.instructions import held_out_wishes
from instructrec.instructions.attributes import Attributes

NUM_HISTORIES = 500
BEST = 10
HUNDRED = 100
SHARED = 0.1
"""A and B share at most this part of the items of the rarer one."""
_BLOCK = 64


class NothingToWishForError(ValueError):
  """The catalogue is too small, or its items have too little in common."""


class ScoreCatalog(Protocol):
  """Scores the whole catalogue for histories and wishes."""

  def __call__(
    self, histories: Sequence[Sequence[str]], wishes: Sequence[str | None]
  ) -> Float[np.ndarray, "requests items"]:
    """Scores all items.

    Args:
      histories: item ids, oldest first.
      wishes: of each history, or None.

    Returns:
      A score for each item in the order of the catalogue; higher is better.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Lists:
  """Candidate lists, for HR@1 with the own, another's and no wish.

  Attributes:
    candidates: item ids of each history's list.
    targets: the right item of each list.
  """

  candidates: Sequence[Sequence[str]]
  targets: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Pair:
  """What is wished for on one history.

  Attributes:
    row: number of the history.
    a: number of the attribute A.
    b: number of the attribute B.
    wanted: the wish for A.
    unwanted: the wish for anything but A.
    other: the wish for B.
    nonsense: a wish that says nothing.
    own: a wish for what the target has; None where there is no list, or the
      target has nothing that can be said.
  """

  row: int
  a: int
  b: int
  wanted: str
  unwanted: str
  other: str
  nonsense: str
  own: str | None = None


def evaluate(
  catalog: Catalog,
  histories: Sequence[Sequence[str]],
  score_catalog: ScoreCatalog,
  *,
  attributes: Attributes | None = None,
  lists: Lists | None = None,
  num_histories: int = NUM_HISTORIES,
  things: str = "things",
  seed: int = 0,
  num_resamples: int = intervals.NUM_RESAMPLES,
) -> following.Following:
  """Asks a model about histories and wishes, and measures what it answers.

  Args:
    catalog: the items.
    histories: item ids of test histories, oldest first.
    score_catalog: the model.
    attributes: of the catalogue; found where None.
    lists: of the same histories, where HR@1 is wanted too.
    num_histories: how many histories are drawn, at most.
    things: what items are called, in plural: "films".
    seed: of all draws.
    num_resamples: of the bootstrap.

  Returns:
    The figures.

  Raises:
    NothingToWishForError: where no history has two attributes to wish for
      among its best items, or hardly an item is left beside it.
    ValueError: where there are no histories, lists do not fit, or the scores
      have a wrong shape or are not numbers.
  """
  if lists is not None and not (
    len(lists.candidates) == len(lists.targets) == len(histories)
  ):
    raise ValueError(
      f"{len(lists.candidates)} candidate lists and {len(lists.targets)} "
      f"targets for {len(histories)} histories; expected one of each"
    )
  rows = _drawn(len(histories), num_histories, seed)
  if attributes is None:
    attributes = Attributes.of(catalog)
  asker = _Asker(catalog, histories, score_catalog, lists)
  plain = asker.ask(rows, [None] * len(rows))
  wording = _Wording(attributes, things, seed)
  pairs: list[Pair] = []
  kept: list[int] = []
  for place, row in enumerate(rows):
    target = None if lists is None else catalog.index(lists.targets[row])
    pair = wording.pair(row, plain.top[place], target)
    if pair is not None:
      pairs.append(pair)
      kept.append(place)
  if not pairs:
    raise NothingToWishForError(
      f"of {len(rows)} histories none has two attributes to wish for among "
      f"its {plain.top.shape[1]} best items; the catalogue has "
      f"{len(attributes)} attributes"
    )
  answers = _answers(asker, attributes, pairs, plain.take(kept))
  return following.measure(answers, seed=seed, num_resamples=num_resamples)


def _drawn(count: int, num_histories: int, seed: int) -> list[int]:
  if not count:
    raise ValueError("there are no histories to measure following on")
  rng = np.random.default_rng(seed)
  chosen = rng.permutation(count)[:num_histories]
  return np.sort(chosen).tolist()


def _answers(
  asker: "_Asker",
  attributes: Attributes,
  pairs: Sequence[Pair],
  plain: "_Asked",
) -> following.Answers:
  """Asks with all the wishes of some pairs."""
  rows = [pair.row for pair in pairs]

  def best(wishes: Sequence[str]) -> Int[np.ndarray, "histories best"]:
    return asker.ask(rows, wishes, size=BEST).top

  hundred = plain.top
  nonsense = asker.ask(rows, [pair.nonsense for pair in pairs], items=hundred)
  hits = None
  own = [pair.own for pair in pairs]
  if asker.lists is not None and any(own):
    # Somebody else's is that of the next history that has one.
    others: list[str | None] = []
    for place in range(len(own)):
      later = [*own[place + 1 :], *own[:place]]
      others.append(next((wish for wish in later if wish), None))
    hits = {
      "none": plain.hits,
      "own": _where(own, asker.ask(rows, own).hits),
      "other": _where(others, asker.ask(rows, others).hits),
    }
  return following.Answers(
    plain=plain.top[:, :BEST],
    wanted=best([pair.wanted for pair in pairs]),
    unwanted=best([pair.unwanted for pair in pairs]),
    other=best([pair.other for pair in pairs]),
    has_a=np.stack([attributes.mask(pair.a) for pair in pairs]),
    has_b=np.stack([attributes.mask(pair.b) for pair in pairs]),
    nonsense=nonsense.picked,
    reference=plain.scores,
    hits=hits,
  )


def _where(
  wishes: Sequence[str | None], hits: Float[np.ndarray, " histories"]
) -> Float[np.ndarray, " histories"]:
  """Without a wish there is nothing to compare."""
  return np.where([wish is not None for wish in wishes], hits, np.nan)


@dataclasses.dataclass(frozen=True)
class _Asked:
  """What a model answered.

  Attributes:
    top: the best items, best first, without those of the history.
    scores: of `top`.
    picked: scores of the items that were asked for.
    hits: HR@1 of the lists; NaN without lists.
  """

  top: Int[np.ndarray, "histories best"]
  scores: Float[np.ndarray, "histories best"]
  picked: Float[np.ndarray, "histories n"]
  hits: Float[np.ndarray, " histories"]

  def take(self, places: Sequence[int]) -> "_Asked":
    return _Asked(
      *(getattr(self, f.name)[places] for f in dataclasses.fields(self))
    )


class _Asker:
  """Asks a model in blocks and keeps of its scores what is needed."""

  def __init__(
    self,
    catalog: Catalog,
    histories: Sequence[Sequence[str]],
    score_catalog: ScoreCatalog,
    lists: Lists | None,
  ) -> None:
    self._catalog = catalog
    self._histories = histories
    self._score = score_catalog
    self.lists = lists

  def ask(
    self,
    rows: Sequence[int],
    wishes: Sequence[str | None],
    *,
    size: int = HUNDRED,
    items: Int[np.ndarray, "histories n"] | None = None,
  ) -> _Asked:
    """The best items of some histories.

    Args:
      rows: numbers of the histories.
      wishes: one each.
      size: how many items.
      items: whose scores are wanted as well.
    """
    tops, picked, hits = [], [], []
    best: list[Float[np.ndarray, " best"]] = []
    longest = max(len(set(self._histories[row])) for row in rows)
    size = min(size, len(self._catalog) - longest)
    if size < BEST:
      raise NothingToWishForError(
        f"{size} items are left beside a history of {longest}; expected at "
        f"least {BEST}"
      )
    for start, scores in self._blocks(rows, wishes):
      for place, row in enumerate(scores, start):
        picked.append(row[items[place]] if items is not None else row[:0])
        hits.append(self._hit(rows[place], row))
        masked = row.copy()
        known = self._histories[rows[place]]
        masked[[self._catalog.index(item) for item in known]] = -np.inf
        top = np.argsort(-masked, kind="stable")[:size]
        tops.append(top)
        best.append(masked[top])
    return _Asked(
      np.stack(tops), np.stack(best), np.stack(picked), np.array(hits)
    )

  def _blocks(
    self, rows: Sequence[int], wishes: Sequence[str | None]
  ) -> Iterator[tuple[int, Float[np.ndarray, "block items"]]]:
    for start in range(0, len(rows), _BLOCK):
      block = rows[start : start + _BLOCK]
      histories = [self._histories[row] for row in block]
      scores = np.asarray(
        self._score(histories, wishes[start : start + _BLOCK]), np.float64
      )
      expected = (len(block), len(self._catalog))
      if scores.shape != expected:
        raise ValueError(
          f"the scores of the catalogue have shape {scores.shape}, expected "
          f"{expected}: [requests, items]"
        )
      if np.isnan(scores).any():
        place, item = np.argwhere(np.isnan(scores))[0]
        raise ValueError(
          f"item {self._catalog.item_ids[item]!r} has no number for a score on "
          f"history {block[place]}, wish {wishes[start + place]!r}"
        )
      yield start, scores

  def _hit(self, row: int, scores: Float[np.ndarray, " items"]) -> float:
    if self.lists is None:
      return np.nan
    candidates = list(self.lists.candidates[row])
    target = self.lists.targets[row]
    if target not in candidates:
      raise ValueError(f"the list of history {row} lacks its target {target!r}")
    found = scores[[self._catalog.index(item) for item in candidates]]
    label = np.array([candidates.index(target)])
    return float(metrics.per_request(found[None], label)["HR@1"][0])


class _Wording:
  """Draws attributes and puts them into words."""

  def __init__(self, attributes: Attributes, things: str, seed: int) -> None:
    self._attributes = attributes
    self._things = things
    self._seed = seed

  def pair(
    self, row: int, top: Int[np.ndarray, " hundred"], target: int | None
  ) -> Pair | None:
    """What is wished for on a history; None where nothing can be."""
    rng = np.random.default_rng([self._seed, row])
    having: dict[int, list[int]] = {}
    for place, item in enumerate(top.tolist()):
      for number in self._attributes.of_item(item):
        having.setdefault(number, []).append(place)
    some = {n: places for n, places in having.items() if len(places) < len(top)}
    a = self._draw(rng, some)
    if a is None:
      return None
    apart = {n: p for n, p in some.items() if n != a and self._apart(a, n)}
    b = self._draw(rng, apart)
    if b is None:
      return None
    nonsense = held_out_wishes.NONSENSE + held_out_wishes.FOREIGN
    own = None
    if target is not None and self._attributes.of_item(target):
      number = int(rng.choice(self._attributes.of_item(target)))
      own = self._say(rng, held_out_wishes.WANTED, number)
    return Pair(
      row,
      a,
      b,
      wanted=self._say(rng, held_out_wishes.WANTED, a),
      unwanted=self._say(rng, held_out_wishes.UNWANTED, a),
      other=self._say(rng, held_out_wishes.WANTED, b),
      nonsense=nonsense[int(rng.integers(len(nonsense)))],
      own=own,
    )

  def _draw(
    self, rng: np.random.Generator, having: dict[int, list[int]]
  ) -> int | None:
    """An item of the hundred, and then something that it has."""
    by_place: dict[int, list[int]] = {}
    for number, places in having.items():
      for place in places:
        by_place.setdefault(place, []).append(number)
    if not by_place:
      return None
    chosen = by_place[int(rng.choice(sorted(by_place)))]
    return int(rng.choice(sorted(chosen)))

  def _apart(self, a: int, b: int) -> bool:
    """Whether hardly an item has both."""
    first, second = self._attributes.items(a), self._attributes.items(b)
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both <= SHARED * min(len(first), len(second))

  def _say(
    self, rng: np.random.Generator, frames: Sequence[str], number: int
  ) -> str:
    attribute = self._attributes.attributes[number]
    said = held_out_wishes.phrase(attribute, self._things)
    text = frames[int(rng.integers(len(frames)))].format(a=said)
    # "oakline things" begins with a small letter only where the frame does.
    return text[0].upper() + text[1:] if text.startswith(said) else text
