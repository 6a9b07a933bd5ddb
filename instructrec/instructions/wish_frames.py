"""The sentences that wishes are put into; data.

| slot | filled with |
|---|---|
| {x} | what is wanted: "puzzles by Oakline, not too expensive" |
| {n} | what is not wanted: "no puzzles", "nothing by Oakline" |
| {m} | the same without its "no": "puzzles", "things by Oakline" |
| {h} | a title of the history, in quotes |
| {who} | a person: "nephew" |
| {aspect} | "good looks" |
| {occasion} | "a birthday" |
| {one}, {many}, {do} | words of the domain: "a film", "films", "watch" |

`held_out` ones never stand in a training row: validation and test rows have
no others.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
  """Sentences for one kind of wish.

  Attributes:
    train: of training rows.
    held_out: of validation and test rows; about a quarter of all.
  """

  train: tuple[str, ...]
  held_out: tuple[str, ...]

  def of(self, split: str) -> tuple[str, ...]:
    """The sentences that rows of a split may have."""
    return self.train if split == "train" else self.held_out


WANTED = Frames(
  train=(
    "{x}.",
    "{x} please.",
    "{x} pls.",
    "{x}, thanks.",
    "{x}, any ideas?",
    "I am looking for {x}.",
    "I'm looking for {x}.",
    "I would like {x}.",
    "I'd like {x}, please.",
    "I feel like {x}.",
    "I want {x} this time.",
    "Can you find me {x}?",
    "Do you have {x}?",
    "Show me {x}.",
    "Need {x}.",
    "In the mood for {x}.",
    "Today I fancy {x}.",
    "What about {x}?",
    "Could I have {x}, please?",
    "Just {x}, nothing else matters.",
  ),
  held_out=(
    "Got {x}?",
    "I am after {x}.",
    "{x} would be great.",
    "Recommend me {x}.",
    "My wish for today is {x}.",
    "I could do with {x}.",
    "Let it be {x}.",
  ),
)
UNWANTED = Frames(
  train=(
    "{n} this time.",
    "{n} please.",
    "{n} pls.",
    "{n}, thanks.",
    "Please {n}.",
    "Anything, but {n}.",
    "Something new, {n} please.",
    "I want {n} for once.",
    "I have had enough of {m}.",
    "I am tired of {m}.",
    "Not {m} again.",
    "Anything but {m}.",
    "Please leave out {m}.",
    "I don't want {m}.",
    "Whatever you like, just not {m}.",
    "Surprise me, only {n}.",
  ),
  held_out=(
    "Spare me {m}.",
    "I would rather not have {m}.",
    "Enough with {m} for now.",
    "Everything is fine except {m}.",
    "Do not show me {m}.",
  ),
)
BOTH = Frames(
  train=(
    "{x}, but {n}.",
    "{x} but {n} please.",
    "{x}, {n} pls.",
    "I am looking for {x}, but {n}.",
    "I'd like {x}, just not {m}.",
    "Show me {x} and {n}.",
    "{x}, anything but {m}.",
    "I want {x}. And {n}, please.",
    "Do you have {x}? But {n}.",
    "Need {x}, not {m} though.",
  ),
  held_out=(
    "{x}, only please {n}.",
    "I am after {x}; spare me {m}.",
    "Recommend me {x}, except {m}.",
  ),
)
LIKE = Frames(
  train=(
    "Like {h}, but this time {x}.",
    "I liked {h}, now I want {x}.",
    "After {h} I feel like {x}.",
    "{h} is the kind I mean, but {x} please.",
    "Know {h}? Like that, but {x}.",
    "{h} was good. Now {x}.",
  ),
  held_out=(
    "In the spirit of {h}, only {x}.",
    "{h} suited me, so what about {x}?",
  ),
)
PERSON = Frames(
  train=(
    "I need a gift for my {who}: {x}.",
    "{x} for my {who}.",
    "My {who} would enjoy {x}.",
    "Looking for a present for my {who}, {x} maybe.",
    "It is for my {who}, so {x} please.",
    "For my {who}. Do you have {x}?",
  ),
  held_out=(
    "What would my {who} say to {x}?",
    "My {who} hopes for {x}.",
  ),
)
ASPECT = Frames(
  train=(
    "{x} with {aspect}.",
    "I am looking for {x}, and I care about {aspect}.",
    "{x} pls, {aspect} matters to me.",
    "I'd like {x}, as long as there is {aspect}.",
    "Best of all {x} with {aspect}.",
    "{x}. I value {aspect}.",
  ),
  held_out=(
    "Give me {x} and make sure of {aspect}.",
    "{aspect} first, and then {x}.",
  ),
)
OCCASION = Frames(
  train=(
    "{x} for {occasion}.",
    "I need {x} for {occasion}.",
    "It is for {occasion}: {x} please.",
    "For {occasion} I am looking for {x}.",
    "Any ideas for {occasion}? {x} maybe.",
    "{x} please, it is for {occasion}.",
  ),
  held_out=(
    "With {occasion} in mind, {x}.",
    "What suits {occasion}? I thought of {x}.",
  ),
)
USELESS = Frames(
  train=(
    "Surprise me.",
    "What would you recommend?",
    "Please be quick, I have only a minute.",
    "Hello, can you help me choose?",
    "Thank you for your help last time!",
    "I have no idea yet.",
    "Good morning.",
    "I trust your judgement.",
    "Just {one}, please.",
    "I want {one}.",
    "Any {many} for me?",
    "Something good, please.",
    "Something that I can {do} tonight.",
    "I am bored.",
    "Nothing special, I am only looking around.",
    "As always, please.",
    "You know what I like.",
    "I have a day off tomorrow.",
  ),
  held_out=(
    "Help me decide.",
    "It is raining here.",
    "Whatever you think is best.",
    "Let me see {many}.",
    "No hurry at all.",
    "My sister sent me here.",
  ),
)
DELIVERY = Frames(
  train=(
    "It must arrive by Friday.",
    "Can you wrap it as a present?",
    "I hope that delivery is free.",
    "Where is my last order?",
    "Do you take it back if it does not fit?",
  ),
  held_out=("Please ring twice when you deliver.", "I pay by card."),
)
"""Of no use either, where things are bought."""
GREETINGS = ("Hi, ", "Hello, ", "Hey, ", "Hi there, ")

CHEAP = ("not too expensive", "cheap if possible", "on a small budget")
MIDDLING = ("medium priced", "in the middle price range")
EXPENSIVE = ("at the upper end of the price range", "top of the range")
PRICES: Mapping[str, tuple[str, ...]] = {
  "cheap": CHEAP,
  "middling": MIDDLING,
  "expensive": EXPENSIVE,
}
GENRES: Mapping[str, tuple[str, str]] = {
  "drama": ("drama", "dramas"),
  "thriller": ("thriller", "thrillers"),
  "comedy": ("comedy", "comedies"),
  "documentary": ("documentary", "documentaries"),
  "musical": ("musical", "musicals"),
  "western": ("western", "westerns"),
  "horror": ("horror", "horror films"),
  "mystery": ("mystery", "mystery films"),
  "crime": ("crime", "crime films"),
  "sci-fi": ("sci-fi", "sci-fi films"),
  "fantasy": ("fantasy", "fantasy films"),
  "adventure": ("adventure", "adventure films"),
  "action": ("action", "action films"),
  "romance": ("romantic", "romantic films"),
  "children": ("children's", "children's films"),
  "animation": ("animated", "animated films"),
  "war": ("war", "war films"),
  "film-noir": ("noir", "noir films"),
  "imax": ("IMAX", "IMAX films"),
}
"""Genres of films as adjectives and as plurals; of two, the noun of the upper
one stands behind the other: "animated musicals", "crime dramas"."""
