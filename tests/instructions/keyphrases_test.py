"""Keyphrases are shared, whole, and say something."""

import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data import catalog, synthetic
from instructrec.instructions import keyphrases

_WORDS = (
  "Resident Evil Black Flag Chess Duty Call of the Xbox 360 Collection "
  "Edition 128GB 10ft Castle Zelda Wii Kart 2"
).split()
_MEASURES = {"128gb", "10ft"}


def catalog_of(titles, **columns):
  return catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{number}" for number in range(len(titles))],
        "title": list(titles),
        **columns,
      }
    )
  )


def holding(titles, words):
  """How many titles have these words in a row: counted by search."""
  text = r"\s+".join(map(re.escape, words))
  pattern = re.compile(rf"(?<![\w'+&/-]){text}(?![\w'+&/-])", re.IGNORECASE)
  return sum(bool(pattern.search(title)) for title in titles)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
  st.lists(
    st.lists(
      st.sampled_from(_WORDS), min_size=1, max_size=5, unique_by=str.lower
    ),
    min_size=3,
    max_size=30,
  )
)
def test_keyphrases_are_shared_whole_and_telling(titles):
  # A number makes equal titles differ; the catalogue asks for that.
  titles = [
    f"{' '.join(words)}, n{number}" for number, words in enumerate(titles)
  ]
  items = catalog_of(titles)
  found = keyphrases.Keyphrases(items)
  for item_id in items.item_ids:
    item = items[item_id]
    phrases = found.of(item)
    assert len(phrases) == len(set(phrases)) <= 4
    said = [word for phrase in phrases for word in phrase.lower().split()]
    assert len(said) == len(set(said))  # No word in two of them.
    for phrase in phrases:
      words = phrase.lower().split()
      count = holding(titles, words)
      assert count >= 3
      assert count == found.num_items(phrase)
      assert len(words) <= 4
      assert holding([item.title], words)
      assert not _MEASURES & set(words)
      assert words != ["collection"]
      assert words[0] not in keyphrases.STOP_WORDS
      assert words[-1] not in keyphrases.STOP_WORDS
      # Not the beginning or the end of a name that is nearly always whole.
      body = item.title.split(",")[0].lower().split()
      for place in range(len(body) - len(words) + 1):
        if body[place : place + len(words)] != words:
          continue
        for longer in (
          body[place : place + len(words) + 1],
          body[max(0, place - 1) : place + len(words)],
        ):
          at_edge = {longer[0], longer[-1]} & keyphrases.STOP_WORDS
          if len(longer) > len(words) and not at_edge:
            assert holding(titles, longer) < 0.8 * count


FILLER = [f"Filler{n} Thing{n}" for n in range(30)]


@pytest.mark.parametrize(
  ("titles", "expected"),
  [
    (["Resident Evil 4", "Resident Evil 5", "Resident Evil 6"],
     ("Resident Evil",)),
    # Two items are too few.
    (["Resident Evil 4", "Resident Evil 5", "Go"], ()),
    # "Black Flag" nearly always stands in the longer name.
    (["Creed Black Flag", "Creed Black Flag Gold", "Creed Black Flag Two"],
     ("Creed Black Flag",)),
    # A measure, an ordinary word, words that are in many titles.
    (["Card 128GB", "Stick 128GB", "Drive 128GB"], ()),
    (["Red Minutes", "Blue Minutes", "Green Minutes"], ()),
    # A theme, a unit, the talk of shops.
    (["Red Castle", "Blue Castle", "Green Castle"], ("Castle",)),
    (["Balm 2 Ounce", "Soap Ounce", "Oil 5 Ounce"], ()),
    (["Lip Balm Refill", "Soap Refill", "Oil Refill"], ()),
    (["Chess Collection", "Ludo Collection", "Go Collection"], ()),
    (["Ultimate Bundle", "Ultimate Bundle A", "Ultimate Bundle B"], ()),
    # Never across a comma, a colon or a bracket.
    (["Mario: Kart A", "Mario: Kart B", "Mario: Kart C"], ("Kart", "Mario")),
    # "Mystery P" of "Mystery P.I."
    (["Quilt P.I. A", "Quilt P.I. B", "Quilt P.I. C", "Quilt D", "Quilt E"],
     ("Quilt",)),
    # A number alone names nothing, behind a name it does, behind an
    # ordinary word it does not: "Band 2" of "Rock Band 2".
    (["Figure 6 A", "Figure 6 B", "Figure 6 C"], ()),
    (["Zorbo 360 A", "Zorbo 360 B", "Zorbo 360 C"], ("Zorbo 360",)),
    # The spelling that most titles have.
    (["NieR Dawnlight", "NieR Other", "Nier Third"], ("NieR",)),
  ],
)  # fmt: skip
def test_planted_titles(titles, expected):
  items = catalog_of([*titles, *FILLER])
  assert keyphrases.Keyphrases(items).of(items["i0"]) == expected


