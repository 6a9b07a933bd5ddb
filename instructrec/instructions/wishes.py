"""Decides what a wish says: `protocol=stated`.

A wish is made from what the target has, and says so much and no more: never
the title, the id, or a word that fewer than a handful of titles share. It is

- *useless* in a tenth of cases: politeness, delivery, the weather;
- else *wanted*: one attribute of the target (I1), two or the most telling one
  (I2), sometimes beside a title of the history, or beside what the target's
  review says of person, occasion and aspect;
- or *unwanted*: an attribute that the target has not, but the history has, or
  what people take most; or both.

Whether a wish agrees with the history is drawn first, evenly, and then what
it says. `Wish.bits` counts attributes alone.
"""

import collections
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from instructrec.data.catalog import Catalog
from instructrec.instructions import (
  keyphrases,
  quality,
  render,
  reviews,
  spoken,
  wish_words,
)
from instructrec.instructions.attributes import Attributes, Kind
from instructrec.instructions.domains import Domain
from instructrec.instructions.draws import Draws
from instructrec.instructions.wish import Stance, Wish

USELESS_SHARE = 0.1
_VAGUE = {"wanted": 0.5, "unwanted": 0.2, "like": 0.1, "review": 0.2}
_SPECIFIC = {"wanted": 0.6, "both": 0.25, "like": 0.05, "review": 0.1}
_NUM_POPULAR = 40
_FROM_POPULAR = 0.4
"""How often what is not wanted is what people take, and not the history's."""
_RECENT = 5
_LONG = 15
"""A longer title is not said in a wish, in words."""
_FEWEST = 3
"""Items that a wish must fit at least."""
_TRIES = 8
_UNWANTED_SHARE = 500
"""What is not wanted is had by at least one item in so many."""


