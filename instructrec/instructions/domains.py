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
    "an album", "albums", "albums", "heard", "listen to", "hearing"
  ),
  Domain.PRODUCTS: Speech(
    "something", "things", "new things", "bought", "buy", "buying"
  ),
}
_REWORDED = {Domain.FILMS, Domain.BOOKS, Domain.MUSIC}
_PHRASES: tuple[tuple[str, str], ...] = (
  (r"with the purchases", "who {did}"),
  (r"have collected|has collected", "has {had}"),
  (r"wants to buy a product", "wants to {do} {one}"),
  (r"goes to the owner of", "suits the {person} of"),
  (r"whose order was", "whose wish was"),
  (r"[Tt]he owner of", "the {person} of"),
  (r"They own\b", "They {did}"),
  (r"took home", "{did}"),
  (r"have bought before|had bought before", "had {had} before"),
  (r"did they buy", "did they {do}"),
  (r"On somebody's shelf stand", "Somebody {did}"),
  (r"is going to join them", "comes next"),
  (r"On the shelf", "On offer"),
  (r"picked things up", "chose {many}"),
  (r"clicks on", "opens"),
  (r"A shop assistant", "An adviser"),
  (r"the assistant hand over", "the adviser name"),
  (r"through the store", "through the collection"),
  (r"\ba shop\b", "a collection"),
  (r"\bthe shop\b", "the collection"),
  (r"\bBought\b", "{Did}"),
  (r"\bbought\b", "{did}"),
  (r"the brand or the kind", "the kind"),
  (r"\bbuys\b", "{does}"),
  (r"\bbuy\b", "{do}"),
  (r"\b[Aa]n? (?:item|product)\b", "{one}"),
  (r"\b(?:items|products|purchases)\b", "{many}"),
  (r"\bPurchases\b", "{Many}"),
  (r"\bProducts\b", "{Many}"),
  (r"\b(?:item|product)\b", "{single}"),
  (r"\bProduct\b", "{Single}"),
  (r"\bshopper\b|\bcustomer\b|\bvisitor\b", "{person}"),
  (r"\bcustomers\b", "{person}s"),
  (r"of things do they like", "of {many} do they like"),
)
"""What templates say of a shop, and what they say of films, books or music."""
_SLOT = re.compile(r"(\{\w+\})")
_PERSONS = {
  Domain.FILMS: ("viewer", "watches", "watched"),
  Domain.BOOKS: ("reader", "reads", "read"),
  Domain.MUSIC: ("listener", "listens to", "heard"),
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


def reworded(text: str, domain: Domain) -> str:
  """A template that speaks of a shop, in the words of a domain.

  Films are watched, books read, albums heard. Games and products are bought:
  among games there are headsets as well.

  Args:
    text: with slots, which stay.
    domain: what the items are.

  Returns:
    The template.
  """
  if domain not in _REWORDED:
    return text
  speech = SPEECH[domain]
  person, does, had = _PERSONS[domain]
  single = speech.one.split()[-1]
  words = {
    **dataclasses.asdict(speech),
    "person": person,
    "does": does,
    "had": had,
    "single": single,
    "Single": single.capitalize(),
    "Many": speech.many.capitalize(),
    "Did": speech.did.capitalize(),
  }
  parts = _SLOT.split(text)
  for place in range(0, len(parts), 2):
    part = parts[place]
    for found, said in _PHRASES:
      part = re.sub(found, said.format(**words), part)
    parts[place] = part
  text = "".join(parts)
  return text[:1].upper() + text[1:]


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
