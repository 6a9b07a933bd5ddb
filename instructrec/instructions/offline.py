"""The offline teacher: no network, deterministic, from what the data say.

It works on keyphrases: the specific categories and the brand of an item where
the catalogue has them, else the telling words of its title (those that several
titles share, so that they name a kind and not one product), and the words of
reviews that occur in titles.
"""

import collections
import functools
import re
from collections.abc import Sequence

import numpy as np

from instructrec.data.catalog import Catalog, Item

_WORD = re.compile(r"[A-Za-z][A-Za-z'\-]+")
_STOP = frozenset(
  (
    "the and for with from of to in on at by an or is it its this that these "
    "those you your my our his her their be are was were has have had not but "
    "all any can will just so as if up out new set pack edition version "
    "series pc xbox playstation nintendo wii ps one two ii iii iv vol volume "
    "part deluxe classic mini pro plus game games video junior family travel"
  ).split()
)
_PURPOSE = re.compile(
  r"\bfor (?:my|our|his|her) ((?:\w+[- ])?(?:nephew|niece|son|daughter|"
  r"grandson|granddaughter|husband|wife|sister|brother|mother|father|mom|dad|"
  r"kids?|boys?|girls?|friends?|family|boyfriend|girlfriend|children))\b",
  re.IGNORECASE,
)

_PREFERENCES = (
  "This person mostly goes for {a}, with some {b} in between.",
  "They have a soft spot for {a} and often come back to {b}.",
  "A fan of {a}; {b} catches their eye as well.",
  "Their purchases lean towards {a}, followed by {b}.",
  "They look for {a} first and enjoy {b} too.",
)
_PREFERENCES_ONE = (
  "This person mostly goes for {a}.",
  "They keep coming back to {a}.",
  "A fan of {a}.",
)
_PRICES = (
  "They watch the price.",
  "They pay a middling price.",
  "They do not mind paying more.",
)
_VAGUE = (
  "I am in the mood for something with {a}.",
  "I would like more in the direction of {a}.",
  "Something to do with {a} would be nice.",
  "I feel like {a} again, perhaps with a bit of {b}.",
  "I want something for people who enjoy {a} and {b}.",
)
_GIFT = (
  "I am looking for a present for my {who}, who likes {a}.",
  "My {who} would enjoy something with {a}.",
  "I need a gift for my {who}; {a} is always welcome.",
)
_QUALITIES = (", not too expensive", ", medium priced", ", top quality")
_SPECIFIC = (
  "I am looking for {parts}.",
  "Do you have {parts}?",
  "Show me {parts}.",
  "Please find {parts}.",
)


