"""What items have, as people say it."""

import math

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog, synthetic
from instructrec.instructions import attributes, spoken
from instructrec.instructions.attributes import Attribute, Kind


@pytest.fixture(scope="module")
def shop():
  return synthetic.generate(2)[1]


@pytest.fixture(scope="module")
def found(shop):
  return attributes.Attributes.of(shop)


def _catalog(rows):
  return catalog.Catalog(
    pl.DataFrame(
      [{"item_id": f"i{n}", **row} for n, row in enumerate(rows)],
      schema_overrides=catalog.SCHEMA,
      strict=False,
    )
  )


def _names(found, kind):
  return {a.name for a in found.attributes if a.kind is kind}


def test_the_shop_has_its_words(found):
  categories = _names(found, Kind.CATEGORY)
  assert {"board games", "puzzles", "kites", "telescopes"} <= categories
  assert "toys and games" not in categories
  assert len(_names(found, Kind.BRAND)) == 10
  assert _names(found, Kind.PRICE) == {"cheap", "middling", "expensive"}
  assert {"Dinosaur", "Pirate", "Castle", "Galaxy", "Ocean"} <= _names(
    found, Kind.KEYPHRASE
  )


def test_items_and_attributes_belong_to_each_other(found, shop):
  for number in range(len(found)):
    having = found.items(number)
    assert (np.diff(having) > 0).all()
    assert 5 <= len(having) <= len(shop) / 2
    assert found.mask(number).sum() == len(having)
    for item in having:
      assert number in found.of_item(int(item))
  assert sum(len(found.of_item(i)) for i in range(len(shop))) == sum(
    len(found.items(n)) for n in range(len(found))
  )


def test_an_attribute_is_what_its_items_have(found, shop):
  kites = found.find("kite")
  assert found.attributes[kites] == Attribute(Kind.CATEGORY, "kites")
  titles = [shop.titles[i] for i in found.items(kites)]
  assert all("Kite" in title for title in titles)
  pirates = found.find("PIRATES")
  for item, title in enumerate(shop.titles):
    assert (pirates in found.of_item(item)) == ("Pirate" in title.split())


def test_bits_count_the_items_that_fit(found, shop):
  games, cheap = found.find("board games"), found.find("cheap")
  both = (found.mask(games) & found.mask(cheap)).sum()
  assert found.bits([]) == 0
  assert found.bits([games, cheap]) == pytest.approx(
    math.log2(len(shop) / both)
  )
  rest = found.mask(games).sum() - both
  assert found.bits([games], [cheap]) == pytest.approx(
    math.log2(len(shop) / rest)
  )
  assert found.bits([games], [games]) == math.inf


def test_another_word_for_a_category_is_no_attribute(found):
  assert found.find("dice") == found.find("dice games")
  assert found.find("bricks") == found.find("brick sets")
  # There are robots beside robot kits.
  assert found.find("robots") != found.find("robot kits")


def test_films_have_decades_and_genres_and_no_single_words():
  rows = [
    {
      "title": f"{'Star Wars' if n % 4 else 'Dark Heat'} {n} ({1990 + n % 20})",
      "categories": ["Sci-Fi", "Drama"] if n % 3 else ["Western"],
    }
    for n in range(60)
  ]
  found = attributes.Attributes.of(_catalog(rows))
  assert _names(found, Kind.DECADE) == {"1990s", "2000s"}
  assert found.attributes[found.find("nineties")].name == "1990s"
  assert found.attributes[found.find("the 90s") or 0].name != "1990s"
  assert found.find("cowboys") == found.find("western")
  # More than half of the films have these two.
  assert found.find("sci-fi") is None
  assert found.find("star wars") is None
  assert _names(found, Kind.KEYPHRASE) == {"Dark Heat"}


def test_levels_count_and_parts_of_a_name_are_said():
  rows = [
    {
      "title": f"Thing number {n}",
      "categories": ["Toys > Dolls & Accessories > Rag Dolls"]
      if n % 3 == 0
      else ["Toys > Blocks"]
      if n % 3 == 1
      else ["Toys > Books"],
    }
    for n in range(30)
  ]
  found = attributes.Attributes.of(_catalog(rows))
  assert found.attributes[found.find("dolls")].name == "dolls & accessories"
  assert found.find("rag doll") is not None
  assert found.find("toys") is None
  assert found.find("accessories") is None
  assert not _names(found, Kind.PRICE)


def test_a_category_goes_before_a_brand_and_a_keyphrase():
  rows = [
    {
      "title": ("Dragon " if n % 2 else "Robin ") + ("Cat " * (n % 2)) + f"{n}",
      "categories": ["All", "Dragons" if n % 2 else "Birds"],
      "brand": "Dragon" if n % 3 else "Cat",
    }
    for n in range(30)
  ]
  found = attributes.Attributes.of(_catalog(rows))
  assert found.attributes[found.find("dragon")].kind is Kind.CATEGORY
  assert found.attributes[found.find("cat")].kind is Kind.BRAND


def test_a_year_of_release_is_a_decade_too():
  rows = [{"title": f"Film {n}", "year": 1990 + n % 20} for n in range(40)]
  found = attributes.Attributes.of(_catalog(rows))
  assert _names(found, Kind.DECADE) == {"1990s", "2000s"}
  (number,) = found.of_item(3)
  assert found.attributes[number].name == "1990s"


def test_prices_that_are_all_alike_make_no_bands():
  rows = [{"title": f"Thing {n}", "price": 10.0} for n in range(40)]
  assert not len(attributes.Attributes.of(_catalog(rows)))


def test_spoken_words_have_no_case_accents_or_hyphens():
  assert spoken.words("Pokémon™ & Yo-Yo's") == ["pokemon", "and", "yo", "yo"]
