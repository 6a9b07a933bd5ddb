"""A synthetic shop with real structure: tastes, brands, prices, reviews.

Users have two favourite categories, two themes, a brand and a price level;
the first category rules the first half of their history, the second the rest.
Items have Zipf-like popularity. A user's next item is drawn, without
replacement, from a softmax over

    popularity + taste for category, theme, brand and price,

so that both the most popular items and the user's own history predict it,
the history better. Titles carry brand, theme and kind of item in words;
reviews say in words what the item is, how it was, and whom it was for.
"""

import dataclasses

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from instructrec.data import catalog, interaction

_CATEGORIES = {
  "Board Games": ("Strategy Game", "Card Game", "Dice Game"),
  "Building Sets": ("Brick Set", "Model Kit", "Marble Run"),
  "Outdoor Play": ("Kite", "Water Blaster", "Climbing Frame"),
  "Arts and Crafts": ("Paint Box", "Clay Kit", "Weaving Loom"),
  "Puzzles": ("Jigsaw Puzzle", "Brain Teaser", "Wooden Puzzle"),
  "Science Kits": ("Chemistry Lab", "Telescope", "Robot Kit"),
  "Plush Toys": ("Plush Bear", "Hand Puppet", "Cuddle Blanket"),
  "Vehicles": ("Race Car", "Train Set", "Remote Truck"),
}
_THEMES = (
  "Galaxy",
  "Jungle",
  "Pirate",
  "Castle",
  "Ocean",
  "Dinosaur",
  "Arctic",
  "Desert",
  "Circus",
  "Robot",
  "Fairy",
  "Safari",
)
_BRANDS = (
  "Northwind",
  "Bluebell",
  "Tinkerton",
  "Oakline",
  "Marvello",
  "Pebble",
  "Zephyr",
  "Hartley",
  "Quill",
  "Lumen",
)
_EDITIONS = (
  "",
  "Deluxe",
  "Junior",
  "Classic",
  "Mini",
  "Pro",
  "Family",
  "Travel",
)
_FIRST_DAY = 1_546_300_800  # 2019-01-01, Unix seconds.
_DAY = 86_400

_OPENINGS = {
  5: ("Absolutely love it.", "A huge hit at our house.", "Best buy this year."),
  4: ("Very happy with it.", "Good value.", "Better than I expected."),
  3: ("It is all right.", "Does what it says.", "Not bad, not great."),
  2: ("A little disappointed.", "Expected more.", "Not quite what we hoped."),
  1: ("Sent it back.", "Would not buy again.", "A let-down."),
}
_MIDDLES = (
  "I was looking for a {theme} {kind} and this fits.",
  "We needed another {kind} for rainy afternoons.",
  "My {person} cannot get enough of anything {theme}.",
  "Bought as a gift for my {person}, who collects every {kind} around.",
  "{brand} makes sturdy things, and this {kind} is no exception.",
  "We are all about {category} at the moment.",
  "The {theme} pictures are lovely and it kept my {person} busy for hours.",
)
_PRICES = {
  0: ("Cheap and cheerful.", "Hard to beat at this price."),
  1: ("Fairly priced.", "Worth what it costs."),
  2: (
    "Expensive, but you see where the money went.",
    "A treat, not a bargain.",
  ),
}
_PEOPLE = (
  "nephew",
  "niece",
  "daughter",
  "son",
  "grandson",
  "husband",
  "sister",
  "best friend",
)

# Weights of the parts of a taste, in nats.
_CATEGORY_NOW, _CATEGORY_OTHER = 3.8, 1.6
_THEME, _BRAND, _PRICE, _POPULARITY = 2.2, 1.2, 0.6, 0.5


@dataclasses.dataclass(frozen=True)
class _Items:
  """The items' attributes, one entry an item."""

  category: Int[np.ndarray, " items"]
  kind: Int[np.ndarray, " items"]
  theme: Int[np.ndarray, " items"]
  brand: Int[np.ndarray, " items"]
  edition: Int[np.ndarray, " items"]
  price_level: Int[np.ndarray, " items"]
  price: Float[np.ndarray, " items"]
  popularity: Float[np.ndarray, " items"]

  @classmethod
  def draw(cls, count: int, rng: np.random.Generator) -> "_Items":
    kinds = len(next(iter(_CATEGORIES.values())))
    sizes = (
      len(_CATEGORIES),
      kinds,
      len(_THEMES),
      len(_BRANDS),
      len(_EDITIONS),
    )
    if count > np.prod(sizes):
      raise ValueError(
        f"num_items is {count}; the words make only {np.prod(sizes)} titles"
      )
    # Distinct combinations of words make distinct titles.
    combination = rng.choice(np.prod(sizes), count, replace=False)
    category, kind, theme, brand, edition = np.unravel_index(combination, sizes)
    price_level = rng.integers(0, 3, count)
    ranks = rng.permutation(count) + 1
    return cls(
      category=category,
      kind=kind,
      theme=theme,
      brand=brand,
      edition=edition,
      price_level=price_level,
      price=np.round(8 * 2.5**price_level * rng.uniform(0.8, 1.4, count), 2),
      popularity=-np.log(ranks),
    )

  def words(self, item: int) -> dict[str, str]:
    category = list(_CATEGORIES)[self.category[item]]
    return {
      "category": category,
      "kind": _CATEGORIES[category][self.kind[item]],
      "theme": _THEMES[self.theme[item]],
      "brand": _BRANDS[self.brand[item]],
      "edition": _EDITIONS[self.edition[item]],
    }

  def catalog(self) -> catalog.Catalog:
    rows = []
    for item in range(len(self.price)):
      words = self.words(item)
      title = "{brand} {theme} {kind} {edition}".format(**words).strip()
      rows.append(
        {
          "item_id": f"i{item}",
          "title": title,
          "categories": [
            "Toys and Games",
            words["category"],
            words["kind"] + ("es" if words["kind"].endswith("x") else "s"),
          ],
          "brand": words["brand"],
          "price": float(self.price[item]),
          "description": "A {theme} {kind} by {brand}.".format(**words),
        }
      )
    return catalog.Catalog(pl.DataFrame(rows, schema=catalog.SCHEMA))

  def review(self, item: int, rating: int, rng: np.random.Generator) -> str:
    words = self.words(item)
    words = {k: v if k in ("brand",) else v.lower() for k, v in words.items()}
    person = _PEOPLE[rng.integers(len(_PEOPLE))]
    first = rng.integers(len(_MIDDLES))
    second = (first + rng.integers(1, len(_MIDDLES))) % len(_MIDDLES)
    prices = _PRICES[int(self.price_level[item])]
    sentences = [
      _OPENINGS[rating][rng.integers(len(_OPENINGS[rating]))],
      _MIDDLES[first].format(person=person, **words),
    ]
    if rng.random() < 0.5:
      sentences.append(_MIDDLES[second].format(person=person, **words))
    if rng.random() < 0.4:
      sentences.append(prices[rng.integers(len(prices))])
    return " ".join(sentences)