class OfflineTeacher:
  """Writes from keyphrases; see the module.

  Args:
    items: the catalogue, for how common words, categories and prices are.
  """

  name = "offline"
  version = "1"

  def __init__(self, items: Catalog) -> None:
    counts: collections.Counter[str] = collections.Counter()
    for title in items.titles:
      counts.update(set(_words(title)))
    # A word of one title alone would give the product away.
    self._shared = {word: n for word, n in counts.items() if n >= 3}
    self._common = max(3, len(items) // 4)
    categories: collections.Counter[str] = collections.Counter()
    for entry in items.frame["categories"].to_list():
      categories.update(set(entry))
    self._categories = categories
    prices = items.frame["price"].drop_nulls().to_numpy()
    self._price_levels = (
      np.quantile(prices, [1 / 3, 2 / 3]) if len(prices) else None
    )
    self._num_items = len(items)
    self._keyphrases = functools.lru_cache(maxsize=None)(self._find_keyphrases)

  def _find_keyphrases(self, item: Item) -> tuple[str, ...]:
    """What an item is about, most telling first; may be empty."""
    phrases = [
      category.lower()
      for category in reversed(item.categories)
      # The root of the tree says nothing.
      if self._categories[category] < 0.9 * self._num_items
    ][:2]
    words = [
      word
      for word in dict.fromkeys(_words(item.title))
      if 3 <= self._shared.get(word, 0) <= self._common
      and word != (item.brand or "").lower()
      and not any(word in phrase for phrase in phrases)
    ]
    words.sort(key=lambda word: -self._shared[word])
    return tuple(phrases + words[: 2 if phrases else 3])

  def _ranked(
    self, history: Sequence[Item], review: str | None
  ) -> list[tuple[str, float]]:
    """Keyphrases of a history; newer items and praised words weigh more."""
    weights: dict[str, float] = collections.defaultdict(float)
    for age, item in enumerate(reversed(history)):
      for place, phrase in enumerate(self._keyphrases(item)):
        weights[phrase] += 0.9**age / (1 + 0.3 * place)
      if item.brand:
        weights[f"things by {item.brand}"] += 0.4 * 0.9**age
    for word in self._review_words(review):
      weights[word] += 0.5
    return sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))

  def _review_words(self, review: str | None) -> list[str]:
    if not review:
      return []
    return [
      word
      for word in dict.fromkeys(_words(review))
      if 3 <= self._shared.get(word, 0) <= self._common
    ][:4]

  def _price_level(self, items: Sequence[Item]) -> int | None:
    prices = [item.price for item in items if item.price is not None]
    if self._price_levels is None or not prices:
      return None
    return int(np.searchsorted(self._price_levels, np.median(prices)))

  def explicit_preference(
    self, history: Sequence[Item], review: str | None, *, key: int
  ) -> str:
    """See `Teacher.explicit_preference`."""
    phrases = [phrase for phrase, _ in self._ranked(history, review)]
    if not phrases:
      return "They choose all sorts of things, without a clear favourite."
    if len(phrases) == 1:
      text = _pick(_PREFERENCES_ONE, key).format(a=phrases[0])
    else:
      a = " and ".join(phrases[: 2 if len(phrases) > 2 else 1])
      b = phrases[2] if len(phrases) > 2 else phrases[1]
      text = _pick(_PREFERENCES, key).format(a=a, b=b)
    level = self._price_level(history)
    if level is not None and len(history) >= 3:
      text += f" {_PRICES[level]}"
    return text

  def vague_intention(
    self, items: Sequence[Item], review: str | None, *, key: int
  ) -> str:
    """See `Teacher.vague_intention`."""
    # A wish is about the present: the newest items alone.
    phrases = self._review_words(review)[:1]
    phrases += [
      p for p, _ in self._ranked(items[-3:], None) if p not in phrases
    ]
    if not phrases:
      return "I would like something new, surprise me."
    who = _PURPOSE.search(review or "")
    if who:
      return _pick(_GIFT, key).format(who=who[1].lower(), a=phrases[0])
    frames = _VAGUE if len(phrases) > 1 else _VAGUE[:3]
    return _pick(frames, key).format(a=phrases[0], b=phrases[-1])

  def specific_intention(self, item: Item, *, key: int) -> str:
    """See `Teacher.specific_intention`."""
    phrases = list(self._keyphrases(item))
    words = set(_words(item.title))
    # At most half of the title's words may stand in the query.
    allowed = max(1, len(words) // 2)
    kept: list[str] = []
    used: set[str] = set()
    for phrase in phrases:
      overlap = used | (words & set(_words(phrase)))
      if len(overlap) <= allowed:
        kept.append(phrase)
        used = overlap
    if not kept:
      kept = ["something out of the ordinary"]
    parts = " and ".join(kept[:3])
    if item.brand and len(used | (words & {item.brand.lower()})) <= allowed:
      parts += f" by {item.brand}"
    level = self._price_level([item])
    if level is not None:
      parts += (", not too expensive", ", medium priced", ", top quality")[
        level
      ]
    return _pick(_SPECIFIC, key).format(parts=parts)


def _words(text: str) -> list[str]:
  return [
    word
    for word in (match.lower() for match in _WORD.findall(text))
    if len(word) > 2 and word not in _STOP
  ]


def _pick(options: Sequence[str], key: int) -> str:
  return options[key % len(options)]
