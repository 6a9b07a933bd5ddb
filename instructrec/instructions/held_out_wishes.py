"""Wishes that no training row may have: what following is measured with.

HELD OUT. Never take a sentence from here into templates, teachers or training
data, and do not write cues for them: the figures on following would then say
nothing of people's own words.
"""

from instructrec.instructions.attributes import Attribute, Kind

WANTED: tuple[str, ...] = (
  "Have you got anything in the way of {a}?",
  "i'm really into {a} these days",
  "Thinking about {a} for the long weekend.",
  "ooh, {a}! yes, that sort of thing",
  "Would you mind pulling up {a}?",
  "{a}, if there are any left",
  "It has got to be {a} this time.",
  "we're all mad about {a} over here",
  "Point me towards {a}, would you",
  "My heart is set on {a}.",
  "hey, where do you keep {a}",
  "Nothing makes me happier than {a}.",
  "Let's go with {a}.",
  "Not sure what exactly, but {a} sounds about right.",
)
"""Each asks for {a}, "board games" or "things by Oakline"."""
UNWANTED: tuple[str, ...] = (
  "Please, whatever you like as long as it isn't {a}.",
  "{a}? I'd give those a miss.",
  "I've really gone off {a}.",
  "Could we steer clear of {a}?",
  "pick what you want but leave {a} out of it",
  "I can't face {a} right now",
  "Honestly, I never want to see {a} again.",
  "My shelf is full of {a}, so something different.",
  "no offence but {a} put me to sleep",
  "Take {a} off the list, please.",
  "I'm not the right person for {a}.",
  "ugh, not {a} again",
  "{a} have never worked for us",
  "Let's try it without {a} for a change.",
)
"""Each asks to be spared {a}."""
NONSENSE: tuple[str, ...] = (
  "blimp snorfle gantrium ok",
  "qwertz uiop asdf ghjk",
  "the moon is made of tuesday",
  "7 7 7 7 4 7",
  "lorem ipsum dolor sit amet consectetur",
  "hm",
  "how do i reset my password",
  "Twelve minus eleven, or the other way round?",
  "my parcel came on a wednesday",
  "zzzzzzzzzz",
)
"""None says anything of items."""
FOREIGN: tuple[str, ...] = (
  "Ich hätte gern etwas für einen ruhigen Abend.",
  "Je ne sais pas encore ce que je veux.",
  "Busco algo para el fin de semana.",
  "Vorrei qualcosa di nuovo per favore.",
  "Ik zoek iets leuks voor mijn zus.",
  "Jag vill gärna ha något roligt.",
  "Szukam czegoś na prezent.",
  "Quero algo diferente hoje.",
  "何かおすすめはありますか。",
  "Посоветуйте мне что-нибудь хорошее.",
)
"""None says anything of items, in whatever language."""


def phrase(attribute: Attribute, things: str = "things") -> str:
  """An attribute as what stands for {a}.

  Args:
    attribute: of a catalogue.
    things: what its items are called, in plural.

  Returns:
    Such as "puzzles", "things by Oakline" or "films from the 1990s".
  """
  name = attribute.name
  match attribute.kind:
    case Kind.CATEGORY:
      plural = name.endswith("s") and not name.endswith("ss")
      return name if plural else f"{name} {things}"
    case Kind.BRAND:
      return f"{things} by {name}"
    case Kind.PRICE:
      return f"{name} {things}"
    case Kind.DECADE:
      return f"{things} from the {name}"
    case _:
      # "Dinosaur" is a word, "Xbox 360" and "LEGO" are names.
      plain = name.istitle() and name.isalpha()
      return f"{name.lower() if plain else name} {things}"
