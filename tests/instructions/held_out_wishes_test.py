"""Wordings that are kept for evaluation."""

import pathlib
import re

import pytest

import instructrec
from instructrec.data import synthetic
from instructrec.instructions import (
  attributes,
  held_out_wishes,
  spoken,
  wish_reader,
)
from instructrec.instructions.attributes import Attribute, Kind

_FOLDER = pathlib.Path(instructrec.__file__).parent / "instructions"


def _plain(text):
  return " ".join(spoken.words(re.sub(r"\{\w*\}", " ", text)))


def test_there_are_enough_and_each_has_its_slot():
  assert len(set(held_out_wishes.WANTED)) >= 12
  assert len(set(held_out_wishes.UNWANTED)) >= 12
  for frame in held_out_wishes.WANTED + held_out_wishes.UNWANTED:
    assert frame.count("{a}") == 1, frame
  for text in held_out_wishes.NONSENSE + held_out_wishes.FOREIGN:
    assert "{" not in text


@pytest.mark.parametrize(
  "path",
  sorted(
    path
    for path in _FOLDER.rglob("*")
    if path.suffix in (".py", ".yaml") and path.stem != "held_out_wishes"
  ),
  ids=lambda path: path.name,
)
def test_no_training_text_has_one(path):
  text = _plain(path.read_text(encoding="utf-8"))
  sentences = (
    held_out_wishes.WANTED
    + held_out_wishes.UNWANTED
    + held_out_wishes.NONSENSE
    + held_out_wishes.FOREIGN
  )
  for sentence in sentences:
    words = _plain(sentence)
    if len(words.split()) > 3:
      assert words not in text, sentence


@pytest.mark.parametrize(
  ("kind", "name", "expected"),
  [
    (Kind.CATEGORY, "board games", "board games"),
    (Kind.CATEGORY, "comedy", "comedy films"),
    (Kind.BRAND, "Oakline", "films by Oakline"),
    (Kind.PRICE, "cheap", "cheap films"),
    (Kind.DECADE, "1990s", "films from the 1990s"),
    (Kind.KEYPHRASE, "Dinosaur", "dinosaur films"),
    (Kind.KEYPHRASE, "Xbox 360", "Xbox 360 films"),
    (Kind.KEYPHRASE, "LEGO", "LEGO films"),
  ],
)
def test_attributes_are_said(kind, name, expected):
  assert held_out_wishes.phrase(Attribute(kind, name), "films") == expected


def test_how_many_a_reader_gets_right():
  """It was not written for them; the figures are what they are."""
  found = attributes.Attributes.of(synthetic.generate(2)[1])
  reader = wish_reader.WishReader(found)
  for frames, sign, least in (
    (held_out_wishes.WANTED, 1, 0.9),
    (held_out_wishes.UNWANTED, -1, 0.7),
  ):
    right = []
    for frame in frames:
      for number, attribute in enumerate(found.attributes):
        said = held_out_wishes.phrase(attribute)
        read = reader.read(frame.format(a=said))
        right.append(
          (read.wanted, read.unwanted)
          == (((number,), ()) if sign > 0 else ((), (number,)))
        )
    assert sum(right) / len(right) >= least
  for text in held_out_wishes.NONSENSE + held_out_wishes.FOREIGN:
    assert not reader.read(text), text