class WishMaker:
  """Makes wishes over one catalogue.

  Args:
    catalog: the items.
    attributes: what they have.
    domain: what they are.
    taken: how often items are taken in training, by id.
  """

  def __init__(
    self,
    catalog: Catalog,
    attributes: Attributes,
    domain: Domain,
    taken: Mapping[str, int],
  ) -> None:
    self.catalog = catalog
    self.attributes = attributes
    self.domain = domain
    self._keys = [spoken.key(a.name) for a in attributes.attributes]
    titles = collections.Counter(
      word
      for title in catalog.titles
      for word in set(keyphrases.content_words(title))
    )
    handful = max(_FEWEST, min(10, len(catalog) // 1000))
    self._rare = frozenset(w for w, n in titles.items() if n < handful)
    self.least_unwanted = max(_FEWEST, len(catalog) // _UNWANTED_SHARE)
    self.speaker = wish_words.Speaker(domain, keyphrases.of_catalog(catalog))
    self._sayable = [self._is_sayable(n) for n in range(len(attributes))]
    self._popular = self._find_popular(taken)
    # Frames of the catalogue are read item by item once.
    self._categories = catalog.frame["categories"].to_list()
    self._brands = catalog.frame["brand"].to_list()
    for name in ("hidden_words", "_own", "_said_of", "fits"):
      cached = functools.lru_cache(maxsize=1 << 17)(getattr(self, name))
      setattr(self, name, cached)

  def _is_sayable(self, number: int) -> bool:
    """Whether a person would say it: no piece of a name, no scrap of one."""
    attributes = self.attributes
    attribute = attributes.attributes[number]
    if attribute.kind is not Kind.KEYPHRASE:
      is_category = attribute.kind is Kind.CATEGORY
      return not (is_category and keyphrases.names_no_kind(attribute.name))
    return not keyphrases.WEAK.intersection(self._keys[number])

  def _find_popular(self, taken: Mapping[str, int]) -> list[int]:
    """The attributes of what people take most; no prices."""
    weights = np.zeros(len(self.catalog))
    for item_id, count in taken.items():
      weights[self.catalog.index(item_id)] = count
    found = [
      (-float(weights[self.attributes.items(n)].sum()), n)
      for n, attribute in enumerate(self.attributes.attributes)
      if attribute.kind is not Kind.PRICE and self._sayable[n]
    ]
    return [n for weight, n in sorted(found)[:_NUM_POPULAR] if weight]

  def hidden_words(self, target: int) -> frozenset[str]:
    """Words of a title that hardly another title has: they are never said."""
    words = keyphrases.content_words(self.catalog.titles[target])
    return self._rare.intersection(words)

  def _says_nothing_hidden(self, number: int, target: int) -> bool:
    name = self.attributes.attributes[number].name
    if self.hidden_words(target) & set(keyphrases.tokens(name)):
      return False
    return not quality.says_title(name, self.catalog.titles[target])

  def _own(self, target: int) -> tuple[int, ...]:
    """Attributes of an item that may be said of it."""
    return tuple(
      number
      for number in self.attributes.of_item(target)
      if self._sayable[number] and self._says_nothing_hidden(number, target)
    )

  def _said_of(self, target: int) -> frozenset[str]:
    """The words of an item's title, categories and brand, in the singular."""
    parts = [
      self.catalog.titles[target],
      *self._categories[target],
      self._brands[target] or "",
    ]
    return frozenset(spoken.key(" ".join(parts)))

  def say_the_same(self, one: int, other: int) -> bool:
    """Whether one name is part of the other, or they make no phrase."""
    names = (self.attributes.attributes[one], self.attributes.attributes[other])
    if not self.speaker.go_together(*names):
      return True
    first, second = (set(self._keys[n]) for n in (one, other))
    return first <= second or second <= first

  def _lacks(self, number: int, target: int) -> bool:
    """Whether an item has nothing of an attribute, in words neither."""
    if number in self.attributes.of_item(target):
      return False
    words = self._keys[number]
    return not self._said_of(target).issuperset(words)

  def fits(
    self, wanted: tuple[int, ...], unwanted: tuple[int, ...] = ()
  ) -> int:
    """How many items have all that is wanted and nothing of the rest."""
    every = np.ones(len(self.catalog), bool)
    for number in wanted:
      every &= self.attributes.mask(number)
    for number in unwanted:
      every[self.attributes.items(number)] = False
    return int(every.sum())

  def make(
    self,
    target: int,
    history: Sequence[int],
    review: str | None,
    key: int,
    *,
    split: str,
    specific: bool,
    polarity: str | None = None,
  ) -> tuple[Wish, str]:
    """A wish, and how it is said.

    Args:
      target: position of the item that the wish leads to.
      history: positions of the items before it, oldest first.
      review: the user's review of the target, or None.
      key: 64 random bits.
      split: of the request.
      specific: whether a search query (I2) is asked for, or a vague wish (I1).
      polarity: "wanted" or "unwanted" for a wish of that kind wherever the
        items allow one; None to draw.

    Returns:
      The wish and its words.
    """
    draws = Draws(key)
    make = _Making(self, target, tuple(history), review, split, draws)
    if polarity is not None:
      kinds = [polarity]
    elif draws.chance(USELESS_SHARE):
      kinds = []
    else:
      shares = _SPECIFIC if specific else _VAGUE
      # Where nothing may be said for the target, something is against others.
      kinds = list(dict.fromkeys([*_weighted(shares, draws), "unwanted"]))
    for kind in kinds:
      for _ in range(_TRIES):
        wish = make.one(kind, specific=specific)
        if wish is None:
          break
        words = self.speaker.say(wish, draws.bits())
        if words is not None:
          return wish, words
    return self._useless(make, draws)

  def _useless(self, make: "_Making", draws: Draws) -> tuple[Wish, str]:
    wish = make.wish((), (), Stance.USELESS)
    words = self.speaker.say(wish, draws.bits())
    # A title of common words may rule out all of them. No title is said by
    # one word, and no word of two letters is one of those that tell a title.
    return wish, words or "Hi."


def _weighted(shares: Mapping[str, float], draws: Draws) -> list[str]:
  """All kinds, the first one drawn by share, the others behind it."""
  place = draws.bits() / (1 << 64) * sum(shares.values())
  names = list(shares)
  for name in names:
    place -= shares[name]
    if place < 0:
      return [name, *(other for other in names if other != name)]
  return names


class _Making:
  """One wish on its way."""

  def __init__(
    self,
    maker: WishMaker,
    target: int,
    history: tuple[int, ...],
    review: str | None,
    split: str,
    draws: Draws,
  ) -> None:
    self._maker = maker
    self._target = target
    self._history = history
    self._review = review
    self._split = split
    self._draws = draws
    self._known = collections.Counter(
      number for item in history for number in maker.attributes.of_item(item)
    )

  def wish(
    self,
    wanted: tuple[int, ...],
    unwanted: tuple[int, ...],
    stance: Stance,
    **extra: str | None,
  ) -> Wish:
    """A wish for and against attributes, with its bits."""
    maker = self._maker
    every = maker.attributes.attributes
    count = maker.fits(wanted, unwanted)
    return Wish(
      wanted=tuple(every[n] for n in wanted),
      unwanted=tuple(every[n] for n in unwanted),
      stance=stance,
      bits=math.log2(len(maker.catalog) / count),
      split=self._split,
      hidden_title=maker.catalog.titles[self._target],
      hidden_words=maker.hidden_words(self._target),
      **extra,
    )

  def one(self, kind: str, *, specific: bool) -> Wish | None:
    """A wish of a kind; None where the items do not allow one."""
    if kind == "wanted":
      return self._wanted(specific=specific)
    if kind == "unwanted":
      return self._against(())
    if kind == "both":
      wanted = self._draw_wanted()
      return self._against(wanted) if wanted else None
    if kind == "like":
      return self._like()
    return self._of_review(specific=specific)

  def _draw_wanted(self) -> tuple[int, ...]:
    """One attribute: first whether it agrees, then its kind, then itself."""
    own = self._maker._own(self._target)
    if not own:
      return ()
    agrees = self._draws.chance(0.5)
    found = [n for n in own if bool(self._known[n]) == agrees] or own
    by_kind: dict[Kind, list[int]] = {}
    for number in found:
      kind = self._maker.attributes.attributes[number].kind
      by_kind.setdefault(kind, []).append(number)
    options = by_kind[self._draws.pick(sorted(by_kind))]
    return (self._draws.pick(options),)

  def _stance(self, wanted: Sequence[int], unwanted: Sequence[int]) -> Stance:
    """Agreeing where all that is wanted is known and nothing unwanted is."""
    agrees = all(self._known[n] for n in wanted) and not any(
      self._known[n] for n in unwanted
    )
    return Stance.AGREEING if agrees else Stance.ODDS

  def _wanted(self, *, specific: bool) -> Wish | None:
    wanted = self._draw_wanted()
    if not wanted:
      return None
    if specific:
      wanted = self._joined(wanted)
    return self.wish(wanted, (), self._stance(wanted, ()))

  def _joined(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """A second attribute that tells more, or the most telling one alone."""
    maker = self._maker
    own = maker._own(self._target)
    for number in self._draws.shuffled(own):
      if number in wanted:
        continue
      if maker.say_the_same(wanted[0], number):
        continue
      both = (wanted[0], number)
      fewest = min(maker.fits((wanted[0],)), maker.fits((number,)))
      if _FEWEST <= maker.fits(both) < fewest:
        return both
    return (min(own, key=lambda n: (maker.fits((n,)), n)),)

  def _against(self, wanted: tuple[int, ...]) -> Wish | None:
    """No B: the history has it, or people take it much; the target has not."""
    maker = self._maker
    kinds = maker.attributes.attributes
    known = [
      n
      for n, count in sorted(self._known.items())
      for _ in range(count)
      if kinds[n].kind is not Kind.PRICE and maker._sayable[n]
    ]
    sources = [known, maker._popular]
    if self._draws.chance(_FROM_POPULAR):
      sources.reverse()
    for found in sources:
      for number in self._draws.shuffled(found)[:_TRIES]:
        if not maker._lacks(number, self._target):
          continue
        if not maker._says_nothing_hidden(number, self._target):
          continue
        if len(maker.attributes.items(number)) < maker.least_unwanted:
          continue
        left = maker.fits(wanted, (number,))
        if _FEWEST <= left < maker.fits(wanted):
          stance = self._stance(wanted, (number,))
          return self.wish(wanted, (number,), stance)
    return None

  def _like(self) -> Wish | None:
    """Like a title of the history, but with something that it lacks."""
    maker = self._maker
    hidden = maker.hidden_words(self._target)
    title = maker.catalog.titles[self._target]
    for item in self._draws.shuffled(self._history[-_RECENT:]):
      known = maker.catalog.titles[item]
      if quality.problem(known, is_query=True) or len(known.split()) > _LONG:
        continue
      if hidden & set(keyphrases.tokens(known)):
        continue
      if quality.says_title(known, title):
        continue
      new = [n for n in maker._own(self._target) if maker._lacks(n, item)]
      if new:
        wanted = (self._draws.pick(new),)
        stance = self._stance(wanted, ())
        return self.wish(wanted, (), stance, like=render.quote(known))
    return None

  def _of_review(self, *, specific: bool) -> Wish | None:
    """What the target's review says of person, occasion or aspect."""
    found: dict[str, str] = {}
    if who := reviews.person(self._review):
      found["person"] = who
    if occasion := reviews.occasion(self._review):
      found["occasion"] = occasion
    opinion = reviews.opinion(self._review)
    if opinion and opinion[1]:
      found["aspect"] = opinion[0]
    if not found:
      return None
    name = self._draws.pick(sorted(found))
    # "My niece would enjoy something" is no wish; "something for rain" is.
    told = specific or name == "person" or self._draws.chance(0.5)
    wanted = self._draw_wanted() if told else ()
    stance = self._stance(wanted, ())
    return self.wish(wanted, (), stance, **{name: found[name]})
