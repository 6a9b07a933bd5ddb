"""Made-up catalogues whose titles are as shops write them."""

import dataclasses
import pathlib

import polars as pl

from instructrec.data import candidates, catalog, dataset, interaction, splits


def _rows(name):
  lines = pathlib.Path(__file__).with_name(name).read_text().splitlines()[1:]
  return [
    (title, categories, brand, float(price))
    for title, categories, brand, price in (line.split("\t") for line in lines)
  ]


BEAUTY = _rows("made_up_beauty.tsv")
INSTRUMENTS = _rows("made_up_instruments.tsv")
_GENRES = (
  ("Drama|Thriller", 1994),
  ("Comedy|Romance", 1997),
  ("Comedy", 1999),
  ("Crime|Drama", 1971),
  ("Action|Sci-Fi", 2004),
  ("Horror", 1982),
)


def catalog_of(rows):
  """A catalogue of rows of title, categories, brand and price."""
  return catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{n}" for n in range(len(rows))],
        "title": [row[0] for row in rows],
        "categories": [row[1].split(" > ") for row in rows],
        "brand": [row[2] for row in rows],
        "price": [row[3] for row in rows],
      }
    )
  )


def films():
  """A catalogue of 48 films with genres."""
  found = [_GENRES[number % len(_GENRES)] for number in range(48)]
  return catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{n}" for n in range(len(found))],
        "title": [
          f"Quorl{n} Ambrit{n} ({year + n // 6})"
          for n, (_, year) in enumerate(found)
        ],
        "categories": [genres.split("|") for genres, _ in found],
      }
    )
  )


REVIEWS = (
  "Bought it for my sister, she loves it. The quality is great.",
  "Nice for a birthday. The price is good.",
  None,
)


def prepared(items, num_users=30, length=6, ratings=None):
  """Prepared data over a catalogue: users walk through it in steps."""
  rows = []
  for user in range(num_users):
    for place in range(length):
      item = (user * 7 + place * (1 + user % 5)) % len(items)
      rows.append(
        {
          "user_id": f"u{user:03d}",
          "item_id": f"i{item}",
          "order": place,
          "timestamp": 1000 + place,
          "rating": None if ratings is None else ratings(user, place),
          "review": REVIEWS[(user + place) % 3],
        }
      )
  frame = pl.DataFrame(rows).unique(["user_id", "item_id"], maintain_order=True)
  log = interaction.InteractionLog(
    frame.cast({"rating": pl.Float64, "review": pl.String})
  )
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  return dataset.PreparedData(log, items, split, {})