def test_what_a_third_of_the_catalogue_shares_says_nothing():
  titles = [f"Playmat Thing{n}" for n in range(8)]
  items = catalog_of([*titles, *FILLER[:12]])
  assert keyphrases.Keyphrases(items).of(items["i0"]) == ()
  items = catalog_of([*titles, *FILLER])
  assert keyphrases.Keyphrases(items).of(items["i0"]) == ("Playmat",)


def test_specific_categories_come_first_and_the_root_never():
  categories = [["Toys", "Puzzles", f"Kind {n % 2}"] for n in range(6)]
  titles = [f"Marvello Thing{n}" for n in range(6)]
  items = catalog_of([*titles], categories=categories, brand=["Oak"] * 6)
  found = keyphrases.Keyphrases(items)
  # All six share the root and "Puzzles": they tell nothing apart.
  assert found.of(items["i0"]) == ("kind 0",)
  assert found.num_items("kind 0") == 3
  # A brand is said elsewhere.
  branded = catalog_of(
    [*(f"Oakline Thing{n}" for n in range(4)), *FILLER],
    brand=["Oakline"] * 4 + [None] * len(FILLER),
  )
  assert keyphrases.Keyphrases(branded).of(branded["i0"]) == ()


def test_newer_and_more_items_rank_higher():
  kinds = ["Chess", "Kites", "Ludos"]
  titles = [f"{kind} Thing{n}" for n, kind in enumerate(kinds * 3)]
  items = catalog_of([*titles, *FILLER])
  found = keyphrases.Keyphrases(items)
  of = {kind: [items[f"i{n}"] for n in (i, i + 3, i + 6)] for i, kind in
        enumerate(kinds)}  # fmt: skip
  one_each = [of["Chess"][0], of["Ludos"][0], of["Kites"][0]]
  assert [p for p, _ in found.ranked(one_each)] == ["Kites", "Ludos", "Chess"]
  assert [p for p, _ in found.ranked(one_each[::-1])] == [
    "Chess",
    "Ludos",
    "Kites",
  ]
  # Two older ones outweigh a newer one.
  more = [*of["Chess"][:2], of["Kites"][0]]
  assert [p for p, _ in found.ranked(more)] == ["Chess", "Kites"]
  weights = [weight for _, weight in found.ranked([*one_each, *one_each])]
  assert weights == sorted(weights, reverse=True)
  # Equal weights stand in alphabetical order.
  assert found.ranked(one_each, decay=1.0) == [
    ("Chess", 1.0),
    ("Kites", 1.0),
    ("Ludos", 1.0),
  ]
  assert found.ranked([]) == []


def test_a_review_mentions_names_and_no_ordinary_words():
  titles = [
    *("Zelda Quilt A", "Zelda Quilt B", "Zelda Quilt C", "Zelda Tale"),
    *("Kart Thing", "Kart Other", "Kart Third"),
  ]
  found = keyphrases.Keyphrases(catalog_of([*titles, *FILLER]))
  assert found.mentioned("A kart, but zelda quilt it is not.") == [
    "Zelda Quilt"
  ]
  assert found.mentioned("Both Kart and Zelda.") == ["Zelda", "Kart"]
  assert found.mentioned(None) == found.mentioned("") == []


def test_every_synthetic_item_has_keyphrases():
  _, items = synthetic.generate(num_users=1, num_items=80, seed=5)
  found = keyphrases.Keyphrases(items)
  for item_id in items.item_ids:
    item = items[item_id]
    assert found.of(item)[0] == item.categories[-1].lower()
