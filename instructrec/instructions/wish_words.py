"""Puts a wish into words, as people write them.

A wish is short, in the first person, polite or not, now and then in small
letters or misspelt. Every choice hangs on the key alone.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

from instructrec.instructions import (
  keyphrases,
  quality,
  spoken,
  topics,
  wish_frames,
)
from instructrec.instructions.attributes import Attribute, Kind
from instructrec.instructions.domains import SPEECH, Domain
from instructrec.instructions.draws import Draws
from instructrec.instructions.wish import Wish

PLATFORM = re.compile(
  r"(?:(?:sony|microsoft|nintendo|sega) )?(?:playstation|xbox|ds|dsi|3ds|2ds|"
  r"64|nes|snes|wii|switch|gamecube|genesis|dreamcast|saturn|game ?boy|psp|"
  r"ps ?\d|ps ?vita|vita|pc|mac|pc/mac|nds|gba)"
  r"(?: (?:\d{1,4}|one|u|xl|lite|vita|portable|advance|sp|color))*",
  re.IGNORECASE,
)
_SMALL, _ALL_SMALL, _GREETED, _MISSPELT = 0.2, 0.1, 0.06, 0.05
"""Shares of texts that begin small, are all small, greet, have a slip."""
_LAST_RESORT = "{x}."
_IN = "something in "


@dataclasses.dataclass(frozen=True)
class Speaker:
  """Puts wishes into words.

  Attributes:
    domain: of the catalogue.
    phrases: keyphrases of the catalogue, which know what among games is a
      thing to play with; None where there are none.
  """

  domain: Domain
  phrases: keyphrases.Keyphrases | None = None

  def is_platform(self, attribute: Attribute) -> bool:
    """Whether an attribute says what games run on."""
    return (
      self.domain is Domain.GAMES
      and attribute.kind is Kind.KEYPHRASE
      and bool(PLATFORM.fullmatch(attribute.name))
    )

  @property
  def _nouns(self) -> frozenset[str]:
    """Last words of names of things; "Dying Light" is no light."""
    return topics.GEAR if self.domain is Domain.GAMES else topics.HEADS

  def _many(self, attributes: Sequence[Attribute]) -> str:
    phrases = self.phrases
    if self.domain is Domain.GAMES and phrases is not None:  # noqa: SIM102
      if any(phrases.is_gear(a.name) for a in attributes):
        return "things"
    return SPEECH[self.domain].many

  def _head(self, attribute: Attribute) -> str | None:
    """An attribute as the things that are wanted; None where it is not one."""
    name = attribute.name
    if attribute.kind is Kind.KEYPHRASE:
      words = spoken.key(name)
      nouns = topics.PRODUCTS if len(words) == 1 else self._nouns
      if self.domain is Domain.GAMES:
        nouns = self._nouns
      if not words or words[-1] not in nouns or self.is_platform(attribute):
        return None
      return _cased(spoken.plural(name), self._nouns)
    if attribute.kind is not Kind.CATEGORY:
      return None
    if self.domain is Domain.FILMS and name in wish_frames.GENRES:
      return wish_frames.GENRES[name][1]
    if name in wish_frames.SAID:
      return wish_frames.SAID[name]
    parts = frozenset(spoken.words(name)) - {"and"}
    if parts and parts <= wish_frames.BODY:
      return f"things for the {name}"
    last = spoken.singular(spoken.words(name)[-1]) if parts else ""
    if last in topics.PRODUCTS:
      return spoken.plural(name)
    if not spoken.is_plural(name):
      if self.domain in (Domain.FILMS, Domain.BOOKS, Domain.MUSIC):
        return f"{name} {SPEECH[self.domain].many}"
      return f"{_IN}{name}"
    return name

  def go_together(self, one: Attribute, other: Attribute) -> bool:
    """Whether two attributes make one phrase that people would say.

    Args:
      one: an attribute.
      other: another.

    Returns:
      True for "dinosaur" and "puzzles"; False for two consoles, for two kinds
      of things that are no genres of films, for two brands.
    """
    both = (one, other)
    if all(map(self.is_platform, both)):
      return False
    if all(a.kind is Kind.CATEGORY for a in both):
      return self.domain is Domain.FILMS
    if one.kind is other.kind is not Kind.KEYPHRASE:
      return False
    return not (self._head(one) and self._head(other))

  def _adjunct(self, attribute: Attribute) -> str:
    """An attribute before a noun: "dinosaur" of "dinosaur puzzles"."""
    name = attribute.name
    if attribute.kind is Kind.CATEGORY and name in wish_frames.GENRES:
      return wish_frames.GENRES[name][0]
    return _cased(name, self._nouns)

  def _tail(self, attribute: Attribute, draws: Draws) -> str | None:
    """An attribute behind the noun."""
    if attribute.kind is Kind.BRAND:
      return f" {draws.pick(('by', 'from'))} {attribute.name}"
    if attribute.kind is Kind.DECADE:
      decade = attribute.name
      short = decade[2:] if "1930s" <= decade < "2000s" else decade
      return f" from the {draws.pick((decade, short))}"
    if attribute.kind is Kind.PRICE:
      return f", {draws.pick(wish_frames.PRICES[attribute.name])}"
    if self.is_platform(attribute):
      return f" for {attribute.name}"
    return None

  def things(
    self, wanted: Sequence[Attribute], draws: Draws, *, bare: bool = False
  ) -> str:
    """Attributes as one phrase.

    Args:
      wanted: one or two attributes; none gives "something".
      draws: choose among words.
      bare: whether what has no noun of its own is called "things" or "games",
        and not "something".

    Returns:
      Such as "wooden puzzles by Oakline, not too expensive".
    """
    tails = {a: self._tail(a, draws) for a in wanted}
    rest = [a for a in wanted if tails[a] is None]
    heads = sorted(
      (a for a in rest if self._head(a)), key=lambda a: _rank(a.name)
    )
    head = self._head(heads[0]) if heads else None
    before = [self._adjunct(a) for a in rest if not heads or a is not heads[0]]
    behind = list[str]()
    for tail in tails.values():
      if tail is not None and any(t.startswith(" for ") for t in behind):
        tail = tail.replace(" for ", " and ", 1)
      if tail is not None:
        behind.append(tail)
    # Prices come last: "by Oakline, not too expensive".
    behind.sort(key=lambda part: part.startswith(","))
    if head is None:
      head = self._many(wanted) if before or bare else "something"
    elif head.startswith(_IN) and before:
      head = f"{self._many(wanted)} in {head.removeprefix(_IN)}"
    if head == "something" and behind and behind[0].startswith(","):
      behind[0] = behind[0].removeprefix(",")
    return " ".join([*before, head]) + "".join(behind)

  def unwanted(self, attribute: Attribute, draws: Draws) -> tuple[str, str]:
    """What is not wanted, with its "no" and without.

    Args:
      attribute: which.
      draws: choose among words.

    Returns:
      "no puzzles" and "puzzles"; "nothing by Oakline" and "things by Oakline".
    """
    plain = self.things([attribute], draws, bare=True)
    tail = self._tail(attribute, draws)
    if tail is not None:
      return f"nothing{tail}", plain
    plain = plain.removeprefix(_IN)
    return f"no {plain}", plain

  def say(self, wish: Wish, key: int) -> str | None:
    """A wish in words.

    Args:
      wish: what it says.
      key: 64 random bits that choose among wordings.

    Returns:
      One or two sentences; None where no wording keeps the target's words out.
    """
    draws = Draws(key)
    speech = SPEECH[self.domain]
    slots = {
      "x": self.things(wish.wanted, draws),
      "h": wish.like or "",
      "who": wish.person or "",
      "aspect": wish.aspect or "",
      "occasion": wish.occasion or "",
      "one": speech.one,
      "many": speech.some,
      "do": speech.do,
    }
    if wish.unwanted:
      slots["n"], slots["m"] = self.unwanted(wish.unwanted[0], draws)
    last = "{n}." if wish.unwanted and not wish.wanted else _LAST_RESORT
    frames = draws.shuffled(_frames(wish, self.domain))
    for frame in [*frames, *([] if wish.is_useless else [last])]:
      plain = _capital(frame.format(**slots))
      for found in (_styled(frame, slots, draws), plain):
        fault = quality.problem(found, wish.hidden_title, is_query=True)
        if fault is None and allowed(found, wish):
          return found
    return None


@functools.lru_cache(maxsize=1 << 14)
def _cased(name: str, heads: frozenset[str]) -> str:
  """A keyphrase within a sentence: ordinary words small, names as they are."""
  words = spoken.words(name)
  if len(words) == 1:
    for one in (words[0], words[0].removesuffix("s"), words[0][:-2]):
      if one in topics.THEMES:
        return one
  known: tuple[frozenset[str], ...]
  known = (topics.THEMES, heads, topics.ordinary())
  if len(words) == 1:
    known = (topics.THEMES, topics.PRODUCTS)
  elif words and spoken.singular(words[-1]) not in heads:
    return name
  if all(
    any(word in some or spoken.singular(word) in some for some in known)
    for word in words
  ):
    return name.lower()
  return name


def _rank(name: str) -> int:
  """Of two genres, the one that comes first in the table is the noun."""
  names = list(wish_frames.GENRES)
  return names.index(name) if name in names else -1


def _capital(text: str) -> str:
  return text[0].upper() + text[1:]


def _slip(word: str, draws: Draws) -> str:
  """Two neighbours swapped, or a letter lost or doubled; never the first."""
  place = 1 + draws.bits() % (len(word) - 2)
  kind = draws.bits() % 3
  if kind == 0:
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
  return (
    word[:place]
    + (word[place] if kind == 1 else "")
    + word[place:][kind == 2 :]
  )


def _misspell(text: str, draws: Draws) -> str:
  """One slip in a word of small letters, outside quotes."""
  spans = [
    match
    for match in re.finditer(r"(?<![\w'])[a-z]{5,}(?![\w'])", text)
    if text.count('"', 0, match.start()) % 2 == 0
  ]
  if not spans:
    return text
  match = draws.pick(spans)
  return text[: match.start()] + _slip(match[0], draws) + text[match.end() :]


def _styled(frame: str, slots: Mapping[str, str], draws: Draws) -> str:
  """A frame with its slots filled, in a writer's manner."""
  greeted, small = draws.chance(_GREETED), draws.chance(_SMALL)
  literal = not frame.startswith("{")
  if small:
    frame = re.sub(r"\bI\b", "i", frame)
  if (small or greeted) and literal and not frame.startswith(("I ", "I'")):
    frame = frame[0].lower() + frame[1:]
  text = frame.format(**slots)
  if greeted:
    text = draws.pick(wish_frames.GREETINGS) + text
  if not small:
    text = re.sub(r"(?<=[.?!] )[a-z]", lambda m: m[0].upper(), _capital(text))
  if draws.chance(_ALL_SMALL) and '"' not in text:
    text = text.lower()
  if draws.chance(_MISSPELT):
    text = _misspell(text, draws)
  return text


