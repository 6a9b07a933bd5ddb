"""Conversations about three small catalogues."""

import itertools

import polars as pl
import pytest

from instructrec.data import catalog, synthetic
from instructrec.instructions import attributes, wish_reader
from instructrec.serving import conversation, item_shelf


def opened(items):
  known = attributes.Attributes.of(items)
  return conversation.Conversations(
    item_shelf.Shelf(items, known), wish_reader.WishReader(known)
  )


@pytest.fixture(scope="session")
def shop():
  _, items = synthetic.generate(num_users=2, num_items=200, seed=4)
  return opened(items)


@pytest.fixture(scope="session")
def toys():
  """Categories in levels, brands, long titles, prices for most."""
  leaves = (
    ("Toys & Games > Puzzles > Jigsaw Puzzles", "Jigsaw"),
    ("Toys & Games > Games > Board Games", "Board Game"),
    ("Toys & Games > Dolls & Accessories > Dolls", "Doll"),
    ("Toys & Games > Building Toys > Building Sets", "Building Set"),
    ("Toys & Games > Action Figures > Statues", "Action Figure"),
  )
  brands = ("LEGO", "Melissa & Doug", "Ravensburger", "Hasbro")
  themes = ("Farm", "Princess", "Space", "Train")
  rows = [
    {
      "item_id": f"B{number:04d}",
      "title": f"{brand.split()[0]} {theme} {kind} No. {number}",
      "categories": [path],
      "brand": brand,
      "price": None if number % 11 == 0 else 5.0 + number % 40,
    }
    for number, ((path, kind), brand, theme) in enumerate(
      itertools.islice(
        itertools.cycle(itertools.product(leaves, brands, themes)), 160
      )
    )
  ]
  return opened(catalog.Catalog(pl.DataFrame(rows)))


@pytest.fixture(scope="session")
def films():
  """Genres and years in titles; no prices and no brands."""
  genres = ("Comedy", "Horror", "Drama", "Sci-Fi", "War", "Animation")
  names = ("Heat", "Night Train", "Iron Sea", "Last Ward", "Ghost Hill")
  rows = [
    {
      "item_id": str(number),
      "title": f"{names[number % 5]} {number} ({1970 + number % 40})",
      "categories": [genres[number % 6], genres[(number // 6) % 6]],
    }
    for number in range(180)
  ]
  return opened(catalog.Catalog(pl.DataFrame(rows)))


@pytest.fixture(scope="session", name="opened")
def opened_fixture():
  """Opens conversations about other items."""
  return opened
