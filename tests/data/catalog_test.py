"""The catalogue: texts cleaned, titles told apart, parts of it."""

import polars as pl
import pytest

from instructrec.data import catalog, item_text


def catalog_of(*rows):
  schema = ["item_id", "title", "brand"]
  return catalog.Catalog(pl.DataFrame(rows, schema=schema, orient="row"))


def films_of(*rows):
  schema = ["item_id", "title", "brand", "year"]
  return catalog.Catalog(pl.DataFrame(rows, schema=schema, orient="row"))


def test_a_year_tells_films_of_one_title_apart():
  items = films_of(
    ("1", "Emma", None, 1972), ("2", "Emma", None, 1996),
    ("3", "Emma", "A", 2020), ("4", "Emma", "A", 2020),
    ("5", "Heat (1995)", None, 1995),
    ("6", "Heat (1995)", None, 1995),
  )  # fmt: skip
  assert items.titles == [
    "Emma", "Emma (1996)", "Emma (A)", "Emma (2020)", "Heat (1995)",
    "Heat (1995) (#2)",
  ]  # fmt: skip
  assert items["2"].year == 1996
  assert items.years == [1972, 1996, 2020, 2020, 1995, 1995]
  assert catalog_of(("1", "Emma", None)).years == [None]


def test_titles_that_look_alike_are_told_apart():
  items = catalog_of(
    ("1", "Rocky II", None), ("2", "Rocky \u2161", None),
    ("3", "Cafe\u0301", None),
    ("4", "Caf\u00e9", "Oak"), ("5", "best of", None), ("6", "Best Of", None),
  )  # fmt: skip
  assert items.titles == [
    "Rocky II", "Rocky \u2161 (#2)", "Cafe\u0301", "Caf\u00e9 (Oak)", "best of",
    "Best Of",
  ]  # fmt: skip
  assert items.num_title_collisions == 2
  assert items.find_title("rocky ii") == "1"
  assert items.find_title("CAF\u00c9") == "3"
  with pytest.raises(ValueError, match="2 items are called 'BEST OF' but"):
    items.find_title("BEST OF")
  assert items.find_title("Best Of") == "6"


def test_a_catalogue_that_is_opened_is_the_one_that_was_made():
  items = catalog_of(
    ("1", "A &amp;amp; B", "<b>Oak</b>"), ("2", "A & B", "www.oak.de"),
    ("3", "A &amp; B", None), ("4", "A & B (#2)", None),
  )  # fmt: skip
  assert items.titles == [
    "A & B", "A & B (oak.de)", "A & B (#3)", "A & B (#2)",
  ]  # fmt: skip
  opened = catalog.Catalog(items.frame)
  assert opened.frame.equals(items.frame)
  assert opened.num_title_collisions == opened.cleaning.num_cleaned == 0


def test_other_looks_tell_titles_apart_too():
  """A vocabulary that knows digits and brackets and no letters."""

  def digits(titles):
    return [
      "".join(c for c in title if c in "(#0123456789)") for title in titles
    ]

  rows = [("1", "\u3042", None), ("2", "\u3044", None), ("3", "\u3046 3", None)]
  items = catalog_of(*rows)
  assert items.titles == [title for _, title, _ in rows]
  told = items.remade(looks=digits)
  assert told.titles == ["\u3042", "\u3044 (#2)", "\u3046 3"]
  assert told.num_title_collisions == 1
  with pytest.raises(ValueError, match="the vocabulary has no digits"):
    items.remade(looks=lambda titles: [""] * len(titles))


def test_many_items_of_one_title_are_numbered_in_a_moment():
  """Numbers are not tried from the first one again for each item."""
  items = catalog_of(*((str(n), "Greatest Hits", None) for n in range(20_000)))
  assert items.titles[-1] == "Greatest Hits (#20000)"


def test_part_of_a_catalogue_has_its_titles_told_apart_anew():
  items = catalog_of(
    ("1", "Boot, Das", None), ("2", "Boot, Das", None), ("3", "Go", "<b>x</b>")
  )
  part = items.remade(kept={"2", "3"}, retitled=item_text.article_first)
  assert dict(zip(part.item_ids, part.titles, strict=True)) == {
    "2": "Das Boot", "3": "Go",
  }  # fmt: skip
  assert part.cleaning == items.cleaning
  assert items.remade() is items


def test_names_that_cannot_be_said_are_counted_with_the_first_item():
  frame = pl.DataFrame(
    {
      "item_id": ["1", "2", "3"],
      "title": ["A", "B", "C"],
      "brand": ["Oak", "www.acme.de", "</b>"],
      "categories": [["Toys &amp; Games"], ["<i>Kites</i>", "</i>"], []],
    }
  )
  items = catalog.Catalog(frame)
  assert items["1"].categories == ("Toys & Games",)
  assert items["2"].categories == ("Kites",)
  assert [items[i].brand for i in "123"] == ["Oak", "acme.de", None]
  assert items.cleaning == catalog.Cleaning(2, 2, ("2", "www.acme.de"))
  (remark,) = items.cleaning.remarks()
  assert "'www.acme.de' of item '2'" in remark


def test_of_many_titles_few_are_compared_for_the_nearest(monkeypatch):
  rows = [(str(n), f"Item of number {n:05d}", None) for n in range(3000)]
  items = catalog_of(*rows, ("x", "Carcassonne: Basic Game", None))
  compared = []
  whole = catalog.difflib.get_close_matches

  def counted(text, titles, **options):
    compared.append(len(titles))
    return whole(text, titles, **options)

  monkeypatch.setattr(catalog.difflib, "get_close_matches", counted)
  for typed in (
    "carcasonne basic game",
    "Carcassonn",
    "Carkassonne Basik Gamme",
  ):
    with pytest.raises(ValueError, match="nearest are 'Carcassonne: Basic"):
      items.find_title(typed)
  for typed in ("q", "\u00df" * 3000):
    with pytest.raises(ValueError, match="none is similar"):
      items.find_title(typed)
  with pytest.raises(KeyError, match="the nearest are '299"):
    items.index("299x")
  assert max(compared) <= 200


@pytest.mark.parametrize("rows", [(), (("1", "Alone", None),)])
def test_empty_and_one_item_catalogues(rows):
  items = catalog_of(*rows)
  assert len(items) == len(items.remade(kept=items.item_ids)) == len(rows)
  with pytest.raises(
    ValueError, match="no item is called 'x'; none is similar"
  ):
    items.find_title("x")
