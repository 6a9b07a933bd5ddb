"""Singular and plural."""

import pytest

from instructrec.data import synthetic
from instructrec.instructions import attributes, spoken, topics


@pytest.mark.parametrize(
  ("one", "many"),
  [
    ("mouse", "mice"), ("Gaming Mouse", "Gaming Mice"), ("battery",
    "batteries"), ("toy", "toys"), ("brush", "brushes"), ("box", "boxes"),
    ("Pocketknife", "Pocketknives"), ("safari", "safaris"), ("lens", "lenses"),
    ("circus", "circuses"), ("movie", "movies"), ("puppy", "puppies"),
    ("glass", "glasses"), ("child", "children"), ("pie", "pies"),
  ],
)  # fmt: skip
def test_plurals_are_right_and_said_like_their_singular(one, many):
  assert spoken.plural(one) == many
  assert spoken.plural(many) == many
  assert spoken.key(one) == spoken.key(many)


@pytest.mark.parametrize("name", ["dice", "clay", "clothes", "tennis"])
def test_what_is_not_counted_has_no_plural(name):
  assert spoken.plural(name) == name


def test_singular_and_plural_of_all_known_nouns_are_said_alike():
  nouns = topics.PRODUCTS | topics.HEADS | topics.GEAR | topics.THEMES
  wrong = {
    noun: many
    for noun in nouns
    if spoken.key(many := spoken.plural(noun)) != spoken.key(noun)
  }
  assert not wrong


def test_the_shop_sells_paint_boxes():
  found = attributes.Attributes.of(synthetic.generate(2)[1])
  names = {attribute.name for attribute in found.attributes}
  assert {"paint boxes", "weaving looms", "kites"} <= names
  assert not any(name.endswith("xs") for name in names)
  assert found.find("Paint Box") == found.find("paint boxes") is not None
