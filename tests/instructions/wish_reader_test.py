"""What a reader makes of wishes."""

import pathlib
import re

import numpy as np
import polars as pl
import pytest
import yaml

from instructrec.data import catalog, synthetic
from instructrec.instructions import (
  attributes,
  wish_cues,
  wish_pieces,
  wish_reader,
)

_GENRES = (
  "Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy "
  "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
_SENTENCES = yaml.safe_load(
  (pathlib.Path(__file__).parent / "wish_sentences.yaml").read_text("utf-8")
)


@pytest.fixture(scope="module")
def shop():
  found = attributes.Attributes.of(synthetic.generate(2)[1])
  return wish_reader.WishReader(found), found


@pytest.fixture(scope="module")
def films():
  rows = [
    {
      "item_id": f"i{n}",
      "title": f"Name {n} ({1920 + n % 90})",
      "categories": [_GENRES[n % 18], _GENRES[(n * 7 + 3) % 18]],
    }
    for n in range(360)
  ]
  found = attributes.Attributes.of(catalog.Catalog(pl.DataFrame(rows)))
  return wish_reader.WishReader(found), found


@pytest.fixture(scope="module")
def platforms():
  """A small shop of games without categories."""
  series = ("Star Racer", "Farm Hero", "Night Chess", "Zed Hunt")
  consoles = ("Xbox 360", "PlayStation 4", "Nintendo DS", "Sega Saturn", "PC")
  rows = [
    {
      "item_id": f"i{n}",
      "title": f"{series[n % 4]} {1000 + n} - {consoles[n % 5]}",
      "brand": ("Electronic Arts", "Love & Sons")[n % 2],
      "price": float(n % 30),
    }
    for n in range(60)
  ]
  found = attributes.Attributes.of(catalog.Catalog(pl.DataFrame(rows)))
  return wish_reader.WishReader(found), found


def _numbers(found, text):
  numbers = set()
  for name in filter(None, map(str.strip, text.split(","))):
    number = found.find(name)
    assert number is not None, name
    numbers.add(number)
  return numbers


def _agrees(pair, text, expected):
  reader, found = pair
  wanted, _, unwanted = expected.partition(";")
  read = reader.read(text)
  return (set(read.wanted), set(read.unwanted)) == (
    _numbers(found, wanted),
    _numbers(found, unwanted),
  )


@pytest.mark.parametrize(
  "case", _SENTENCES["known"], ids=lambda case: case["text"] or "empty"
)
def test_reads_what_the_cues_were_written_for(case, shop):
  reader, _ = shop
  assert _agrees(shop, case["text"], case["reads"]), reader.explain(
    reader.read(case["text"])
  )


@pytest.mark.parametrize(
  "case", _SENTENCES["known_films"], ids=lambda case: case["text"]
)
def test_reads_genres_and_decades(case, films):
  reader, _ = films
  assert _agrees(films, case["text"], case["reads"]), reader.explain(
    reader.read(case["text"])
  )


@pytest.mark.parametrize(
  ("part", "least"),
  [
    ("unseen", 0.95),
    ("fresh", 0.9),
    ("fresh_films", 0.9),
    ("last", 0.85),
    ("last_films", 0.85),
    # All but two of its misses are still to be learnt.
    ("final", 0.8),
  ],
)
def test_reads_most_of_other_kinds(part, least, shop, films):
  pair = films if part.endswith("films") else shop
  cases = _SENTENCES[part]
  wrong = [c for c in cases if not _agrees(pair, c["text"], c["reads"])]
  assert 1 - len(wrong) / len(cases) >= least, wrong


def test_nonsense_and_other_languages_read_nothing(shop, films):
  nothing = [
    case["text"]
    for cases in _SENTENCES.values()
    for case in cases
    if not case["reads"]
  ]
  assert len(nothing) > 20
  read = [
    text for text in nothing for pair in (shop, films) if pair[0].read(text)
  ]
  assert read == ["not necessarily a puzzle"]


@pytest.mark.parametrize(
  "text",
  [
    "Посоветуйте мне Oakline",
    "Oaklineが欲しい",
    "我要 Oakline",
    "δεν θέλω Oakline",
    "nie chcę Oakline",
    "Oakline istemiyorum",
    "saya tidak mau Oakline",
    "Mein Sohn liebt Oakline",
    "Non voglio Oakline",
    "Juguetes baratos de Oakline",
  ],
)
def test_names_within_other_languages_say_nothing(text, shop):
  assert not shop[0].read(text)


@pytest.mark.parametrize(
  "text",
  [
    "Oakline π",
    "Be so kind, Oakline",
    "I want Oakline, not 人形",
    "Oakline ™ please 🎁",
  ],
)
def test_signs_and_single_words_make_no_other_language(text, shop):
  assert shop[0].read(text).wanted == (shop[1].find("Oakline"),)


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("xbox360 or ps4", "Xbox 360, PlayStation 4"),
    ("no Playstation 4 please", "; PlayStation 4"),
    (
      "something by Electronic Arts, not expensive",
      "Electronic Arts; expensive",
    ),
    ("star racer for the nintendo ds", "Star Racer, Nintendo DS"),
    # A cue that begins a longer name is part of it.
    ("love and sons", "Love & Sons"),
    ("I love Zed Hunt", "Zed Hunt"),
  ],
)
def test_reads_platforms_brands_and_series(text, expected, platforms):
  reader, _ = platforms
  assert _agrees(platforms, text, expected), reader.explain(reader.read(text))