def allowed(text: str, wish: Wish) -> bool:
  """Whether a text keeps what identifies the target to itself.

  Args:
    text: a wish in words; titles of the history may stand in quotes.
    wish: what it was made from.

  Returns:
    Whether it says neither the target's title nor one of its distinguishing
    words.
  """
  if wish.like:
    text = text.replace(wish.like, " ")
  if quality.says_title(text, wish.hidden_title):
    return False
  return not (
    wish.hidden_words and wish.hidden_words & set(keyphrases.tokens(text))
  )


def _frames(wish: Wish, domain: Domain) -> tuple[str, ...]:
  if wish.is_useless:
    found = wish_frames.USELESS.of(wish.split)
    if domain is Domain.PRODUCTS:
      found += wish_frames.DELIVERY.of(wish.split)
    return found
  if wish.like:
    return wish_frames.LIKE.of(wish.split)
  if wish.person:
    return wish_frames.PERSON.of(wish.split)
  if wish.occasion:
    return wish_frames.OCCASION.of(wish.split)
  if wish.aspect:
    return wish_frames.ASPECT.of(wish.split)
  if wish.wanted and wish.unwanted:
    return wish_frames.BOTH.of(wish.split)
  if wish.unwanted:
    return wish_frames.UNWANTED.of(wish.split)
  return wish_frames.WANTED.of(wish.split)
