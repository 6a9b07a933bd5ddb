"""The offline teacher: no network, deterministic, from what the data say.

It works on keyphrases of the items (`keyphrases.py`), on what reviews praise
or complain of, on prices, and on whom a review says a thing was for.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from instructrec.data.catalog import Catalog, Item
from instructrec.instructions import (
  domains,
  keyphrases,
  quality,
  reviews,
  spoken,
)
from instructrec.instructions import offline_frames as frames
from instructrec.instructions.attributes import (
  Attribute,
  Kind,
  price_levels,
)
from instructrec.instructions.domains import SPEECH, Domain
from instructrec.instructions.draws import Draws
from instructrec.instructions.teacher import TextKind, TextRequest
from instructrec.instructions.wish_words import Speaker


class OfflineTeacher:
  """Writes from keyphrases; see the module.

  Args:
    items: the catalogue, for what its items share and what they cost.
    domain: what the items are; None finds out.
  """

  name = "offline"
  version = "4"

  def __init__(self, items: Catalog, domain: Domain | None = None) -> None:
    self._phrases = keyphrases.of_catalog(items)
    self._domain = domain or domains.of(items)
    self._speech = dataclasses.asdict(SPEECH[self._domain])
    self._speaker = Speaker(self._domain, self._phrases)
    self._price_levels = price_levels(items)
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
    for turn in range(max(len(frames.PREFERENCES), len(frames.VAGUE))):
      if not quality.says_title(text, request.hidden_title):
        break
      other = dataclasses.replace(
        request, items=bare, review=None, key=request.key + turn
      )
      text = write(other, hidden)
    last = frames.LAST_RESORTS[request.kind.value]
    return next(
      (
        found
        for found in (text, *last)
        if not quality.says_title(found, request.hidden_title)
      ),
      text,
    )

  def _ranked(self, items: Sequence[Item], hidden: frozenset[str]) -> list[str]:
    ranked = self._phrases.ranked(items)
    return [
      phrase
      for phrase, _ in ranked
      if self._is_topic(phrase)
      and not (hidden and hidden & set(keyphrases.tokens(phrase)))
    ]

  def _is_topic(self, phrase: str) -> bool:
    """A word of a film's title is none: "Africa", "Bye"."""
    if self._domain not in (Domain.FILMS, Domain.BOOKS, Domain.MUSIC):
      return True
    return (
      " " in phrase
      or self._phrases.is_category(phrase)
      or not self._phrases.has_categories
    )

  def _attribute(self, phrase: str) -> Attribute:
    is_category = self._phrases.is_category(phrase)
    return Attribute(Kind.CATEGORY if is_category else Kind.KEYPHRASE, phrase)

  @functools.lru_cache(maxsize=1 << 16)  # noqa: B019
  def _things(self, phrase: str) -> str:
    """A keyphrase as things: "Mario Kart games", "wooden puzzles"."""
    found = self._speaker.things([self._attribute(phrase)], Draws(0), bare=True)
    return found.removeprefix("something in ")

  def _speech_for(self, said: Iterable[str]) -> dict[str, str]:
    """Words of the domain; what goes with games is bought and not played."""
    parts = [part for text in said for part in text.split(" and ")]
    if self._domain is Domain.GAMES and any("game" not in p for p in parts):
      return {**self._speech, "do": "buy"}
    return self._speech

  def _all_things(self, phrases: Sequence[str]) -> list[str]:
    """Keyphrases as things, none of which says what one before it says."""
    kept = list[str]()
    keys = list[frozenset[str]]()
    for phrase in phrases:
      key = frozenset(spoken.key(phrase)) - {"and"}
      if all(not (key <= other or other <= key) for other in keys):
        kept.append(self._things(phrase))
        keys.append(key)
    return kept

  def _price_level(self, items: Sequence[Item]) -> int | None:
    prices = [
      item.price
      for item in items
      if item.price is not None and math.isfinite(item.price)
    ]
    if self._price_levels is None or not prices:
      return None
    return int(np.searchsorted(self._price_levels, np.median(prices)))

  def _preference(self, request: TextRequest, hidden: frozenset[str]) -> str:
    own = request.kind is TextKind.OWN_PREFERENCE

    def said(options: tuple[str, ...], number: int, **slots: str) -> str:
      found = frames.OWN[options] if own else options
      speech = self._speech_for(slots.values())
      return _capital(found[number % len(found)].format(**slots, **speech))

    brands = _repeated_brands(request.items, self._speech["many"])
    phrases = self._all_things(self._ranked(request.items, hidden)) + brands
    key = request.key
    if not phrases:
      text = said(frames.ANYTHING, key)
    elif len(phrases) == 1:
      text = said(frames.PREFERENCES_ONE, key, a=phrases[0])
    else:
      a = " and ".join(phrases[: 2 if len(phrases) > 2 else 1])
      b = brands[0] if brands else phrases[min(2, len(phrases) - 1)]
      text = said(frames.PREFERENCES, key, a=a, b=b)
    opinion = reviews.opinion(request.review)
    if opinion is not None:
      aspect, good = opinion
      text += " " + said(
        frames.LIKES if good else frames.DISLIKES, key >> 8, a=aspect
      )
    level = self._price_level(request.items)
    if level is not None and len(request.items) >= 3:
      text += " " + said(frames.PRICES, level)
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
    phrases = self._all_things(phrases)
    if not phrases:
      return "I would like something new, surprise me."
    who = reviews.person(request.review)
    if who:
      frame = _pick(frames.GIFT, request.key)
      return frame.format(who=who, a=phrases[0])
    opinion = reviews.opinion(request.review)
    if opinion is not None:
      frame = _pick(frames.VAGUE_ASPECT, request.key)
      return _capital(frame.format(a=phrases[0], aspect=opinion[0]))
    options = (
      frames.VAGUE
      if len(phrases) > 1
      else [f for f in frames.VAGUE if "{b}" not in f]
    )
    text = _pick(options, request.key)
    return text.format(a=phrases[0], b=phrases[-1])

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
    frame = _pick(frames.SECOND, request.key)
    h, a = self._things(known[0]), self._things(wanted[0])
    return frame.format(h=h, a=a, **self._speech_for((h, a)))

  def _find_specific_parts(self, item: Item, hidden: frozenset[str]) -> str:
    title = set(keyphrases.content_words(item.title))
    # At most half of the title's words may stand in the query.
    allowed = max(1, len(title) // 2)
    options = [
      self._attribute(phrase)
      for phrase in self._phrases.of(item)
      if self._is_topic(phrase)
    ]
    if item.brand:
      options.append(Attribute(Kind.BRAND, item.brand))
    kept: list[Attribute] = []
    parts = self._speech["some"]
    for attribute in options:
      name = attribute.name
      if hidden and hidden & set(keyphrases.tokens(name)):
        continue
      if not self._goes_with(attribute, kept):
        continue
      text = self._speaker.things([*kept, attribute], Draws(0))
      if len(title & set(keyphrases.content_words(text))) <= allowed:
        kept.append(attribute)
        parts = text
    level = self._price_level([item])
    return parts if level is None else parts + frames.QUALITIES[level]

  def _goes_with(self, attribute: Attribute, kept: Sequence[Attribute]) -> bool:
    """Whether an attribute says more beside others, in one phrase."""
    if len(kept) >= 3:
      return attribute.kind is Kind.BRAND
    key = frozenset(spoken.key(attribute.name)) - {"and"}
    others = [frozenset(spoken.key(a.name)) - {"and"} for a in kept]
    if any(key <= other or other <= key for other in others):
      return False
    return all(self._speaker.go_together(attribute, a) for a in kept)

  def _specific(self, request: TextRequest, hidden: frozenset[str]) -> str:
    parts = self._specific_parts(request.items[-1], hidden)
    frame = _pick(frames.SPECIFIC, request.key)
    speech = self._speech_for([parts])
    return _capital(frame.format(parts=parts, **speech))


def _repeated_brands(items: Sequence[Item], many: str) -> list[str]:
  """Brands of at least two of the items, most frequent first."""
  brands = [item.brand for item in items if item.brand]
  repeated = {brand for brand in brands if brands.count(brand) > 1}
  ordered = sorted(repeated, key=lambda brand: (-brands.count(brand), brand))
  return [f"{many} by {brand}" for brand in ordered]


def _capital(text: str) -> str:
  return text[0].upper() + text[1:]


def _pick(options: Sequence[str], key: int) -> str:
  return options[key % len(options)]
