"""Why items are recommended: what raised them, and what they meet.

Each effect is a difference of two scores: of the request as it is, and of the
request without one item of its history, or without some words of its wish. All
of these requests are scored together. What is said in words is what the numbers
say.
"""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from instructrec.instructions import wish_pieces, wish_reader
from instructrec.serving import item_shelf
from instructrec.serving.constraints import Constraint

Scores = Callable[
  [Sequence[Sequence[str]], Sequence[str | None]],
  Float[np.ndarray, "requests items"],
]
"""Scores of all items for histories and wishes."""

MOST_ITEMS, MOST_PIECES = 6, 6
"""So many of the newest items, and pieces of a wish, are left out in turn."""
_TOLD = 0.05
"""Nats above the average item from which words tell of an effect."""


class Part(enum.StrEnum):
  """What of a request is left out."""

  HISTORY = "history"
  WORDS = "words"
  REFUSED = "refused"
  WISH = "wish"


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
  """A request without a part of it.

  Attributes:
    part: an item of the history, words for what is wanted or refused, or the
      wish.
    words: the title, or the words.
    item_id: the item; None for words.
    history: what is left of the history.
    wish: what is left of the wish.
  """

  part: Part
  words: str
  item_id: str | None
  history: tuple[str, ...]
  wish: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
  """What a part of a request does to the score of an item.

  Attributes:
    part: an item of the history, words for what is wanted or refused, or the
      wish.
    words: the title, or the words.
    item_id: the item's id; None for words.
    without: the score of the request without it.
    effect: the score of the whole request less `without`, in nats.
    above_average: the effect less its mean over all items that are ranked: what
      it does for this item rather than for all.
  """

  part: Part
  words: str
  item_id: str | None
  without: float
  effect: float
  above_average: float

  @property
  def text(self) -> str:
    """It in words."""
    words = "words" if " " in self.words else "word"
    said = {
      Part.HISTORY: f"the history's {self.words!r}",
      Part.WORDS: f"the {words} {self.words!r}",
      Part.REFUSED: f"refusing {self.words!r}",
      Part.WISH: "the wish as a whole",
    }[self.part]
    return f"{said} ({self.above_average:+.2f})"