def test_a_name_may_have_commas():
  names = ("Trikes, Scooters & Wagons", "Scooters", "Balls")
  rows = [
    {"item_id": f"i{n}", "title": f"Name {n}", "categories": [names[n % 3]]}
    for n in range(30)
  ]
  found = attributes.Attributes.of(catalog.Catalog(pl.DataFrame(rows)))
  pair = wish_reader.WishReader(found), found
  read = pair[0].read("No trikes, scooters and wagons, but balls.")
  assert read.unwanted == (found.find("Trikes, Scooters & Wagons"),)
  assert read.wanted == (found.find("balls"),)
  assert _agrees(pair, "no balls, scooters please", "scooters; balls")


def test_says_what_it_read(shop):
  reader, _ = shop
  assert (
    reader.explain(reader.read("cheap board games, no puzzles please"))
    == "wants: cheap, board games; not: puzzles"
  )
  assert "nothing" in reader.explain(reader.read("hello there"))


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("I like <img src=x onerror=alert(1)> kites", "kites"),
    ("<b>kites</b>", "kites"),
    ("<a href='no'>kites</a>, no puzzles", "kites; puzzles"),
    ("<!-- no --> kites", "kites"),
    ("> kites\n> and puzzles", "kites, puzzles"),
    ("-> kites", "kites"),
    ("no puzzles -> kites", "kites; puzzles"),
    ("I <3 kites", "kites"),
    ("kites > puzzles", "kites; puzzles"),
    ("+kites -puzzles", "kites; puzzles"),
  ],
)
def test_markup_is_no_negation(text, expected, shop):
  assert _agrees(shop, text, expected)


def test_spans_point_into_the_text(shop):
  reader, found = shop
  text = "Café-style: BOARD  Games, but no “puzzles”!"
  spans = reader.read(text).spans
  assert [text[s.start : s.stop] for s in spans] == ["BOARD  Games", "puzzles"]
  assert [s.unwanted for s in spans] == [False, True]
  assert spans[0].number == found.find("board game")


def test_titles_are_no_wishes(shop):
  reader, found = shop
  title = "Northwind Pirate Kite"
  text = f"like {title.lower()} but without pirates"
  assert reader.read(text).wanted
  read = reader.read(text, (title,))
  assert (read.wanted, read.unwanted) == ((), (found.find("pirate"),))
  # Quoted behind "like", any name is a title.
  read = reader.read('something like "Ocean Puzzle", a kite maybe')
  assert read.wanted == (found.find("kite"),)
  # A word is a title where it stands as one.
  assert not reader.read('like "Galaxy"', ("Galaxy",))
  assert not reader.read("like Galaxy", ("Galaxy",))
  assert reader.read("a galaxy kite", ("Galaxy",)).wanted


def test_what_is_said_last_counts(shop):
  reader, found = shop
  read = reader.read("A puzzle. Or a kite. No puzzle.")
  assert read.wanted == (found.find("kite"),)
  assert read.unwanted == (found.find("puzzle"),)


def test_scores_are_nats_of_what_is_wanted(shop):
  reader, found = shop
  games, cheap = found.find("board games"), found.find("cheap")
  wanted, unwanted = reader.scores(reader.read("cheap board games"))
  assert not unwanted.any()
  both = found.mask(games) & found.mask(cheap)
  most = np.log(1 + len(both) / both.sum())
  assert wanted[both] == pytest.approx(most)
  rarer = found.bits([games]) / (found.bits([games]) + found.bits([cheap]))
  only_games, only_cheap = found.mask(games) & ~both, found.mask(cheap) & ~both
  assert wanted[only_games] == pytest.approx(most * rarer**2)
  assert wanted[only_cheap] == pytest.approx(most * (1 - rarer) ** 2)
  assert not wanted[~found.mask(games) & ~found.mask(cheap)].any()
  some = np.array([5, 3, 3])
  assert reader.scores(reader.read("cheap board games"), some)[0] == (
    pytest.approx(wanted[some])
  )


