"""How names are said: number, case and accents aside, and in other words."""

import re
import unicodedata
from collections.abc import Mapping

_WORD = re.compile(r"[a-z0-9]+")
SYNONYMS: Mapping[str, tuple[str, ...]] = {
  "cheap": (
    "inexpensive",
    "affordable",
    "low priced",
    "low cost",
    "low budget",
    "on a budget",
    "tight budget",
    "small budget",
    "little money",
    "bargain",
    "cheaper",
    "low price",
    "economical",
  ),
  "middling": (
    "mid priced",
    "mid price",
    "mid range",
    "midrange",
    "medium priced",
    "middle price range",
    "middle of the price range",
    "moderately priced",
    "reasonably priced",
    "averagely priced",
    "average price",
    "average priced",
    "medium price",
    "middle priced",
    "moderate price",
    "mid tier",
  ),
  "expensive": (
    "pricey",
    "costly",
    "high end",
    "high priced",
    "top of the range",
    "upper price range",
    "upper end of the price range",
    "luxury",
    "overpriced",
    "high price",
    "upmarket",
    "top end",
  ),
  "sci-fi": ("science fiction", "scifi"),
  "children": ("kids",),
  "romance": ("romantic",),
  "horror": ("scary",),
  "comedy": ("comedies", "funny"),
  "animation": ("animated", "cartoon"),
  "documentary": ("documentaries",),
  "western": ("cowboy",),
  "film-noir": ("noir",),
  "playstation 3": ("ps3",),
  "playstation 4": ("ps4",),
  "1920s": ("twenties", "20s"),
  "1930s": ("thirties", "30s"),
  "1940s": ("forties", "40s"),
  "1950s": ("fifties", "50s"),
  "1960s": ("sixties", "60s"),
  "1970s": ("seventies", "70s"),
  "1980s": ("eighties", "80s"),
  "1990s": ("nineties", "90s"),
  "2000s": ("noughties", "two thousands"),
}
"""Other words for attributes that a catalogue may have."""
COUNTS = tuple("one two three four five six seven eight nine ten".split())
"""Small whole numbers, from 1."""
NUMBERS: Mapping[str, int] = {
  "zero": 0,
  **{word: number for number, word in enumerate(COUNTS, start=1)},
  "eleven": 11,
  "twelve": 12,
  "dozen": 12,
  "fifteen": 15,
  "twenty": 20,
  "thirty": 30,
  "forty": 40,
  "fifty": 50,
  "hundred": 100,
}
"""Whole numbers that are said in one word."""
SHARES: Mapping[str, int] = {"half": 50, "quarter": 25}
"""Shares that are said in one word, in percent."""
_IRREGULAR = {
  many: one
  for one, many in (
    pair.split("/")
    for pair in (
      "child/children man/men woman/women mouse/mice foot/feet tooth/teeth "
      "goose/geese knife/knives pocketknife/pocketknives wolf/wolves "
      "elf/elves dwarf/dwarves shelf/shelves scarf/scarves bus/buses "
      "bonus/bonuses circus/circuses octopus/octopuses stylus/styluses "
      "virus/viruses lens/lenses canvas/canvases quiz/quizzes pie/pies "
      "tie/ties jedi/jedis safari/safaris samurai/samurais bikini/bikinis "
      "potato/potatoes tomato/tomatoes volcano/volcanoes yo/yos"
    ).split()
  )
}
_PLURALS = {one: many for many, one in _IRREGULAR.items()}
_UNCOUNTED = frozenset(("clay", "clothes", "dice", "glue", "soap", "tennis"))


def singular(word: str) -> str:
  """A form that singular and plural of a word share; not always a word.

  Args:
    word: in lower case.

  Returns:
    `puzzle` for "puzzles", `movy` for "movie" and "movies".
  """
  word = _IRREGULAR.get(word, word)
  if word in _PLURALS:
    return word
  if len(word) > 3 and not word[0].isdigit():
    if word.endswith(("ies", "ie")):
      return word[: word.rindex("ie")] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
      return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
      return word[:-1]
  return word


def is_plural(name: str) -> bool:
  """Whether the last word of a name looks like that of several things."""
  last = name.split()[-1].lower()
  if last in _IRREGULAR:
    return True
  return (
    last.endswith("s")
    and not last.endswith(("ss", "us", "is"))
    and last not in _PLURALS
  )


def plural(name: str) -> str:
  """A name of one thing as that of several.

  Args:
    name: such as "Gaming Mouse".

  Returns:
    Such as "Gaming Mice"; a plural stays.
  """
  last = name.split()[-1].lower()
  if is_plural(name) or last in _UNCOUNTED:
    return name
  if last in _PLURALS:
    many = _PLURALS[last]
    # The first letter stays as it is written.
    same = len(name) - len(last) + 1
    return name[:same] + many[1:]
  if last.endswith("y") and last[-2:-1] not in "aeiou":
    return name[:-1] + "ies"
  if last.endswith(("s", "x", "ch", "sh", "z")):
    return name + "es"
  return name + "s"


def words(text: str) -> list[str]:
  """The words of a text without case, accents, apostrophes and hyphens.

  Args:
    text: any.

  Returns:
    Words in order, as they are written; "&" is "and", "Men's" is "men".
  """
  text = text.casefold()
  if not text.isascii():
    text = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    text = "".join(c for c in text if not unicodedata.combining(c))
  text = re.sub(r"'s\b", "", text).replace("'", "").replace("&", " and ")
  return _WORD.findall(text)


def key(text: str) -> tuple[str, ...]:
  """What names that are said alike have in common, number aside.

  Args:
    text: a name.

  Returns:
    The singular of each of its words.
  """
  return tuple(map(singular, words(text)))
