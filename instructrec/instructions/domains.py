"""What a catalogue is of, and how people speak of it.

Films are watched, books read, games played, records heard, and everything
else is bought. The rule, first match: the source (MovieLens has films, Steam
games); then titles, where a quarter of them name a games console; then the
words of the categories, where a third of the items have one of a domain's; then
titles that end in a year, where half of them do (films); else products.
`generate --domain` overrides it.
"""

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Any

from instructrec.data.catalog import Catalog


class Domain(enum.StrEnum):
  """What the items are."""

  FILMS = "films"
  BOOKS = "books"
  GAMES = "games"
  MUSIC = "music"
  PRODUCTS = "products"


@dataclasses.dataclass(frozen=True, slots=True)
class Speech:
  """Words of a domain.

  Attributes:
    one: an item, with its article.
    many: items.
    some: items, as one asks for them.
    did: what people did with them.
    do: what people do with them.
    doing: the same, as it stands behind "after".
  """

  one: str
  many: str
  some: str
  did: str
  do: str
  doing: str


SPEECH: Mapping[Domain, Speech] = {
  Domain.FILMS: Speech(
    "a film", "films", "films", "watched", "watch", "watching"
  ),
  Domain.BOOKS: Speech("a book", "books", "books", "read", "read", "reading"),
  Domain.GAMES: Speech("a game", "games", "games", "played", "play", "playing"),
  Domain.MUSIC: Speech(
    "an album", "albums", "albums", "listened to", "listen to", "hearing"
  ),
  Domain.PRODUCTS: Speech(
    "something", "things", "new things", "bought", "buy", "buying"
  ),
}
_SOURCES = {"movielens": Domain.FILMS, "steam": Domain.GAMES}
_CONSOLE = re.compile(
  r"\b(playstation|xbox|nintendo|wii|gamecube|sega|ps[1-5]|ps vita)\b",
  re.IGNORECASE,
)
_CATEGORIES = {
  Domain.FILMS: re.compile(r"\b(movies?|films?|dvds?|blu-?ray)\b", re.I),
  Domain.GAMES: re.compile(r"\bvideo ?games?\b", re.I),
  Domain.MUSIC: re.compile(
    r"\b(cds?|vinyl|digital music|albums?|pop|rock|jazz|folk|blues|r&b)\b", re.I
  ),
  Domain.BOOKS: re.compile(r"\b(books?|kindle|novels?|literature)\b", re.I),
}
_YEAR = re.compile(r"\((?:19|20)\d\d\)\s*$")


def of(catalog: Catalog, source: Mapping[str, Any] | None = None) -> Domain:
  """The domain of a catalogue; see the module for the rule.

  Args:
    catalog: the items.
    source: where they come from, as the manifest of prepared data has it.

  Returns:
    The domain.
  """
  kind = str((source or {}).get("kind", "")).casefold()
  if kind in _SOURCES:
    return _SOURCES[kind]
  titles = catalog.titles
  if _share(bool(_CONSOLE.search(title)) for title in titles) >= 0.25:
    return Domain.GAMES
  entries = [" > ".join(e) for e in catalog.frame["categories"].to_list()]
  for domain, words in _CATEGORIES.items():
    if _share(bool(words.search(entry)) for entry in entries) >= 1 / 3:
      return domain
  if _share(bool(_YEAR.search(title)) for title in titles) >= 0.5:
    return Domain.FILMS
  return Domain.PRODUCTS


def _share(found: Any) -> float:
  values = list(found)
  return sum(values) / max(1, len(values))