@dataclasses.dataclass(frozen=True, slots=True)
class Reasons:
  """Why an item has its place.

  Attributes:
    effects: of the parts of the request, the strongest first.
    constraints: what is asked, and whether the item meets it; None where it is
      not known.
  """

  effects: tuple[Effect, ...]
  constraints: tuple[tuple[Constraint, bool | None], ...]

  @property
  def text(self) -> str:
    """They in words."""
    raised = [e.text for e in self.effects if e.above_average >= _TOLD]
    parts = []
    if raised:
      parts.append(f"raised above the average item by {', '.join(raised)}")
    for label, truth in (("meets", True), ("does not meet", False)):
      found = [c.text for c, meets in self.constraints if meets is truth]
      if found:
        parts.append(f"{label}: {', '.join(found)}")
    return "; ".join(parts)

  def to_json(self) -> dict[str, Any]:
    """As structure: text and numbers alone."""
    return {
      "effects": [dataclasses.asdict(effect) for effect in self.effects],
      "constraints": [
        {**one.to_json(), "meets": meets} for one, meets in self.constraints
      ],
      "text": self.text,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Explainer:
  """Finds reasons.

  Attributes:
    shelf: the items.
    wishes: reads wishes.
    scores: what ranks.
    scores_nothing: whether a request without history and wish has scores.
  """

  shelf: item_shelf.Shelf
  wishes: wish_reader.WishReader
  scores: Scores
  scores_nothing: bool = True

  def explain(
    self,
    history: Sequence[str],
    wish: str | None,
    items: Sequence[str],
    asked: Sequence[Constraint] = (),
    ranked: Bool[np.ndarray, " catalogue"] | None = None,
  ) -> list[Reasons]:
    """Why items have their places.

    Args:
      history: ids, oldest first.
      wish: as it was ranked.
      items: ids of those that are recommended.
      asked: what is asked beside the wish.
      ranked: which items of the catalogue are ranked; None for all.

    Returns:
      The reasons for each item.
    """
    catalog = self.shelf.catalog
    variants = self.variants(history, wish)
    scores = self.scores(
      [history, *(v.history for v in variants)],
      [wish, *(v.wish for v in variants)],
    )
    effects = scores[:1] - scores[1:]
    average = effects[:, ... if ranked is None else ranked].mean(axis=1)
    every = list(asked)
    if wish is not None:
      titles = [catalog.title(item) for item in history]
      read = self.shelf.of_reading(self.wishes.read(wish, titles))
      # "At most two puzzles" names puzzles and does not want them.
      known = {one.attribute for one in asked}
      every = [*(one for one in read if one.attribute not in known), *asked]
    return [
      self._of_item(catalog.index(item), variants, scores, average, every)
      for item in items
    ]

  def _of_item(
    self,
    index: int,
    variants: Sequence[Variant],
    scores: Float[np.ndarray, "requests items"],
    average: Float[np.ndarray, " variants"],
    asked: Sequence[Constraint],
  ) -> Reasons:
    whole, *without = scores[:, index].tolist()
    effects = [
      Effect(
        *(v.part, v.words, v.item_id),
        *(left, whole - left, whole - left - mean),
      )
      for v, left, mean in zip(variants, without, average.tolist(), strict=True)
    ]
    effects.sort(key=lambda effect: -effect.above_average)
    meets = [(one, self.shelf.meets(one, index)) for one in asked]
    return Reasons(tuple(effects), tuple(meets))

  def variants(self, history: Sequence[str], wish: str | None) -> list[Variant]:
    """A request without each of its parts in turn.

    Args:
      history: ids, oldest first.
      wish: what is wanted, or None.

    Returns:
      Without each of the newest items, then without each piece of the wish that
      was read and without the wish.
    """
    catalog, taken = self.shelf.catalog, tuple(history)
    newest = list(dict.fromkeys(reversed(taken)))[:MOST_ITEMS]
    found = [
      Variant(
        Part.HISTORY,
        catalog.title(item),
        item,
        tuple(other for other in taken if other != item),
        wish,
      )
      for item in newest
    ]
    if wish is not None:
      titles = [catalog.title(item) for item in taken]
      for part, words, left in self._pieces(wish, titles):
        found.append(Variant(part, words, None, taken, left))
      if all(variant.wish is not None for variant in found):
        found.append(Variant(Part.WISH, wish, None, taken, None))
    if not self.scores_nothing:
      found = [v for v in found if v.history or v.wish is not None]
    return found

  def _pieces(
    self, wish: str, titles: Sequence[str]
  ) -> list[tuple[Part, str, str | None]]:
    """Words of a wish that were read, and what is left without them."""
    read = self.wishes.read(wish, titles)
    found: dict[str, tuple[Part, str, str | None]] = {}
    said_before = set[tuple[str, bool]]()
    for span in read.spans:
      if len(found) == MOST_PIECES:
        break
      named = wish[span.start : span.stop], span.unwanted
      if named in said_before:
        continue
      said_before.add(named)
      others = {(s.number, s.unwanted) for s in read.spans if s != span}
      # A negation whose thing is gone may take another one: then its whole
      # clause goes.
      for start, stop in (
        (span.start, span.stop),
        _clause(wish, span.start, span.stop),
      ):
        left = " ".join((wish[:start] + wish[stop:]).split())
        now = self.wishes.read(left, titles).spans
        if {(s.number, s.unwanted) for s in now} == others:
          break
      else:
        start, stop = span.start, span.stop
        left = " ".join((wish[:start] + wish[stop:]).split())
      words = wish[start:stop].strip()
      said = any(character.isalnum() for character in left)
      part = Part.REFUSED if span.unwanted else Part.WORDS
      found.setdefault(words, (part, words, left if said else None))
    return list(found.values())


def _clause(text: str, start: int, stop: int) -> tuple[int, int]:
  """Where the clause around some letters begins and ends."""
  marks = [piece for piece in wish_pieces.pieces(text) if piece.is_mark]
  first = max((m.stop for m in marks if m.stop <= start), default=0)
  last = min((m.start for m in marks if m.start >= stop), default=len(text))
  return first, last
