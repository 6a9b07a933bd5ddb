"""What items are about, in words that several items share.

The specific categories of an item where the catalogue has them, and runs of
one to four words that occur in the titles of at least three items ("Resident
Evil", "Xbox 360"): they name a kind or a series and not one product.
"""

import collections
import functools
import re
from collections.abc import Iterable, Sequence

from instructrec.data.catalog import Catalog, Item
from instructrec.instructions import spoken, topics

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9'+&/\-]*")
_LONGEST = 4
_FRAGMENT = 0.8
"""A run that is this often part of one longer run is a piece of a name."""
_MIN_ITEMS = 3
STOP_WORDS = frozenset(
  (
    "a an and are as at be by can for from has have if in into is it its just "
    "my new no not of on only or our out set so that the their them these they "
    "this those to up us was were will with without you your all any more most "
    "pack edition version vol volume part deluxe classic pro plus ii iii iv "
    "one two first second full high one's item items piece pieces official "
    "original black white blue red game games video s"
  ).split()
)

_GENERIC = frozenset(
  (
    "adventure adventures bonus box bulk bundle character characters code "
    "codes collection collector's compatible complete digital discontinued "
    "download easy exclusive extra generation gold great hits import kit "
    "large limited manufacturer mini multi newest old online original package "
    "packaging party platinum premium renewed replacement retail secrets "
    "secret series set silver single small special standard starter stuff "
    "super supplies system trilogy ultimate universal usa used value version "
    "world worlds"
  ).split()
)
"""Words that are in many titles and say little; no keyphrase, also not two."""
_ORDINARY = frozenset(
  (
    "age ages air alone amazing ancient angels anniversary art attack back "
    "battle battles best beyond big blood book boy boys break bring call "
    "castle challenge chronicles city clear club color command core country "
    "crazy creatures dark dawn day days dead death double dream dreams earth "
    "edge empire end episode eternal evil eye fall family fantasy fate fear "
    "fever fight files final fire force forever free friends front fun future "
    "general girls gold golden grips happy hard heart hearts heroes hidden "
    "high home house included includes instant island journey king kingdom "
    "kings knight land last left legacy legend legends life light little live "
    "lords lost love magic master max men model moon move music mystery night "
    "nights order origins over path performance play power project pure quest "
    "rain raw return returns revenge rise rising road royal rush saga sea "
    "season secret seven shadow shadows show sky slim sound space speed star "
    "stars stories story street strike sun tales team thumb time top total "
    "touch travel triple under unleashed wanted war warriors wars way where "
    "wild wind wings wireless year years zero"
  ).split()
)
"""Parts of names that name nothing by themselves."""
_BETWEEN = frozenset("works featuring including fits versus".split())
"""What joins two names and is no part of one."""
_MEASURE = re.compile(
  r"(?:\d[\d,.]*)?(?:gb|mb|tb|ft|feet|inch|inches|mm|cm|mah|volt|pcs|dpi)|"
  r"\d[\d,.]*(?:v|w|m|k|x|in|th)"
)


def tokens(text: str) -> list[str]:
  """The words and numbers of a text, in lower case."""
  return [token.lower() for token in _TOKEN.findall(text)]


def content_words(text: str) -> list[str]:
  """The words of a text that say something, in lower case.

  Args:
    text: any text.

  Returns:
    Words of at least three characters that are no stop words, in order.
  """
  return [t for t in tokens(text) if len(t) > 2 and t not in STOP_WORDS]


