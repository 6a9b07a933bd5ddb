"""Faults that texts had, and have no more: units, scraps, shelves, verbs."""

import itertools
import re

import pytest

from instructrec.instructions import generate, offline, templates, topics
from instructrec.instructions.format import FineGrained, Instruction
from instructrec.instructions.teacher import TextKind, TextRequest

UNITS = re.compile(
  r"\b(\d+|ounces?|oz|fl|counts?|ct|packs?|inch(es)?|watts?|pounds?|gallons?|"
  r"ml|pair|pieces?|sets? of|size|tube|jar|bag|bottles?)\b",
  re.IGNORECASE,
)
QUOTED = re.compile(r'"[^"]*"')


def said(prepared, protocol):
  """All texts of a teacher, without titles that are quoted."""
  items = prepared.catalog
  generator = generate.Generator(
    prepared, offline.OfflineTeacher(items), templates.load(),
    protocol=protocol,
  )  # fmt: skip
  found = set()
  for record in generator.rows():
    if isinstance(record, FineGrained):
      found.add(record.text)
    elif isinstance(record, Instruction):
      found.add(record.wish_text)
  return {QUOTED.sub(" ", text) for text in found if text}


@pytest.mark.parametrize("protocol", ["stated", "strict", "paper"])
@pytest.mark.parametrize("name", ["BEAUTY", "INSTRUMENTS"])
def test_units_sizes_and_counts_are_never_said(made_up, name, protocol):
  prepared = made_up.prepared(made_up.catalog_of(getattr(made_up, name)))
  texts = said(prepared, protocol)
  assert len(texts) > 60
  for text in texts:
    assert not UNITS.search(text), text
    assert not re.search(r"\b(with|like|likes|enjoy) (eyes|face|lips)\b", text)
    assert "pass by" not in text
    words = re.findall(r"[a-z]+", text.lower())
    for one, other in itertools.pairwise(words):
      assert one != other or one == "that", text


def test_films_are_watched_and_stand_on_no_shelf(made_up):
  prepared = made_up.prepared(made_up.films())
  texts = said(prepared, "stated") | said(prepared, "strict")
  assert any("watch" in text for text in texts)
  for text in texts:
    assert not re.search(r"\b(buy|bought|purchase|shelf|deliver)", text), text
    assert not re.search(r"\b(comedy|drama|romance)\b(?! )", text), text


def preference(items, ids, key=3):
  teacher = offline.OfflineTeacher(items)
  about = tuple(items[i] for i in ids)
  wanted = TextRequest(
    TextKind.PREFERENCE, about, None, (), "Nothing Said", key
  )
  return teacher.write([wanted])[0]


def test_a_taste_in_lotions_is_not_one_in_ounces(made_up):
  items = made_up.catalog_of(made_up.BEAUTY)
  texts = {preference(items, ["i0", "i1", "i2"], key) for key in range(8)}
  for text in texts:
    assert "lotions" in text
    assert "things by Velmora" in text


def test_a_taste_in_films_names_genres_in_the_plural(made_up):
  items = made_up.films()
  texts = {preference(items, ["i0", "i6", "i1"], key) for key in range(8)}
  assert (
    "They mostly watch thrillers and dramas, and now and then romantic films."
    in texts
  )
  for text in texts:
    assert "comedies" in text or "romantic films" in text


def test_what_was_disliked_is_no_taste(made_up):
  items = made_up.films()

  def ratings(user, place):
    return 1.0 if place % 2 else 5.0

  def tastes(data):
    generator = generate.Generator(
      data, offline.OfflineTeacher(items), templates.load()
    )
    return {
      record.text_id: record.text
      for record in generator.rows(["test"])
      if isinstance(record, FineGrained) and record.kind == "P2"
    }

  rated = made_up.prepared(items, ratings=ratings)
  plain = made_up.prepared(items)
  assert tastes(rated) != tastes(plain)
  requests = rated.requests.read("test").iter_rows(named=True)
  given = rated.ratings.of([f"u{n:03d}" for n in range(30)])
  texts = tastes(rated)
  checked = 0
  for row in requests:
    low = [i for i in row["history"] if given[row["user_id"]][i] == 1.0]
    high = [i for i in row["history"] if i not in low]
    disliked = {g for i in low for g in items[i].categories}
    liked = {g for i in high for g in items[i].categories}
    if "Horror" in disliked - liked:
      checked += 1
      assert "horror" not in texts[f"{row['request_id']}/P2"]
  assert checked > 3


@pytest.mark.parametrize(
  "word", ["ounce", "count", "oz", "pack", "inch", "edition", "import", "xl"]
)
def test_units_and_the_talk_of_shops_are_scraps(word):
  assert word in topics.SCRAPS


def test_names_are_no_ordinary_words_and_lists_do_not_cross():
  ordinary = topics.ordinary()
  assert {"minutes", "smile", "seat", "bar", "ear"} & ordinary
  assert not {"skylanders", "lego", "barbie", "tekken"} & ordinary
  assert not topics.SCRAPS & topics.THEMES
  assert not topics.PRODUCTS & topics.THEMES
  assert not topics.SCRAPS & topics.PRODUCTS