def _utilities(
  items: _Items, rng: np.random.Generator
) -> Float[np.ndarray, "phases items"]:
  """One user's utility of each item, in the first and the second phase."""
  categories = rng.choice(len(_CATEGORIES), 2, replace=False)
  themes = rng.choice(len(_THEMES), 2, replace=False)
  constant = (
    _POPULARITY * items.popularity
    + _THEME * np.isin(items.theme, themes)
    + _BRAND * (items.brand == rng.integers(len(_BRANDS)))
    - _PRICE * np.abs(items.price_level - rng.integers(0, 3))
  )
  in_first, in_second = (items.category == c for c in categories)
  return np.stack(
    [
      constant + _CATEGORY_NOW * in_first + _CATEGORY_OTHER * in_second,
      constant + _CATEGORY_OTHER * in_first + _CATEGORY_NOW * in_second,
    ]
  )


def _history(
  utility: Float[np.ndarray, "phases items"],
  length: int,
  rng: np.random.Generator,
) -> Int[np.ndarray, " length"]:
  """Items drawn without replacement from the softmax of each phase.

  The order of utility plus Gumbel noise is such a draw.
  """
  noisy = utility + rng.gumbel(size=utility.shape)
  half = length // 2
  first = np.argsort(-noisy[0])[:half]
  noisy[1, first] = -np.inf
  second = np.argsort(-noisy[1])[: length - half]
  return np.concatenate([first, second])


def _ratings(
  utility: Float[np.ndarray, " length"], rng: np.random.Generator
) -> Int[np.ndarray, " length"]:
  """1 to 5 stars: the better an item fits, the more."""
  fit = (utility - utility.mean()) / (utility.std() + 1e-9)
  noisy = 4.0 + 0.6 * fit + rng.normal(0, 0.8, len(utility))
  return np.clip(np.round(noisy), 1, 5).astype(np.int64)


def generate(
  num_users: int = 2000, num_items: int = 400, *, seed: int = 0
) -> tuple[interaction.InteractionLog, catalog.Catalog]:
  """Makes a catalogue, users, their interactions and reviews.

  Args:
    num_users: how many users, with 8 to 16 interactions each.
    num_items: how many items.
    seed: same seed, same data; a user's rows do not depend on how many other
      users there are.

  Returns:
    The log and the catalogue.

  Raises:
    ValueError: where the words do not yield that many titles, or there are
      fewer items than a user buys.
  """
  if num_items < 20:
    raise ValueError(
      f"num_items is {num_items}; expected at least 20, users buy up to 16"
    )
  items = _Items.draw(num_items, np.random.default_rng([seed, num_items]))
  columns: dict[str, list] = {name: [] for name in interaction.SCHEMA}
  for user in range(num_users):
    rng = np.random.default_rng([seed, num_items, user])
    utility = _utilities(items, rng)
    chosen = _history(utility, int(rng.integers(8, 17)), rng)
    ratings = _ratings(utility[:, chosen].max(0), rng)
    days = rng.uniform(0, 900) + np.cumsum(rng.exponential(15, len(chosen)))
    times = (_FIRST_DAY + (days * _DAY).astype(np.int64)) * 1_000_000
    columns["user_id"] += [f"u{user}"] * len(chosen)
    columns["item_id"] += [f"i{item}" for item in chosen]
    columns["order"] += times.tolist()
    columns["timestamp"] += times.tolist()
    columns["rating"] += ratings.tolist()
    columns["review"] += [
      items.review(int(item), int(rating), rng)
      for item, rating in zip(chosen, ratings, strict=True)
    ]
  log = pl.DataFrame(columns, schema=interaction.SCHEMA, strict=False)
  return interaction.InteractionLog(log), items.catalog()
