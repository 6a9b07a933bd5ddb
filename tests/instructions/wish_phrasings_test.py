"""What is read of several hundred ways to ask and to refuse."""

import pathlib
import re

import numpy as np
import pytest
import yaml

from instructrec.data import synthetic
from instructrec.instructions import (
  attributes,
  spoken,
  topics,
  wish_cues,
  wish_reader,
)
from instructrec.instructions.wish_cues import Cue

_PARTS = yaml.safe_load(
  (pathlib.Path(__file__).parent / "wish_phrasings.yaml").read_text("utf-8")
)
_EXPECTED = {
  "unwanted": ("", "a"),
  "wanted": ("a", ""),
  "pairs": ("a", "b"),
  "both": ("", "ab"),
  "both_wanted": ("ab", ""),
  "nonsense": ("", ""),
}
_THINGS = {
  "puzzles": "puzzles",
  "board games": "board games",
  "kites": "kites",
  "dinosaurs": "Dinosaur",
  "things by Oakline": "Oakline",
  "expensive things": "expensive",
  "pirate things": "Pirate",
}


@pytest.fixture(scope="module")
def shop():
  found = attributes.Attributes.of(synthetic.generate(2)[1])
  return wish_reader.WishReader(found), found


@pytest.fixture(scope="module")
def everyday():
  """A catalogue whose names are ordinary words, one in thirty of them."""
  names = sorted(
    {spoken.singular(w) for w in topics.ordinary()} - wish_cues.ORDINARY
  )[::30]
  for name in ("train", "kitchen", "paper", "moon", "shoe", "key", "light"):
    if name not in names:
      names.append(name)
  found = attributes.Attributes(
    [attributes.Attribute(attributes.Kind.KEYPHRASE, n) for n in names],
    [np.arange(5) + n for n in range(len(names))],
    len(names) + 5,
  )
  return wish_reader.WishReader(found), found


def _misses(pair, part, kind):
  reader, found = pair
  things = list(_THINGS)
  wrong = []
  for place, frame in enumerate(_PARTS[part][kind]):
    said = {
      "a": things[place % len(things)],
      "b": things[(place + 3) % len(things)],
    }
    text = frame.format(**said)
    text = text[0].upper() + text[1:]
    numbers = {slot: found.find(_THINGS[name]) for slot, name in said.items()}
    wanted, unwanted = (
      {numbers[slot] for slot in slots} for slots in _EXPECTED[kind]
    )
    read = reader.read(text)
    if (set(read.wanted), set(read.unwanted)) != (wanted, unwanted):
      wrong.append(f"{text} -> {reader.explain(read)}")
  return wrong


@pytest.mark.parametrize(
  ("part", "kind", "least"),
  [
    ("tuned", "unwanted", 0.99),
    ("tuned", "wanted", 0.98),
    ("tuned", "pairs", 0.95),
    ("tuned", "both", 1),
    ("tuned", "both_wanted", 1),
    # "The train to the city" names train sets.
    ("tuned", "nonsense", 0.9),
    ("once", "unwanted", 0.98),
    ("once", "wanted", 0.98),
    ("once", "pairs", 0.98),
    ("once", "both", 1),
    ("once", "both_wanted", 1),
    ("once", "nonsense", 0.95),
    ("later", "unwanted", 0.98),
    ("later", "wanted", 0.97),
    ("third", "unwanted", 0.97),
    ("third", "wanted", 0.99),
    ("fourth", "unwanted", 0.99),
    ("fourth", "wanted", 0.98),
    ("fifth", "unwanted", 0.96),
    ("fifth", "wanted", 0.99),
    ("sixth", "unwanted", 0.9),
    ("sixth", "wanted", 0.9),
    ("sixth", "pairs", 0.9),
  ],
)
def test_reads_most_ways_to_ask_and_to_refuse(part, kind, least, shop):
  wrong = _misses(shop, part, kind)
  assert 1 - len(wrong) / len(_PARTS[part][kind]) >= least, wrong