class Keyphrases:
  """Finds keyphrases of items.

  Args:
    items: the catalogue; what its items share makes a keyphrase.
  """

  def __init__(self, items: Catalog) -> None:
    self._num_items = len(items)
    self._counts: collections.Counter[tuple[str, ...]] = collections.Counter()
    surfaces: dict[tuple[str, ...], collections.Counter[str]] = {}
    for title in items.titles:
      for key, surface in set(_runs(title)):
        self._counts[key] += 1
        surfaces.setdefault(key, collections.Counter())[surface] += 1
    self._surface = {
      key: min(found, key=lambda text: (-found[text], text))
      for key, found in surfaces.items()
      if self._counts[key] >= _MIN_ITEMS
    }
    self._categories: collections.Counter[str] = collections.Counter()
    for entry in items.frame["categories"].to_list():
      self._categories.update(set(entry))
    self.of = functools.lru_cache(maxsize=None)(self._of)
    self._is_phrase = functools.lru_cache(maxsize=None)(self._find_is_phrase)

  def _find_is_phrase(self, key: tuple[str, ...]) -> bool:
    """Whether a run of words is shared, common enough and holds together."""
    count = self._counts[key]
    if not _MIN_ITEMS <= count <= max(_MIN_ITEMS, self._num_items // 3):
      return False
    if _GENERIC.issuperset(key):
      return False
    if any(_MEASURE.fullmatch(word) for word in key):
      return False
    if topics.SCRAPS.intersection(key) or _BETWEEN.intersection(key):
      return False
    if len(key) == 1:
      return self._is_taste(key[0])
    if len(key[-1]) == 1 and not key[-1].isdigit():
      return False  # "Mystery P" of "Mystery P.I."
    if key[0].isdigit():
      return False
    if key[-1].isdigit() and not self._is_name(key[-2]):
      return False  # "Band 2" of "Rock Band 2"; "Figure 6" inches.
    numbered = len(key) == 2 and key[1].isdigit()  # "PlayStation 2"
    # "Call of Duty" is most of what is said of duty; "Case for" is not.
    rarest = min(self._counts[word,] for word in key if (word,) in self._counts)
    return count >= (0.1 if numbered else 0.4) * rarest

  def _is_name(self, word: str) -> bool:
    """Whether a word is no ordinary one of English."""
    if len(word) < 3 or not word[0].isalpha() or word in _ORDINARY:
      return False
    return not {word, spoken.singular(word)} & topics.ordinary()

  def _is_taste(self, word: str) -> bool:
    """Whether a single word names a theme, a product or a name."""
    if word in _GENERIC or word in topics.SCRAPS:
      return False
    if {word, spoken.singular(word)} & (topics.THEMES | topics.PRODUCTS):
      return True
    return self._is_name(word) and not word[-1].isdigit()

  def _is_fragment(
    self, key: tuple[str, ...], runs: Iterable[tuple[str, ...]]
  ) -> bool:
    """Whether "Black Flag" nearly always stands in "IV Black Flag"."""
    size, count = len(key), self._counts[key]
    return any(
      self._counts[longer] >= _FRAGMENT * count
      and key in (longer[:size], longer[-size:])
      for longer in runs
      if size < len(longer) <= size + 2
    )

  def _of(self, item: Item) -> tuple[str, ...]:
    """Keyphrases of an item, most telling first; may be empty."""
    phrases = [
      category.lower()
      for category in reversed(item.categories)
      # The root of the tree says nothing.
      if self._categories[category] < 0.9 * self._num_items
    ][:2]
    taken: set[str] = set()
    for phrase in phrases:
      taken.update(tokens(phrase))
    taken.update(tokens(item.brand or ""))
    found = {key for key, _ in _runs(item.title)}
    runs = sorted(
      {key for key in found if len(key) <= _LONGEST and self._is_phrase(key)},
      key=lambda key: (-len(key), -self._counts[key], key),
    )
    for key in runs:
      if not taken & set(key) and not self._is_fragment(key, found):
        phrases.append(self._surface[key])
        taken |= set(key)
    return tuple(phrases[:4])

  def ranked(
    self, items: Sequence[Item], *, decay: float = 0.9
  ) -> list[tuple[str, float]]:
    """Keyphrases of several items, those of newer and more items first.

    Args:
      items: oldest first.
      decay: weight of an item against the next newer one.

    Returns:
      Phrases with weights, descending; ties in alphabetical order.
    """
    weights: dict[str, float] = collections.defaultdict(float)
    for age, item in enumerate(reversed(items)):
      for place, phrase in enumerate(self.of(item)):
        weights[phrase] += decay**age / (1 + 0.3 * place)
    return sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))

  def mentioned(self, text: str | None) -> list[str]:
    """Keyphrases of the catalogue that a text mentions, longest first.

    Args:
      text: such as a review.

    Returns:
      Phrases that begin with a capital or have several words; ordinary words
      of a sentence are also words of titles.
    """
    found = {
      key
      for key, surface in _runs(text or "")
      if key in self._surface
      and len(key) <= _LONGEST
      and self._is_phrase(key)
      and (len(key) > 1 or surface[0].isupper())
    }
    ordered = sorted(
      found, key=lambda key: (-len(key), -self._counts[key], key)
    )
    return [self._surface[key] for key in ordered]

  def num_items(self, phrase: str) -> int:
    """How many items of the catalogue share a phrase of theirs."""
    return max(
      self._counts[tuple(tokens(phrase))],
      sum(
        count
        for category, count in self._categories.items()
        if category.lower() == phrase
      ),
    )


@functools.lru_cache(maxsize=2)
def of_catalog(items: Catalog) -> Keyphrases:
  """The keyphrases of a catalogue, found once.

  Args:
    items: the catalogue.

  Returns:
    What finds them.
  """
  return Keyphrases(items)


def _runs(title: str) -> Iterable[tuple[tuple[str, ...], str]]:
  """Runs of words of a title that neither begin nor end with a stop word."""
  matches = list(_TOKEN.finditer(title))
  words = [match[0].lower() for match in matches]
  for start in range(len(words)):
    if words[start] in STOP_WORDS:
      continue
    # One word more than a keyphrase has tells what is part of what.
    for end in range(start + 1, min(start + _LONGEST + 1, len(words)) + 1):
      between = title[matches[end - 2].end() : matches[end - 1].start()]
      if end - start > 1 and between.strip() not in ("", "&"):
        break  # Never across a comma, a colon or a bracket.
      if words[end - 1] not in STOP_WORDS:
        surface = title[matches[start].start() : matches[end - 1].end()]
        yield tuple(words[start:end]), surface
