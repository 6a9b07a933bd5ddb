"""Phrases as people say them: heads, tails, plurals, domains, slips."""

import re

import pytest

from instructrec.instructions import wish_frames, wish_words
from instructrec.instructions.attributes import Attribute, Kind
from instructrec.instructions.domains import Domain
from instructrec.instructions.draws import Draws, mix
from instructrec.instructions.wish import Stance, Wish
from instructrec.instructions.wish_words import Speaker

WORDS = {"c": Kind.CATEGORY, "b": Kind.BRAND, "p": Kind.PRICE,
         "d": Kind.DECADE, "k": Kind.KEYPHRASE}  # fmt: skip


def attributes(*named):
  return [Attribute(WORDS[text[0]], text[2:]) for text in named]


@pytest.mark.parametrize(
  ("domain", "named", "expected"),
  [
    ("products", [], {"something"}),
    ("products", ["c board games"], {"board games"}),
    ("products", ["c skin care"], {"something in skin care"}),
    ("products", ["c eyes"], {"things for the eyes"}),
    ("products", ["c hands & nails"], {"things for the hands & nails"}),
    ("products", ["c shave"], {"things for shaving"}),
    ("products", ["c lipstick"], {"lipsticks"}),
    ("products", ["k Dinosaur"], {"dinosaur things"}),
    ("products", ["k Cars"], {"car things"}),
    ("products", ["k Star Wars"], {"Star Wars things"}),
    ("products", ["k Guitar Pedal"], {"guitar pedals"}),
    ("products", ["k Dinosaur", "c puzzles"], {"dinosaur puzzles"}),
    ("products", ["k Thomas", "c play food"], {"Thomas things in play food"}),
    (
      "products",
      ["b Oakline", "c kites"],
      {"kites by Oakline", "kites from Oakline"},
    ),
    (
      "products",
      ["p cheap", "c kites"],
      {f"kites, {price}" for price in wish_frames.CHEAP},
    ),
    (
      "products",
      ["p expensive"],
      {f"something {price}" for price in wish_frames.EXPENSIVE},
    ),
    ("films", ["c horror"], {"horror films"}),
    ("films", ["c comedy", "c romance"], {"romantic comedies"}),
    ("films", ["c drama", "c crime"], {"crime dramas"}),
    ("films", ["c musical", "c animation"], {"animated musicals"}),
    (
      "films",
      ["d 1990s", "c war"],
      {"war films from the 1990s", "war films from the 90s"},
    ),
    ("films", ["d 2000s"], {"something from the 2000s"}),
    ("films", ["k Star Trek"], {"Star Trek films"}),
    ("games", ["k Xbox 360"], {"something for Xbox 360"}),
    (
      "games",
      ["k Call of Duty", "k PlayStation 3"],
      {"Call of Duty games for PlayStation 3"},
    ),
    ("games", ["k Gaming Mouse"], {"gaming mice"}),
    ("games", ["k Dying Light"], {"Dying Light games"}),
    ("music", ["c folk"], {"folk albums"}),
    ("books", ["c crime"], {"crime books"}),
  ],
)
def test_attributes_are_one_phrase(domain, named, expected):
  speaker = Speaker(Domain(domain))
  found = {
    speaker.things(attributes(*named), Draws(mix(key, 1))) for key in range(60)
  }
  assert found == expected


@pytest.mark.parametrize(
  ("domain", "named", "no", "plain"),
  [
    ("products", "c puzzles", "no puzzles", "puzzles"),
    ("products", "c skin care", "no skin care", "skin care"),
    ("products", "k Dinosaur", "no dinosaur things", "dinosaur things"),
    ("films", "c romance", "no romantic films", "romantic films"),
    ("films", "d 2000s", "nothing from the 2000s", "films from the 2000s"),
    ("games", "k Wii", "nothing for Wii", "games for Wii"),
  ],
)
def test_what_is_unwanted(domain, named, no, plain):
  (attribute,) = attributes(named)
  said = Speaker(Domain(domain)).unwanted(attribute, Draws(1))
  assert said == (no, plain)


@pytest.mark.parametrize(
  ("domain", "one", "other", "together"),
  [
    ("products", "k Dinosaur", "c puzzles", True),
    ("products", "c dolls", "c puzzles", False),
    ("films", "c crime", "c drama", True),
    ("products", "k Tuner", "c acoustic guitars", False),
    ("games", "k Wii", "k Xbox 360", False),
    ("products", "b Oakline", "b Quill", False),
    ("products", "b Oakline", "p cheap", True),
  ],
)
def test_what_goes_together(domain, one, other, together):
  speaker = Speaker(Domain(domain))
  assert speaker.go_together(*attributes(one, other)) is together
  assert speaker.go_together(*attributes(other, one)) is together


def wish(*wanted, **extra):
  return Wish(
    **{
      "wanted": tuple(attributes(*wanted)),
      "unwanted": (),
      "stance": Stance.ODDS,
      "bits": 1.0,
      "split": "train",
      "hidden_title": "Nothing Said",
      "hidden_words": frozenset(),
      **extra,
    }
  )


def texts(said, count=400):
  speaker = Speaker(Domain.PRODUCTS)
  return [speaker.say(said, mix(key, 9)) for key in range(count)]


def test_texts_vary_as_people_do():
  found = texts(wish("c board games"))
  assert len(set(found)) > 60
  share = {
    "small": sum(text[0].islower() for text in found) / len(found),
    "slip": sum("board games" not in t.lower() for t in found) / len(found),
    "polite": sum("please" in t.lower() for t in found) / len(found),
    "greeting": sum(t.lower().startswith(("hi", "he")) for t in found)
    / len(found),
  }
  assert 0.15 < share["small"] < 0.4, share
  assert 0 < share["slip"] < 0.06, share
  assert share["polite"] > 0.05, share
  assert 0.02 < share["greeting"] < 0.12, share
  for text in found:
    assert text[-1] in ".?!"
    assert "{" not in text
    assert len(text.split()) <= 14


def test_a_slip_changes_one_word_of_small_letters_by_one_letter():
  for key in range(300):
    word = "dinosaur"
    slipped = wish_words._slip(word, Draws(mix(key, 2)))
    assert slipped[0] == "d"
    assert abs(len(slipped) - len(word)) <= 1
    quoted = 'like "Wooden Railway", please'
    text = wish_words._misspell(quoted, Draws(mix(key, 3)))
    assert '"Wooden Railway"' in text


def test_a_title_of_the_history_stands_in_quotes_as_it_is():
  for text in texts(wish("c kites", like='"Oak KITE Deluxe"')):
    assert '"Oak KITE Deluxe"' in text


def test_useless_wishes_know_the_domain():
  said = wish(stance=Stance.USELESS)
  of = {
    domain: {Speaker(domain).say(said, mix(key, 4)) for key in range(400)}
    for domain in Domain
  }
  films = " ".join(of[Domain.FILMS]).lower()
  assert "a film" in films
  assert not re.search(r"deliver|order|wrap|arrive", films)
  assert re.search(r"deliver", " ".join(of[Domain.PRODUCTS]))