def test_what_no_item_has_in_full_is_had_by_those_that_have_the_most(shop):
  reader, found = shop
  puzzle, kite = (found.mask(found.find(name)) for name in ("puzzle", "kite"))
  assert not (puzzle & kite).any()
  wanted, _ = reader.scores(reader.read("a puzzle or a kite"))
  first, second = sorted((puzzle, kite), key=lambda mask: mask.sum())
  bits = [np.log2(len(mask) / mask.sum()) for mask in (first, second)]
  most = np.log(1 + len(first) / first.sum())
  assert wanted[first] == pytest.approx(most)
  assert wanted[second] == pytest.approx(most * (bits[1] / bits[0]) ** 2)
  # A text that names both has no more than the best items.
  read = reader.read("a puzzle or a kite")
  said = [reader.named("A puzzle on a kite"), reader.named("a soup")]
  assert reader.text_scores(read, said)[0] == pytest.approx([most, 0])


def test_nothing_read_scores_nothing(shop):
  reader, found = shop
  for scores in reader.scores(reader.read("hello")):
    assert scores.shape == (found.num_items,)
    assert not scores.any()


def test_unwanted_items_score_as_unwanted(shop):
  reader, found = shop
  wanted, unwanted = reader.scores(reader.read("anything but pirates"))
  assert not wanted.any()
  assert (unwanted == found.mask(found.find("pirate"))).all()


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("nothnig with pirates", "; Pirate"),
    ("everything exceept puzzles", "; puzzles"),
    ("wihtout dinosaurs", "; Dinosaur"),
    ("I have had enuogh of kites", "; kites"),
    ("spre me kites", "kites"),  # Too short a word to be sure.
  ],
)
def test_cues_may_be_misspelt(text, expected, shop):
  assert _agrees(shop, text, expected)


@pytest.mark.parametrize("word", ["price", "house", "moose", "prices"])
def test_words_are_no_misspellings_of_others(word, shop):
  assert not shop[0].read(f"a {word} for them")


def test_cues_are_written_as_words_are_read():
  for phrase in wish_cues.CUES:
    for word in phrase:
      assert re.fullmatch("[a-z]+|h8", word.removeprefix("-")), phrase


@pytest.mark.parametrize(
  ("a", "b", "expected"),
  [
    ("puzzle", "puzle", True),
    ("puzzle", "puzzel", True),
    ("puzzle", "pizzle", True),
    ("puzzle", "puzzles", True),
    ("puzzle", "puzzle", True),
    ("puzzle", "pzuzel", False),
    ("kite", "site", True),
    ("kite", "sites", False),
    ("", "a", True),
  ],
)
def test_one_off(a, b, expected):
  assert wish_pieces.is_one_off(a, b) is expected
  assert wish_pieces.is_one_off(b, a) is expected


def test_attributes_of_all_and_of_none_are_scored():
  kind = attributes.Kind.CATEGORY
  found = attributes.Attributes(
    [attributes.Attribute(kind, name) for name in ("blocks", "boxes", "kites")],
    [np.arange(4), np.arange(0), np.arange(2)],
    4,
  )
  reader = wish_reader.WishReader(found)
  wanted, _ = reader.scores(reader.read("blocks and kites"))
  assert wanted[0] == pytest.approx(np.log(3))
  assert wanted[3] < 0.01
  wanted, _ = reader.scores(reader.read("boxes and kites"))
  assert np.isfinite(wanted).all()


def test_an_empty_catalogue_reads_nothing():
  reader = wish_reader.WishReader(attributes.Attributes([], [], 3))
  read = reader.read("board games, not puzzles")
  assert not read
  assert not np.any(reader.scores(read))


def test_what_no_name_can_be_is_not_remembered(shop):
  reader, _ = shop
  names = reader._names
  before = len(names._misspelt)
  assert not reader.named("kite" * 30_000)
  assert not reader.named(" ".join(f"{'x' * n}" for n in range(40, 60)))
  assert len(names._misspelt) == before
  assert reader.named("a dinosuar") == reader.named("a dinosaur") != frozenset()
  assert "dinosuar" in names._misspelt
