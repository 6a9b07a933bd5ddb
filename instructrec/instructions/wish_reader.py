"""Reads a wish into what is wanted and what is not, and says what it read.

The words of a wish are looked up among the attributes of the catalogue
(`wish_names`). What turns things around ("no", "anything but", "... bore me")
stands in the table of `wish_cues`. A negation

* takes the first thing within six words, and those joined to it by "or",
  "and", "with" and the like, also over the commas of a list;
* ends at the end of its clause, at "but", and where another wish begins ("I
  hate puzzles and love kites");
* is undone by a second one: "not tired of kites";
* takes what was named before it where nothing comes after: "Puzzles? No
  thanks.", or what its clause is about: "Kites never fly here.". "Kites that
  never fly" and "kites without tails" stay wanted.

Texts with more words of another language than of English say nothing here.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from instructrec.instructions import (
  wish_cues,
  wish_evidence,
  wish_names,
  wish_pieces,
  wish_polarity,
)
from instructrec.instructions.attributes import Attributes, Kind
from instructrec.instructions.wish_pieces import Piece

_LEAST_BITS, _MOST_BITS = 1e-3, 64.0


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
  """A piece of a wish that names attributes.

  Attributes:
    start: of its first letter.
    stop: behind its last letter.
    number: of the attribute.
    unwanted: whether it is not wanted.
  """

  start: int
  stop: int
  number: int
  unwanted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ReadWish:
  """What was read.

  Attributes:
    wanted: numbers of attributes, in the order in which they were named.
    unwanted: likewise; none is wanted as well.
    spans: where.
  """

  wanted: tuple[int, ...] = ()
  unwanted: tuple[int, ...] = ()
  spans: tuple[Span, ...] = ()

  def __bool__(self) -> bool:
    return bool(self.spans)


class WishReader:
  """Reads wishes.

  Args:
    attributes: of the catalogue.
  """

  def __init__(self, attributes: Attributes) -> None:
    self._attributes = attributes
    self._longest = max(map(len, attributes.spoken), default=0)
    # Nobody's and everybody's attribute have no weight of their own.
    self._bits = np.clip(
      [attributes.bits([n]) for n in range(len(attributes))],
      _LEAST_BITS,
      _MOST_BITS,
    )
    self._names = wish_names.WishNames(attributes)
    self._prices = frozenset(
      number
      for number, a in enumerate(attributes.attributes)
      if a.kind is Kind.PRICE
    )
    self._by_chance = wish_evidence.is_needed(attributes.spoken)

  def read(self, text: str, titles: Iterable[str] = ()) -> ReadWish:
    """Reads a wish.

    Args:
      text: in the words of a person.
      titles: of items that the text may name ("like ..."): their words are
        no wishes.

    Returns:
      What is wanted and what is not.
    """
    elements = self.pieces(text, titles)
    if wish_pieces.is_foreign(elements):
      return ReadWish()
    unwanted = wish_polarity.unwanted(elements)
    counts: Iterable[bool] = itertools.repeat(True)
    if self._by_chance:
      counts = wish_evidence.of_wishes(elements, unwanted)
    spans = tuple(
      Span(piece.start, piece.stop, piece.thing, turned)
      for piece, turned, is_said in zip(
        elements, unwanted, counts, strict=False
      )
      if piece.thing is not None and is_said
    )
    # What is said last counts.
    last = {span.number: span.unwanted for span in spans}
    return ReadWish(
      tuple(number for number, turned in last.items() if not turned),
      tuple(number for number, turned in last.items() if turned),
      spans,
    )

  def pieces(self, text: str, titles: Iterable[str] = ()) -> list[Piece]:
    """The words and marks of a wish, joined to cues and to things.

    Args:
      text: see `read`.
      titles: see `read`.

    Returns:
      In order; things that are named, whether or not the text wishes for them.
    """
    pieces = wish_pieces.pieces(wish_pieces.without_titles(text, titles))
    for piece in pieces:
      piece.text = self._names.cue_word(piece.text)
    pieces = wish_pieces.with_persons(pieces, self._names.is_name)
    return self._without_price_commas(self._names.joined(pieces))

  def _without_price_commas(self, pieces: Sequence[Piece]) -> list[Piece]:
    """Reads "nothing, top of the range" as one phrase."""

    def parts(place: int) -> bool:
      before = pieces[place - 1 : place]
      if pieces[place].text != "," or not before:
        return False
      if before[0].text not in wish_cues.ANYTHING:
        return False
      words = wish_cues.CONTINUES | wish_cues.FOR
      rest = (p for p in pieces[place + 1 :] if p.text not in words)
      found = next(rest, None)
      return found is not None and found.thing in self._prices

    return [piece for place, piece in enumerate(pieces) if not parts(place)]

  def scores(
    self, read: ReadWish, items: Int[np.ndarray, " items"] | None = None
  ) -> tuple[Float[np.ndarray, " items"], Float[np.ndarray, " items"]]:
    """How far items have what was read.

    Args:
      read: what `read` gave.
      items: positions in the catalogue; all where None.

    Returns:
      Nats of what is wanted, see `_nats`, and the share of the unwanted
      attributes that an item has, from 0 to 1, each weighed by its bits; 0
      where nothing was read.
    """
    shares, unwanted = self._fit(read.wanted), self._fit(read.unwanted)
    wanted = _nats(shares, shares)
    if items is None:
      return wanted, unwanted
    return wanted[items], unwanted[items]

  def named(self, text: str) -> frozenset[int]:
    """Attributes that a text names, whatever it says of them.

    Args:
      text: such as a description of something that is no item.

    Returns:
      Their numbers.
    """
    pieces = self._names.joined(wish_pieces.pieces(text))
    return frozenset(p.thing for p in pieces if p.thing is not None)

  def text_scores(
    self, read: ReadWish, named: Sequence[frozenset[int]]
  ) -> tuple[Float[np.ndarray, " texts"], Float[np.ndarray, " texts"]]:
    """As `scores`, of texts that are no items: what they name, they have.

    Args:
      read: what `read` gave.
      named: of each text, what `named` gave.

    Returns:
      See `scores`.
    """
    shares, unwanted = (
      np.array(
        [
          sum(self._bits[n] for n in numbers if n in having)
          / (sum(self._bits[n] for n in numbers) or 1.0)
          for having in named
        ],
        np.float64,
      )
      for numbers in (read.wanted, read.unwanted)
    )
    return _nats(shares, self._fit(read.wanted)), unwanted

  def explain(self, read: ReadWish) -> str:
    """What was read, in words.

    Args:
      read: what `read` gave.

    Returns:
      Such as "wants: board games, cheap; not: puzzles".
    """
    names = [attribute.name for attribute in self._attributes.attributes]
    parts = [
      f"{label}: {', '.join(names[number] for number in numbers)}"
      for label, numbers in (("wants", read.wanted), ("not", read.unwanted))
      if numbers
    ]
    return "; ".join(parts) or "nothing that the catalogue knows"

  def _fit(self, numbers: Sequence[int]) -> Float[np.ndarray, " items"]:
    result = np.zeros(self._attributes.num_items)
    total = sum(self._bits[number] for number in numbers)
    for number in numbers:
      result[self._attributes.items(number)] += self._bits[number] / total
    return result


def _nats(
  shares: Float[np.ndarray, " items"],
  catalog_shares: Float[np.ndarray, " catalog"],
) -> Float[np.ndarray, " items"]:
  """How much likelier a wish makes items, as logarithms.

  Of a wish that is the asker's own or anybody's with equal odds, an item that
  fits is 1 + 1 / s times as likely as without it, beside one that does not,
  where s is the share of the catalogue that fits: a rare thing says more. What
  fits are the items that have the most of what is wanted; half as much of it
  counts a quarter.

  Args:
    shares: of what is wanted, from 0 to 1.
    catalog_shares: the same of each item of the catalogue.

  Returns:
    Numbers from 0 to log(1 + items of the catalogue).
  """
  most = catalog_shares.max(initial=0.0)
  if not most:
    return np.zeros_like(shares)
  fits = (catalog_shares >= most * (1 - 1e-9)).mean()
  return np.minimum(shares / most, 1.0) ** 2 * np.log1p(1 / fits)