@pytest.mark.parametrize(
  ("text", "wanted", "unwanted"),
  [
    ("Something new, nothing, top of the range please.", "", "expensive"),
    ("I would rather not have things, cheap.", "", "cheap"),
    ("No puzzles, cheap kites please.", "cheap, kites", "puzzles"),
    ("My son hates puzzles.", "", "puzzles"),
    ("My wife can't get enough of kites.", "kites", ""),
    ("If it isn't a kite, I don't want it.", "kites", ""),
    ("Puzzles? Oh, no.", "", "puzzles"),
    ("Unwanted: kites.", "", "kites"),
    ("A puzzle-free list, please.", "", "puzzles"),
    ("Wouldn't a kite be nice?", "kites", ""),
    ("Couldn't you leave out puzzles?", "", "puzzles"),
    ("Without kites it's no fun.", "kites", ""),
    # What is denied of a thing is no wish against it.
    ("Puzzles that are not too hard.", "puzzles", ""),
    ("A puzzle without small parts.", "puzzles", ""),
    ("a kite, but with no tail", "kites", ""),
    ("board games not for babies", "board games", ""),
    ("Pirate things that never break.", "Pirate", ""),
    ("kites instead of screens", "kites", ""),
    ("Puzzles without kites.", "puzzles", "kites"),
    ("No kites without a tail.", "", "kites"),
    ("These puzzles are not what I meant.", "", "puzzles"),
    ("It doesn't have to be a kite.", "kites", ""),
    ("It doesn't matter, as long as it is a kite.", "kites", ""),
    ("He's over puzzles.", "", "puzzles"),
    ("non-toxic puzzles", "puzzles", ""),
    ("A no-mess dinosaur kit.", "Dinosaur", ""),
    ("non Oakline kites", "kites", "Oakline"),
    ("Kites are a no-go.", "", "kites"),
    ("I don\u00b4t want puzzles.", "", "puzzles"),
    ("We don`t like kites.", "", "kites"),
    ("I don't only want puzzles.", "puzzles", ""),
    ("I just don't want puzzles.", "", "puzzles"),
    ("not too expensive kites", "kites", "expensive"),
    ("No puzzles, except those by Oakline.", "Oakline", "puzzles"),
    ("I hate puzzles, apart from dinosaurs.", "Dinosaur", "puzzles"),
    ("No puzzles, all things except kites.", "", "puzzles, kites"),
    ("Puzzles, except by Oakline.", "puzzles", "Oakline"),
    ("Nothing too expensive, please.", "", "expensive"),
    ("A kite, nothing too cheap.", "kites", "cheap"),
  ],
)
def test_reads_sentences_of_some_kinds(text, wanted, unwanted, shop):
  reader, found = shop
  read = reader.read(text)
  for numbers, names in ((read.wanted, wanted), (read.unwanted, unwanted)):
    expected = {found.find(name) for name in names.split(", ") if name}
    assert set(numbers) == expected, reader.explain(read)


def test_no_sentence_stands_twice():
  frames = [
    frame
    for part in _PARTS.values()
    for kind in part.values()
    for frame in kind
  ]
  assert len(frames) == len(set(frames))
  assert len(frames) > 2000


@pytest.mark.parametrize("part", ["tuned", "once"])
def test_everyday_words_name_nothing_without_a_wish(part, everyday):
  reader, _ = everyday
  nonsense = _PARTS[part]["nonsense"]
  read = [text for text in nonsense if reader.read(text)]
  assert len(read) <= 0.1 * len(nonsense), read


@pytest.mark.parametrize("kind", ["unwanted", "wanted"])
def test_wishes_for_everyday_words_are_read(kind, everyday):
  reader, found = everyday
  number = found.find("train")
  wrong = []
  for frame in _PARTS["tuned"][kind]:
    text = frame.format(a="trains")
    read = reader.read(text[0].upper() + text[1:])
    named = read.wanted if kind == "wanted" else read.unwanted
    if number not in named:
      wrong.append(text)
  assert len(wrong) <= 0.03 * len(_PARTS["tuned"][kind]), wrong


@pytest.mark.parametrize(
  ("text", "wanted"),
  [
    ("The train to the city leaves at seven from the second track.", False),
    ("A train with lights.", True),
    ("A train is late because of snow and rain.", False),
    ("trains", True),
    ("Wooden trains please.", True),
    ("The meeting in the kitchen was late. I want a train.", True),
  ],
)
def test_what_counts_as_a_wish(text, wanted, everyday):
  reader, found = everyday
  assert (found.find("train") in reader.read(text).wanted) is wanted


@pytest.mark.parametrize(
  ("text", "cue"),
  [
    ("hated", Cue.DISLIKES),
    ("despising", Cue.DISLIKES),
    ("bores us", Cue.BACKWARD),
    ("cut down on", Cue.DISLIKES),
    ("hasnt been her cup of tea", None),
    ("isnt her cup of tea", Cue.BACKWARD),
    ("would never say no to", Cue.NEUTRAL),
    ("anything but", Cue.EXCEPTS),
    ("as well as", Cue.CONTINUES),
  ],
)
def test_the_table_stands_for_its_forms(text, cue):
  assert wish_cues.CUES.get(tuple(text.split())) is cue


@pytest.mark.parametrize("text", ["a (b", "a [b|c)", "a b]", "a <unknown>"])
def test_a_bad_line_of_the_table_is_named(text):
  with pytest.raises(ValueError, match=re.escape(repr(text))):
    list(wish_cues.phrases(text, {}))


def test_forms_of_the_notation():
  classes = {"me": frozenset([("me",), ("the", "kids")])}
  found = set(wish_cues.phrases("carry~ (it) [for|to] <me>, a/b", classes))
  assert ("carried", "it", "for", "the", "kids") in found
  assert ("carries", "to", "me") in found
  assert ("carrying", "to", "me") in found
  assert {("a",), ("b",)} < found
  assert len(found) == 4 * 2 * 2 * 2 + 2
