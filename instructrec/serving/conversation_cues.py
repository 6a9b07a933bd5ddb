"""What people say in a conversation, as a table: `conversation_cues.yaml`."""

import enum
import importlib.resources
import re
from collections.abc import Sequence

import yaml

from instructrec.instructions import spoken, wish_cues, wish_pieces
from instructrec.instructions.attributes import Kind


class Cue(enum.Enum):
  """What a phrase says of what was said, or of items."""

  START_OVER = "nothing holds that was said before"
  UNDO = "what was said last does not hold"
  OTHERS = "none of the items that were shown"
  PRICE_OFF = "no bound on prices holds"
  CHEAPER = "a lower price than that of items that were shown"
  PRICIER = "a higher price"
  COUNT = "so many follow at most, of something"
  COUNT_LESS = "fewer than so many follow, of something"
  LISTED = "how many items are wanted follows"
  BETWEEN = "two amounts follow"
  MAX = "the amount that follows is the most to pay"
  MAX_AFTER = "the amount before is the most to pay"
  MIN = "the amount that follows is the least to pay"
  MIN_AFTER = "the amount before is the least to pay"
  YEAR_OFF = "no bound on years holds"
  YEARS = "two years or decades follow"
  YEAR_BEFORE = "the year, or decade, that follows is too late"
  YEAR_AFTER = "the year that follows is too early"
  YEAR_SINCE = "the year that follows is the earliest"
  YEAR_UNTIL = "the year that follows is the latest"
  YEAR_IN = "the year that follows alone is wanted"
  SINCE_AFTER = "the year before is the earliest"
  UNTIL_AFTER = "the year before is the latest"
  FEWER = "half of what was shown of something"
  LIKE = "the item that follows is liked"
  EXCLUDE = "the item that follows is not wanted"
  TOOK = "the item that follows was taken before"
  RELEASE_BEFORE = "what follows may be shown again"
  RELEASE_AFTER = "what was named before may be shown again"
  FORGET = "what follows is neither wanted nor unwanted"
  NOT_ONLY = "nothing else is kept out any more"
  ONLY = "nothing is shown but what follows"
  ONLY_AFTER = "nothing is shown but what was named just before"
  INSTEAD = "nothing is shown but what is wanted here, and not as before"
  RATHER = "what is wanted here stands for what was wanted before"
  ALSO = "what is wanted here comes to what was wanted before"


def _load() -> tuple[dict[tuple[str, ...], tuple[Cue, ...]], dict[str, str]]:
  folder = importlib.resources.files("instructrec.serving")
  table = yaml.safe_load((folder / "conversation_cues.yaml").read_text("utf-8"))
  classes: dict[str, frozenset[tuple[str, ...]]] = {}
  for name, text in table["classes"].items():
    classes[name] = frozenset(wish_cues.phrases(text, classes))
  found: dict[tuple[str, ...], tuple[Cue, ...]] = {}
  for cue in Cue:
    for words in wish_cues.phrases(table["cues"][cue.name.lower()], classes):
      if cue not in found.get(words, ()):
        found[words] = (*found.get(words, ()), cue)
  return found, table["words"]


CUES, _WORDS = _load()
LONGEST = max(map(len, CUES))
_SETS = {name: frozenset(text.split()) for name, text in _WORDS.items()}
HUNDREDTH, CURRENCY = _SETS["hundredth"], _SETS["currency"]
ABOUT_PRICE, NO_PRICE = _SETS["about_price"], _SETS["no_price"]
DENIALS, PAYING = _SETS["denials"], _SETS["paying"]
COUNTED, OF_LIST = _SETS["counted"], _SETS["of_list"]
MADE, LIVED = _SETS["made"], _SETS["lived"]
NOUNS = _SETS["nouns"]
"""What items are called, of whatever kind they are."""
KINDS = {
  word: kind
  for kind in (Kind.DECADE, Kind.BRAND, Kind.CATEGORY)
  for word in _WORDS[kind.value].split()
}
"""What kinds of attributes are called."""
QUIET = (
  _SETS["quiet"]
  | wish_cues.CONTINUES
  | wish_cues.ENDS
  | wish_cues.FILLERS
  | wish_cues.EMPHASIS
  | wish_cues.UNIVERSAL
  | wish_cues.POLITE
  | wish_cues.INTERJECTIONS
)
"""Words that ask for nothing by themselves."""
_ORDINALS = (
  "first second third fourth fifth sixth seventh eighth ninth tenth"
).split()
_ORDINAL = re.compile(r"(\d{1,3})(?:st|nd|rd|th)")
_AMOUNT = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,9}(?:[.,]\d{1,2})?")
_TOKEN = re.compile(
  r"[$€£¥#]|\d+(?:[.,]\d+)*[^\W\d_]*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*"
  r"|[.,;:!?()\n]"
)


def tokens(text: str) -> list[re.Match[str]]:
  """Words, numbers, signs of currencies, and marks that end a clause."""
  return list(_TOKEN.finditer(text.translate(wish_pieces.APOSTROPHES)))


def word(text: str) -> str:
  """A token as the table writes words; marks and signs as they are."""
  if _AMOUNT.fullmatch(text):
    return text
  return "".join(spoken.words(text)) or text


def at(words: Sequence[str], place: int) -> list[tuple[int, Cue]]:
  """The cues that begin at a word, the longest first, with their sizes."""
  found = []
  for size in range(min(LONGEST, len(words) - place), 0, -1):
    cues = CUES.get(tuple(words[place : place + size]), ())
    found += [(size, cue) for cue in cues]
  return found


def ordinal(text: str) -> int | None:
  """2 for "second" and "2nd"; -1 for "last"; None for other words."""
  if text == "last":
    return -1
  found = _ORDINAL.fullmatch(text)
  if found:
    return int(found[1]) or None
  return _ORDINALS.index(text) + 1 if text in _ORDINALS else None


def count(text: str) -> int | None:
  """A small whole number in digits or as a word; None for other words."""
  if text.isascii() and text.isdecimal():
    return int(text) if len(text) < 4 else None
  return spoken.NUMBERS.get(text)


def amount(text: str) -> float | None:
  """A number as prices are written; None for other words."""
  if _AMOUNT.fullmatch(text):
    whole = re.sub(r",(?=\d{3}\b)", "", text)
    return float(whole.replace(",", "."))
  number = spoken.NUMBERS.get(text)
  return None if number is None else float(number)
