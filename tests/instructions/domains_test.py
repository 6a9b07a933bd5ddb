"""What a catalogue is of, and that templates speak of that."""

import re

import polars as pl
import pytest

from instructrec.data import catalog
from instructrec.instructions import domains, render, templates
from instructrec.instructions.domains import Domain


def items(titles, categories=None):
  return catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{n}" for n in range(len(titles))],
        "title": titles,
        "categories": [categories or []] * len(titles),
      },
      schema_overrides={"categories": pl.List(pl.String)},
    )
  )


@pytest.mark.parametrize(
  ("titles", "categories", "source", "expected"),
  [
    (["Kite", "Ball"], None, {"kind": "movielens"}, Domain.FILMS),
    (["Kite", "Ball"], None, {"kind": "steam"}, Domain.GAMES),
    (["Halo - Xbox", "Kart Wii", "Ball"], None, None, Domain.GAMES),
    (["Kite", "Ball"], ["Movies & TV"], None, Domain.FILMS),
    (["Kite", "Ball"], ["Video Games", "PC"], None, Domain.GAMES),
    (["Kite", "Ball"], ["CDs & Vinyl"], None, Domain.MUSIC),
    (["Kite", "Ball"], ["Folk", "Contemporary Folk"], None, Domain.MUSIC),
    (["Kite", "Ball"], ["Books", "Novels"], None, Domain.BOOKS),
    (["Heat (1995)", "Ran (1985)"], None, None, Domain.FILMS),
    (["Kite", "Ball"], ["Toys & Games"], {"kind": "table"}, Domain.PRODUCTS),
    (["Kite", "Ball"], None, None, Domain.PRODUCTS),
  ],
)
def test_the_rule(titles, categories, source, expected):
  assert domains.of(items(titles, categories), source) is expected


SHOP = re.compile(
  r"\b(bought|buys?|purchas\w*|shop\w*|store|products?|items?|customers?|own|"
  r"owner|shelf|brand)\b",
  re.IGNORECASE,
)
_SLOT = re.compile(r"\{\w+\}")


@pytest.mark.parametrize("domain", [Domain.FILMS, Domain.BOOKS, Domain.MUSIC])
def test_no_template_of_films_books_or_music_speaks_of_a_shop(domain):
  plain = templates.load()
  changed = plain.reworded(domain)
  assert [t.id for t in changed.templates] == [t.id for t in plain.templates]
  for before, after in zip(plain.templates, changed.templates, strict=True):
    text = _SLOT.sub(" ", f"{after.inputs} {after.targets}")
    found = SHOP.search(text)
    assert not found, (
      f"template {after.id} says {found[0]!r} to people who look for {domain}: "
      "word it without, or add its replacement to domains.py"
    )
    assert not re.search(r"\ba album|\ban (film|book)", text), text
    assert _SLOT.findall(after.inputs) == _SLOT.findall(before.inputs)
    assert render.Form(after, query=(after.query or (None,))[0])


@pytest.mark.parametrize("domain", [Domain.GAMES, Domain.PRODUCTS])
def test_what_is_sold_is_bought(domain):
  plain = templates.load()
  assert plain.reworded(domain) == plain


@pytest.mark.parametrize(
  ("domain", "expected"),
  [
    (Domain.FILMS, "A viewer watched these films, oldest first: {history}. "
     "Name the film they will most likely watch next."),
    (Domain.BOOKS, "A reader read these books, oldest first: {history}. "
     "Name the book they will most likely read next."),
    (Domain.MUSIC, "A listener heard these albums, oldest first: {history}. "
     "Name the album they will most likely listen to next."),
  ],
)  # fmt: skip
def test_the_first_template(domain, expected):
  found = templates.load().reworded(domain)["seq_next_item"]
  assert found.inputs == expected
