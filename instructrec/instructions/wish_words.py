"""Puts a wish into words, as people write them.

A wish is short, in the first person, polite or not, now and then in small
letters or misspelt. Every choice hangs on the key alone.
"""

import re
from collections.abc import Sequence

from instructrec.instructions import keyphrases, quality, wish_frames
from instructrec.instructions.attributes import Attribute, Kind
from instructrec.instructions.domains import SPEECH, Domain
from instructrec.instructions.draws import Draws
from instructrec.instructions.wish import Wish

PLATFORM = re.compile(
  r"\b(playstation|xbox|nintendo (?:ds|3ds|64|wii|switch)|wii|gamecube|"
  r"game ?boy|dreamcast|psp|ps[1-5]|ps ?vita|pc|mac)\b",
  re.IGNORECASE,
)
_SMALL, _GREETED, _MISSPELT = 0.3, 0.06, 0.05
"""Shares of texts in small letters, with a greeting, with a slip."""
_MIN_SLIP = 5
_LAST_RESORT = "{x}."


def is_platform(attribute: Attribute, domain: Domain) -> bool:
  """Whether an attribute says what games run on."""
  return domain is Domain.GAMES and bool(PLATFORM.fullmatch(attribute.name))


def _plural(name: str) -> bool:
  last = name.split()[-1]
  return last.endswith("s") and not last.endswith(("ss", "us", "is"))


def _adjunct(attribute: Attribute, domain: Domain) -> str | None:
  """An attribute before a noun: "dinosaur" of "dinosaur puzzles"."""
  name = attribute.name
  if attribute.kind is Kind.CATEGORY:
    if domain is Domain.FILMS and name in wish_frames.GENRES:
      return wish_frames.GENRES[name][0]
    return None
  if attribute.kind is Kind.KEYPHRASE and not is_platform(attribute, domain):
    single = " " not in name and name[1:].islower()
    return name.lower() if single else name
  return None


def _head(attribute: Attribute, domain: Domain) -> str | None:
  """A category as the things that are wanted; None for what is not one."""
  if attribute.kind is not Kind.CATEGORY:
    return None
  name = attribute.name
  if domain is Domain.FILMS and name in wish_frames.GENRES:
    return wish_frames.GENRES[name][1]
  if domain in (Domain.FILMS, Domain.BOOKS, Domain.MUSIC) and not _plural(name):
    return f"{name} {SPEECH[domain].many}"
  return name if _plural(name) else f"something in {name}"


def _tail(attribute: Attribute, domain: Domain, draws: Draws) -> str | None:
  """An attribute behind the noun."""
  if attribute.kind is Kind.BRAND:
    return f" {draws.pick(('by', 'from'))} {attribute.name}"
  if attribute.kind is Kind.DECADE:
    decade = attribute.name
    short = decade if decade < "1930s" or decade >= "2000s" else decade[2:]
    return f" from the {draws.pick((decade, short))}"
  if attribute.kind is Kind.PRICE:
    return f", {draws.pick(wish_frames.PRICES[attribute.name])}"
  if is_platform(attribute, domain):
    return f" {draws.pick(('for', 'on'))} {attribute.name}"
  return None


def things(
  wanted: Sequence[Attribute], domain: Domain, draws: Draws, *, bare: bool
) -> str:
  """Attributes as one phrase.

  Args:
    wanted: one or two attributes; none gives "something".
    domain: of the catalogue.
    draws: choose among words.
    bare: whether what has no noun of its own is called "things" or "games",
      and not "something".

  Returns:
    Such as "wooden puzzles by Oakline, not too expensive".
  """
  many = SPEECH[domain].many
  heads = [a for a in wanted if _head(a, domain)]
  head = _head(heads[-1], domain) if heads else None
  before: list[str] = []
  behind: list[str] = []
  for attribute in wanted:
    tail = _tail(attribute, domain, draws)
    if tail is not None:
      behind.append(tail)
      continue
    if heads and attribute is heads[-1]:
      continue
    adjunct = _adjunct(attribute, domain)
    if adjunct is None:  # A second category.
      before.append(f"{attribute.name},")
    elif head is not None and head.startswith("something"):
      behind.insert(0, f" with {adjunct}")
    else:
      before.append(adjunct)
  if head is None:
    head = many if before or bare else "something"
  # Prices come last: "by Oakline, not too expensive".
  behind.sort(key=lambda part: part.startswith(","))
  return " ".join([*before, head]) + "".join(behind)


def _unwanted(
  attribute: Attribute, domain: Domain, draws: Draws
) -> tuple[str, str]:
  """What is not wanted, with its "no" and without."""
  tail = _tail(attribute, domain, draws)
  plain = things([attribute], domain, draws, bare=True)
  if tail is not None:
    return f"nothing{tail}", plain
  plain = plain.removeprefix("something in ")
  return f"no {plain}", plain


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


def _styled(text: str, draws: Draws) -> str:
  text = text[0].upper() + text[1:]
  greeted = draws.chance(_GREETED)
  if draws.chance(_SMALL):
    text = re.sub(r"\bI\b", "i", text)
    text = text[0].lower() + text[1:]
  if greeted:
    first = text if text[:2] in ("I ", "I'") else text[0].lower() + text[1:]
    text = draws.pick(wish_frames.GREETINGS) + first
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


def say(wish: Wish, domain: Domain, key: int) -> str | None:
  """A wish in words.

  Args:
    wish: what it says.
    domain: of the catalogue.
    key: 64 random bits that choose among wordings.

  Returns:
    One or two sentences; None where no wording keeps the target's words out.
  """
  draws = Draws(key)
  speech = SPEECH[domain]
  slots = {
    "x": things(wish.wanted, domain, draws, bare=False),
    "h": wish.like or "",
    "who": wish.person or "",
    "aspect": wish.aspect or "",
    "occasion": wish.occasion or "",
    "one": speech.one,
    "many": speech.many,
    "do": speech.do,
  }
  if wish.unwanted:
    slots["n"], slots["m"] = _unwanted(wish.unwanted[0], domain, draws)
  last = "{n}." if wish.unwanted and not wish.wanted else _LAST_RESORT
  frames = draws.shuffled(_frames(wish, domain))
  for frame in [*frames, *([] if wish.is_useless else [last])]:
    plain = frame.format(**slots)
    text = _styled(plain, draws)
    for found in (text, plain[0].upper() + plain[1:]):
      if allowed(found, wish):
        return found
  return None
