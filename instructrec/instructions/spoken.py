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
    "bargain",
    "cheaper",
  ),
  "middling": (
    "mid priced",
    "mid range",
    "midrange",
    "medium priced",
    "moderately priced",
    "reasonably priced",
  ),
  "expensive": ("pricey", "costly", "high end", "luxury", "overpriced"),
  "sci-fi": ("science fiction", "scifi"),
  "children": ("kids",),
  "romance": ("romantic",),
  "horror": ("scary",),
  "comedy": ("comedies", "funny"),
  "animation": ("animated", "cartoon"),
  "documentary": ("documentaries",),
  "western": ("cowboy",),
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
_IRREGULAR = {
  "children": "child",
  "men": "man",
  "women": "woman",
  "mice": "mouse",
  "knives": "knife",
  "wolves": "wolf",
  "elves": "elf",
  "dwarves": "dwarf",
}


def singular(word: str) -> str:
  """A form that singular and plural of a word share; not always a word.

  Args:
    word: in lower case.

  Returns:
    `puzzle` for "puzzles", `movy` for "movie" and "movies".
  """
  if word in _IRREGULAR:
    return _IRREGULAR[word]
  if len(word) > 3 and not word[0].isdigit():
    if word.endswith(("ies", "ie")):
      return word[: word.rindex("ie")] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
      return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
      return word[:-1]
  return word


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
