"""Catalogues with names that no text should say: none stops the others."""

import dataclasses
import itertools

import polars as pl
import pytest

from instructrec.data import (
  candidates,
  catalog,
  dataset,
  interaction,
  item_text,
  splits,
)
from instructrec.instructions import (
  domains,
  generate,
  offline,
  offline_frames,
  quality,
  templates,
)
from instructrec.instructions.format import FineGrained

_PLAIN = tuple(
  f"{color} {thing}"
  for color in ("Red", "Wooden", "Dinosaur", "Space")
  for thing in ("Puzzle", "Robot", "Train", "Kite")
)
_ODD = (
  "The Customer Who",
  "A Customer",
  "Looking For",
  "Something New",
  "Surprise Me",
  "Please Surprise Me",
  "All Sorts Of Things",
  "One More",
  "!!!",
  "\U0001f600\U0001f600",
  "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
  "word " * 900,
  'He said "no"; "yes"',
  "{history} [history] {target}",
  "i3",
  "Yes",
)
_BRANDS = ("www.acme.de", "<b>Oak</b>", "http://x.de/y?q", "[[x]]", "Elm")
_CATEGORIES = (
  "<span>Toys</span>",
  "www.toys.de",
  "</span></span>",
  "long " * 90,
)


def prepare(tmp_path, titles, **columns):
  """Each of 24 users takes six items; all items are somebody's target."""
  size = len(titles)
  ids = [f"i{n}" for n in range(size)]
  items = catalog.Catalog(
    pl.DataFrame({"item_id": ids, "title": titles, **columns})
  )
  rows = [
    (f"u{u}", f"i{(u * 3 + place) % size}", place)
    for u in range(24)
    for place in range(6)
  ]
  log = interaction.InteractionLog(
    pl.DataFrame(rows, schema=["user_id", "item_id", "order"], orient="row")
  )
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(
    split.requests, items, log, num_negatives=4
  )
  return dataset.save(
    tmp_path / "prepared",
    log=log,
    items=items,
    split=dataclasses.replace(split, requests=requests),
    record={"source": {"kind": "table"}},
  )


def generator_of(prepared, protocol, domain=domains.Domain.PRODUCTS):
  return generate.Generator(
    prepared,
    offline.OfflineTeacher(prepared.catalog, domain),
    templates.load().reworded(domain),
    protocol=protocol,
    domain=domain,
  )


@pytest.mark.parametrize("protocol", ["stated", "strict", "paper"])
def test_no_item_stops_the_others(tmp_path, protocol):
  titles = [*_PLAIN, *_ODD]
  prepared = prepare(
    tmp_path,
    titles,
    brand=[_BRANDS[n % len(_BRANDS)] for n in range(len(titles))],
    categories=[
      [_CATEGORIES[n % len(_CATEGORIES)], "Things"] for n in range(len(titles))
    ],
    price=[9.99] * len(titles),
  )
  records = list(generator_of(prepared, protocol).rows())
  texts = [r.text for r in records if isinstance(r, FineGrained)]
  wishes = [r.wish_text for r in records if not isinstance(r, FineGrained)]
  said = [*texts, *filter(None, wishes)]
  assert len(said) > 200
  assert not any(item_text.MARKUP.search(text) for text in said)
  assert any("acme.de" in text or "x.de" in text for text in said)
  # One price for all is no taste.
  prices = {*offline_frames.PRICES, *offline_frames.QUALITIES, "price"}
  assert not [text for text in said for price in prices if price in text]


def test_titles_that_a_template_says_by_itself_leak_nothing(tmp_path):
  template = templates.load()["seq_next_item"]
  literals = " ".join(text for part in template.parts for text, _ in part)
  words = [word.strip(".,:?") for word in literals.split() if word.isalpha()]
  pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
  prepared = prepare(tmp_path, [*_PLAIN, *dict.fromkeys(pairs)])
  records = list(generator_of(prepared, "strict").rows())
  titles = {prepared.catalog.title(i) for i in prepared.log.item_counts}
  assert titles & set(pairs)
  assert any(
    quality.says_title(row.inputs, prepared.catalog.title(row.target_id))
    for row in records
    if not isinstance(row, FineGrained) and row.target_id
  )


def test_a_text_that_cannot_be_used_names_the_item(tmp_path):
  prepared = prepare(tmp_path, _PLAIN)

  class Silent:
    name, version = "silent", "1"

    def write(self, requests):
      return ["" for _ in requests]

  generator = dataclasses.replace(
    generator_of(prepared, "strict"), teacher=Silent()
  )
  with pytest.raises(
    quality.TextQualityError, match=r"\(empty\) where item 'i"
  ):
    list(generator.rows())


def test_last_resorts_say_no_title_twice():
  """A title of two words that is in one of a kind is not in the other."""
  for one, other in offline_frames.LAST_RESORTS.values():
    pairs = [
      {
        tuple(words[n : n + 2])
        for words in [text.lower().strip(".").split()]
        for n in range(len(words) - 1)
      }
      for text in (one, other)
    ]
    assert all(pairs)
    assert not pairs[0] & pairs[1]
    assert quality.problem(one) is quality.problem(other) is None
