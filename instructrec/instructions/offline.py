"""The offline teacher: no network, deterministic, from what the data say.

It works on keyphrases of the items (`keyphrases.py`), on what reviews praise
or complain of, on prices, and on whom a review says a thing was for.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from instructrec.data.catalog import Catalog, Item
from instructrec.instructions import keyphrases, quality, reviews
from instructrec.instructions.teacher import TextKind, TextRequest

_PREFERENCES = (
  "This person mostly goes for {a}, with some {b} in between.",
  "Much of what they buy has to do with {a}; {b} comes up as well.",
  "A fan of {a}, with an eye for {b}.",
  "Their purchases lean towards {a}, followed by {b}.",
  "They look for {a} first and like {b} too.",
  "What they choose revolves around {a} and, now and then, {b}.",
  "They keep coming back to {a} and do not pass by {b}.",
  "Their taste runs to {a}, and lately also to {b}.",
)
_PREFERENCES_ONE = (
  "This person mostly goes for {a}.",
  "They keep coming back to {a}.",
  "Most of what they buy has to do with {a}.",
  "Their taste runs to {a}.",
)
_ANYTHING = ("They choose all sorts of things, without a clear favourite.",)
_LIKES = (
  "They like to see {a}.",
  "They care for {a}.",
  "They set store by {a}.",
)
_DISLIKES = (
  "They complain where {a} is missing.",
  "They miss {a} in things that lack it.",
)
_PRICES = (
  "They watch the price.",
  "They pay a middling price.",
  "They do not mind paying more.",
)
_OWN = {
  _PREFERENCES: (
    "I mostly go for {a}, with some {b} in between.",
    "Much of what I buy has to do with {a}; {b} comes up as well.",
    "I am a fan of {a}, with an eye for {b}.",
    "My purchases lean towards {a}, followed by {b}.",
    "I look for {a} first and like {b} too.",
    "What I choose revolves around {a} and, now and then, {b}.",
    "I keep coming back to {a} and do not pass by {b}.",
    "My taste runs to {a}, and lately also to {b}.",
  ),
  _PREFERENCES_ONE: (
    "I mostly go for {a}.",
    "I keep coming back to {a}.",
    "Most of what I buy has to do with {a}.",
    "My taste runs to {a}.",
  ),
  _ANYTHING: ("I choose all sorts of things, without a clear favourite.",),
  _LIKES: (
    "I like to see {a}.",
    "I care for {a}.",
    "I set store by {a}.",
  ),
  _DISLIKES: (
    "I complain where {a} is missing.",
    "I miss {a} in things that lack it.",
  ),
  _PRICES: (
    "I watch the price.",
    "I pay a middling price.",
    "I do not mind paying more.",
  ),
}
"""The same sentences in the first person."""
_VAGUE = (
  "I am in the mood for something with {a}.",
  "I would like more in the direction of {a}.",
  "Something to do with {a} would be nice.",
  "I feel like {a} again, perhaps with a bit of {b}.",
  "I want something for people who enjoy {a} and {b}.",
  "Show me something around {a}, please.",
  "I am after something like {a}, or close to {b}.",
  "What do you have for somebody who is fond of {a}?",
)
_VAGUE_ASPECT = (
  "I would like something around {a}, with {aspect}.",
  "{aspect} is what I look for, best of all in something like {a}.",
  "Something to do with {a} would be nice, as long as there is {aspect}.",
)
_GIFT = (
  "I am looking for a present for my {who}, who likes {a}.",
  "My {who} would enjoy something with {a}.",
  "I need a gift for my {who}; {a} is always welcome.",
)
_SECOND = (
  "Having liked {h}, I now wish for something that has to do with {a}.",
  "I know {h} well; this time it may be {a}.",
  "After {h}, something around {a} would suit me.",
  "I usually choose {h}, and {a} appeals to me now.",
  "People with a weakness for {h}, like me, want {a} next.",
)
_SPECIFIC = (
  "{parts}.",
  "I am looking for {parts}.",
  "Do you have anything for these words: {parts}?",
  "Show me what fits {parts}.",
  "Please find {parts}.",
  "I want to buy something of this kind: {parts}.",
)
_QUALITIES = (", not too expensive", ", medium priced", ", top quality")


class OfflineTeacher:
  """Writes from keyphrases; see the module.

  Args:
    items: the catalogue, for what its items share and what they cost.
  """

  name = "offline"
  version = "3"

  def __init__(self, items: Catalog) -> None:
    self._phrases = keyphrases.of_catalog(items)
    prices = items.frame["price"].drop_nulls().to_numpy()
    self._price_levels = (
      np.quantile(prices, [1 / 3, 2 / 3]) if len(prices) else None
    )
    self._mentioned = functools.lru_cache(maxsize=4096)(
      lambda review: self._phrases.mentioned(review)
    )
    self._specific_parts = functools.lru_cache(maxsize=None)(
      self._find_specific_parts
    )

  def write(self, requests: Sequence[TextRequest]) -> list[str]:
    """See `Teacher.write`."""
    return [self._write_one(request) for request in requests]

  def _write_one(self, request: TextRequest) -> str:
    if request.words is not None:
      return request.words
    write = {
      TextKind.PREFERENCE: self._preference,
      TextKind.VAGUE: self._vague,
      TextKind.VAGUE_SECOND: self._vague_second,
      TextKind.SPECIFIC: self._specific,
      TextKind.OWN_PREFERENCE: self._preference,
    }[request.kind]
    text = write(request, frozenset())
    if not quality.says_title(text, request.hidden_title):
      return text
    # A series is called like one of its items: do without its words.
    hidden = frozenset(keyphrases.content_words(request.hidden_title))
    text = write(request, hidden)
    # "Now and Then" is a title, too: say less, in other words.
    bare = tuple(
      dataclasses.replace(item, brand=None, price=None)
      for item in request.items
    )
    for turn in range(max(len(_PREFERENCES), len(_VAGUE))):
      if not quality.says_title(text, request.hidden_title):
        break
      other = dataclasses.replace(
        request, items=bare, review=None, key=request.key + turn
      )
      text = write(other, hidden)
    return text

  def _ranked(self, items: Sequence[Item], hidden: frozenset[str]) -> list[str]:
    ranked = self._phrases.ranked(items)
    if not hidden:
      return [phrase for phrase, _ in ranked]
    return [p for p, _ in ranked if not hidden & set(keyphrases.tokens(p))]

  def _price_level(self, items: Sequence[Item]) -> int | None:
    prices = [item.price for item in items if item.price is not None]
    if self._price_levels is None or not prices:
      return None
    return int(np.searchsorted(self._price_levels, np.median(prices)))

  def _preference(self, request: TextRequest, hidden: frozenset[str]) -> str:
    own = request.kind is TextKind.OWN_PREFERENCE

    def said(frames: tuple[str, ...], number: int, **slots: str) -> str:
      found = _OWN[frames] if own else frames
      return _capital(found[number % len(found)].format(**slots))

    brands = _repeated_brands(request.items)
    phrases = self._ranked(request.items, hidden) + brands
    key = request.key
    if not phrases:
      text = said(_ANYTHING, key)
    elif len(phrases) == 1:
      text = said(_PREFERENCES_ONE, key, a=phrases[0])
    else:
      a = " and ".join(phrases[: 2 if len(phrases) > 2 else 1])
      b = brands[0] if brands else phrases[min(2, len(phrases) - 1)]
      text = said(_PREFERENCES, key, a=a, b=b)
    opinion = reviews.opinion(request.review)
    if opinion is not None:
      aspect, good = opinion
      text += " " + said(_LIKES if good else _DISLIKES, key >> 8, a=aspect)
    level = self._price_level(request.items)
    if level is not None and len(request.items) >= 3:
      text += " " + said(_PRICES, level)
    return text

  def _present(
    self, items: Sequence[Item], hidden: frozenset[str]
  ) -> list[str]:
    """A wish is about the present: the newest items alone, vaguest first."""
    ranked = self._ranked(items[-3:], hidden)[:3]
    return sorted(ranked, key=lambda p: (-self._phrases.num_items(p), p))

  def _vague(self, request: TextRequest, hidden: frozenset[str]) -> str:
    phrases = self._mentioned(request.review)[:1]
    hide = hidden.intersection
    phrases = [p for p in phrases if not hide(keyphrases.tokens(p))]
    present = self._present(request.items, hidden)
    phrases += [p for p in present if p not in phrases]
    if not phrases:
      return "I would like something new, surprise me."
    who = reviews.person(request.review)
    if who:
      frame = _pick(_GIFT, request.key)
      return frame.format(who=who, a=phrases[0])
    opinion = reviews.opinion(request.review)
    if opinion is not None:
      frame = _pick(_VAGUE_ASPECT, request.key)
      return _capital(frame.format(a=phrases[0], aspect=opinion[0]))
    frames = (
      _VAGUE if len(phrases) > 1 else [f for f in _VAGUE if "{b}" not in f]
    )
    return _pick(frames, request.key).format(a=phrases[0], b=phrases[-1])

  def _vague_second(self, request: TextRequest, hidden: frozenset[str]) -> str:
    wanted = self._present(request.items, hidden)
    known = [
      phrase
      for phrase in self._ranked(request.history, hidden)
      if phrase not in wanted
    ]
    if not wanted or not known:
      # Another key, for the first wording's would repeat it.
      return self._vague(
        dataclasses.replace(request, key=request.key + 1), hidden
      )
    frame = _pick(_SECOND, request.key)
    return frame.format(h=known[0], a=wanted[0])

  def _find_specific_parts(self, item: Item, hidden: frozenset[str]) -> str:
    title = set(keyphrases.content_words(item.title))
    # At most half of the title's words may stand in the query.
    allowed = max(1, len(title) // 2)
    kept: list[str] = []
    used: set[str] = set()
    for phrase in self._phrases.of(item):
      if hidden and hidden & set(keyphrases.tokens(phrase)):
        continue
      overlap = used | (title & set(keyphrases.content_words(phrase)))
      if len(overlap) <= allowed:
        kept.append(phrase)
        used = overlap
    parts = ", ".join(kept[:3]) or "something out of the ordinary"
    brand = set(keyphrases.content_words(item.brand or ""))
    if item.brand and len(used | (title & brand)) <= allowed:
      parts += f" by {item.brand}"
    level = self._price_level([item])
    return parts if level is None else parts + _QUALITIES[level]

  def _specific(self, request: TextRequest, hidden: frozenset[str]) -> str:
    parts = self._specific_parts(request.items[-1], hidden)
    return _capital(_pick(_SPECIFIC, request.key).format(parts=parts))


def _repeated_brands(items: Sequence[Item]) -> list[str]:
  """Brands of at least two of the items, most frequent first."""
  brands = [item.brand for item in items if item.brand]
  repeated = {brand for brand in brands if brands.count(brand) > 1}
  ordered = sorted(repeated, key=lambda brand: (-brands.count(brand), brand))
  return [f"things by {brand}" for brand in ordered]


def _capital(text: str) -> str:
  return text[0].upper() + text[1:]


def _pick(options: Sequence[str], key: int) -> str:
  return options[key % len(options)]
