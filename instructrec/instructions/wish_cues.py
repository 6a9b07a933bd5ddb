"""What turns a wish around: the cues that `wish_reader` goes by.

Phrases stand in `wish_cues.yaml`, written as `spoken.words` gives words: no
case, no apostrophes ("don't" is `dont`, "what's" is `what`). The longest phrase
counts.
"""

import enum
import importlib.resources
import re
from collections.abc import Iterator, Mapping

import yaml


class Cue(enum.Enum):
  """What a phrase does to the things named near it."""

  NEGATES = "what follows is not wanted"
  EXCEPTS = "the same; under a negation it is wanted: nothing but"
  DISLIKES = "the same; under a negation it is wanted again"
  BACKWARD = "what was named just before is not wanted"
  NEXT_ONLY = "the very next thing is not wanted"
  LAST_ONLY = "the very last thing is not wanted"
  BAD = "what is said to be so is not wanted: is dull, makes me cry"
  SOUR = "its clause is not wanted, where no other cue says so of it"
  AT_START = "as DISLIKES, where a clause begins"
  CONTINUES = "what follows is said as before"
  NEUTRAL = "sounds like a negation and is none"
  POSITIVE = "what follows is wanted, unless the phrase itself is negated"
  BREAKS = "what follows is said anew"


CONDITIONAL: Mapping[str, frozenset[str]] = {
  "than": frozenset(
    (
      "rather sooner prefer prefers preferably better best more nicer greater "
      "stronger superior beats finer"
    ).split()
  ),
  "over": frozenset(
    ("prefer", "prefers", "pick", "take", "choose", "favour", "favor")
  ),
  "to": frozenset(("prefer", "prefers")),
  "beat": frozenset(),
  "beats": frozenset(),
  "trump": frozenset(),
  "trumps": frozenset(),
}
"""Words that negate what follows where one of others came before them."""

BEATS = frozenset("beat beats over trump trumps".split())
"""Those of them that always do so between two things."""
QUESTIONS = frozenset(
  (
    "arent cant couldnt didnt doesnt dont hasnt havent isnt shouldnt wasnt "
    "wont wouldnt"
  ).split()
)
"""Words that deny nothing where a question begins with them."""
PERSONS = frozenset(
  (
    "aunt baby boss boy boys boyfriend brother brothers child children "
    "colleague cousin dad daughter daughters family father fiance friend "
    "friends girl girlfriend girls grandchild grandchildren granddaughter "
    "grandkids grandma grandpa grandson guests husband kid kids lad mom mother "
    "mum neighbour neighbor nephew nephews niece nieces parents partner "
    "roommate sister sisters son sons spouse students toddler uncle wife"
  ).split()
)
"""Behind "my" and the like they are read as "me"."""
OWNERS = frozenset("my our his her their the".split())
ANYTHING = frozenset(
  (
    "albums anything articles books everything films games gear items movies "
    "music none nothing one ones products something stuff things toys"
  ).split()
)
"""Words that a price may follow behind a comma: "nothing, top of the range"."""
ITS = frozenset("it its that thats theyre".split())
"""Behind the comma of "the one thing I hate, it's puzzles"."""
UNIVERSAL = frozenset(
  (
    "all any anybody anyone anything every everybody everyone everything "
    "everywhere something whatever"
  ).split()
)
"""Words that make "but" take something out: "any colour but pink"."""
EXEMPTING = frozenset(
  "apart aside bar barring except excepting other save with".split()
)
"""Words that begin what is wanted all the same: "no kites except ..."."""
EMPHASIS = frozenset(
  (
    "absolutely actually all already always awfully bloody completely damn "
    "definitely entirely especially even ever exactly frankly fully honestly "
    "just much overly particularly personally pretty quite really remotely "
    "right seriously simply strictly slightly so somewhat terribly that "
    "thoroughly too totally truly utterly very well whatsoever"
  ).split()
)
"""Words that may stand between the words of a cue."""
SEPARABLE = frozenset(
  (
    "boot call chuck clear count cross cut cutting drive filter filtering get "
    "give keep keeping kept kick lay leave leaving left let lock pack phase "
    "push put puts putting rule ruling screen send shove shut store strike "
    "take taking throw throwing toss turn wave weed weeding write"
  ).split()
)
HAVING = frozenset("bought got has have own owned".split())
"""Before a thing that is had already: "I have kites already"."""
PARTICLES = frozenset("alone aside away behind down home off out".split())
"""Behind a thing, and a word of `SEPARABLE` before it: "leave kites out"."""
EXCHANGES = frozenset(
  (
    "change changed exchange move moved moving replace replaces replaced "
    "replacing swap swapped swapping switch switched switching trade trading"
  ).split()
)
FOR = frozenset("for into to with".split())
"""Behind what is exchanged: "swap puzzles for kites"."""
INTERJECTIONS = frozenset(
  ("adieu bleh boo bye ew eww farewell goodbye meh ugh yikes yuck").split()
)
"""They may be about what comes after their comma."""
BESIDE_THING = frozenset(("over", "why"))
"""Of the words that begin clauses, those that need their thing at once."""
DENIALS = frozenset("hell nah never no nope not".split())
"""Answers that begin so deny what follows where nothing came before."""
POLITE = frozenset("and can could just kindly may please pls you".split())
"""Words before an order that begins a clause."""
JOINERS = frozenset(("or", "nor", "and"))
CONTINUES = JOINERS | frozenset(
  (
    "a about again all an any anymore anything at by covered ever either from "
    "full in kind kinds like of on other our please related set some sort "
    "sorts something stuff such style thanks that the their themed these "
    "thing things this those time today toy toys type types various your "
    "versions whatsoever with more another album albums book books film films "
    "game games item items movie movies"
  ).split()
)
"""Words between two things that are turned around together."""
ENDS = frozenset(
  (
    "am are as be been being can could did do does for go had has have he her "
    "him his i id if ill im is it its ive me mine my now she should so they "
    "theyre to was we were when where which who whom will would you"
  ).split()
)
"""Words that end a negation whose thing was named."""
LINKS = frozenset(
  (
    "are be been became become bring brings feel feels felt gave get gets give "
    "gives got is look looks made make makes r seem seems sound sounds was were"
  ).split()
)
"""Words that say of a thing what it is or does."""
FINDS = frozenset(
  "call called consider considers find finds found think thought".split()
)
"""Words before a thing that say of it what follows: "I find kites dull"."""
AUXILIARIES = frozenset(
  (
    "am are be been can could did do does had has have is just may might "
    "really simply was were will"
  ).split()
)
"""Words between a thing and what is denied of it."""
DENY_VERBS = QUESTIONS | frozenset(
  (
    *"aint barely cannot did do does hardly mustnt neednt never".split(),
    *"rarely scarcely seldom werent".split(),
    "no longer",
  )
)
"""Words that begin what denies a verb: "kites never", "kites do not"."""
RELATIVES = frozenset(("that", "which", "who"))
"""Behind a thing they begin what is said of some of them alone."""
FILLERS = frozenset(
  (
    "again ah all and any anymore anyway at ever for forever god gosh honestly "
    "i im it jeez lord me more now of oh one ones personally please really "
    "simply sorry thank "
    "thanks that the them these they this those to today too us we you"
  ).split()
)
"""Words that may stand beside a cue whose thing was named before."""
MISSPELT = (
  "anything",
  "avoid",
  "dislike",
  "enough",
  "everything",
  "except",
  "instead",
  "never",
  "nothing",
  "rather",
  "spare",
  "tired",
  "without",
)
"""Words of cues that are read with a letter wrong; the shorter ones are not."""
NAMES_FOLLOW = (
  "like",
  "in the spirit of",
  "similar to",
  "enjoyed",
  "loved",
  "liked",
  "after",
)
"""A quotation behind these is a title."""
ORDINARY = frozenset(
  (
    "about above active adult adults after afternoon again against allowed "
    "almost along already always amount another anyone around aunt autumn "
    "basically because before better between bigger birthday bored boring "
    "bought boyfriend bring brother buying cannot challenging cheap cheaper "
    "child children clean clear clever close color colors colour costs could "
    "couple cousin cover daughter decent different dollars dozen early easier "
    "either enjoy euros evening every excited exciting expect father favorite "
    "favourite feels finally finds finish finished first floor found fresh "
    "friend friends front fully gifts girlfriend given gives going grand "
    "grandma grandpa grandson great guess hands happy harder having heard "
    "heavy hello helps holiday holidays hours house houses husband ideas "
    "interesting kinda known knows large larger later laugh learn learned "
    "learning least leave light liked likes listen local longer looked "
    "looking looks loved lovely loves makes maybe means might minds minute "
    "minutes modern moment money month months morning mother myself nearly "
    "needed needs nephew never nicer niece night nothing office often older "
    "order other owned owner parents party people perhaps person persons "
    "pieces place plain played player playing plays please plenty point "
    "popular possibly pounds prefer present presents pretty price priced "
    "prices problem quality quick quiet quite rather reading reads ready "
    "really reason recent recently relaxing right round season second seems "
    "sense serious several share sharp sheet short shorter should similar "
    "simple since sister sixth sleep small smaller smart solid solve somebody "
    "someone sorry sound spare special spend stand start started starts stays "
    "still store strong stuck stuff suggest surprise takes talks taste tells "
    "thank thanks their theme there these thick thing things think thinking "
    "those though thought three throw tight times tired today toddler tonight "
    "total touch tough tried trips trust turned turns uncle under until using "
    "usual vacation visit wanna wants watch watched weekend weeks whatever "
    "whenever where which while white whole without woman wonder woods words "
    "worked works world worry worth would write writes wrong years young "
    "younger yours yourself"
  ).split()
)
"""Words of wishes that are no attributes and no misspellings."""
SPELT_RIGHT = ORDINARY | frozenset(
  (
    "babies chair christmas classic family garden heart hobbies hobby horse "
    "horses kitchen mouse school series skill space spring story summer table "
    "teacher train trains travel water winter"
  ).split()
)
"""Words of wishes that are no misspellings."""


_TOKEN = re.compile(r"[^\s|()\[\]]+|[|()\[\]]")
_Phrases = frozenset[tuple[str, ...]]


class _Phrasing:
  """Reads the notation of `wish_cues.yaml`, which explains it.

  Args:
    text: one phrase of the table.
    classes: the phrases that `<name>` stands for.
  """

  def __init__(self, text: str, classes: Mapping[str, _Phrases]) -> None:
    self._text = text
    self._tokens = _TOKEN.findall(text)[::-1]
    self._classes = classes

  def phrases(self) -> _Phrases:
    """All that it stands for, as words."""
    found = self._options()
    if self._tokens:
      raise ValueError(f"{self._text!r} closes a bracket that is not open")
    return found

  def _options(self) -> _Phrases:
    found = self._sequence()
    while self._tokens and self._tokens[-1] == "|":
      self._tokens.pop()
      found |= self._sequence()
    return found

  def _sequence(self) -> _Phrases:
    found: _Phrases = frozenset(((),))
    while self._tokens and self._tokens[-1] not in ("|", "]", ")"):
      after = self._element(self._tokens.pop())
      found = frozenset(one + other for one in found for other in after)
    return found

  def _element(self, token: str) -> _Phrases:
    if token in ("[", "("):
      found = self._options()
      end = self._tokens.pop() if self._tokens else None
      if end != {"[": "]", "(": ")"}[token]:
        raise ValueError(f"{self._text!r} leaves a bracket open")
      return found | {()} if token == "(" else found
    if token.startswith("<"):
      if token[1:-1] not in self._classes:
        raise ValueError(
          f"{self._text!r} has the class {token}, expected one of "
          f"{sorted(self._classes)}"
        )
      return self._classes[token[1:-1]]
    words: set[str] = set()
    for word in token.split("/"):
      words |= _inflected(word[:-1]) if word.endswith("~") else {word}
    return frozenset((word,) for word in words)


def _inflected(verb: str) -> set[str]:
  """The forms of a regular verb: hate, hates, hated, hating."""
  stem = verb.removesuffix("e")
  third = f"{verb}es" if verb.endswith(("s", "x", "sh", "ch", "z")) else ""
  past = f"{stem}ed"
  if verb.endswith("y") and verb[-2] not in "aeou":
    third, past = f"{verb[:-1]}ies", f"{verb[:-1]}ied"
  return {verb, third or f"{verb}s", past, f"{stem}ing"}


def phrases(
  text: str, classes: Mapping[str, _Phrases]
) -> Iterator[tuple[str, ...]]:
  """The phrases of a row of the table.

  Args:
    text: in the notation of `wish_cues.yaml`.
    classes: the phrases that `<name>` stands for.

  Yields:
    The words of each.

  Raises:
    ValueError: where a bracket has no other, or a class is unknown.
  """
  # A line that ends within a row of words goes on.
  for phrase in re.sub(r"/\s+", "/", text).split(","):
    for words in _Phrasing(phrase, classes).phrases():
      if words:
        yield words


def _compile() -> dict[tuple[str, ...], Cue]:
  folder = importlib.resources.files("instructrec.instructions")
  table = yaml.safe_load((folder / "wish_cues.yaml").read_text("utf-8"))
  classes: dict[str, _Phrases] = {}
  for name, text in table["classes"].items():
    classes[name] = frozenset(phrases(text, classes))
  found: dict[tuple[str, ...], Cue] = {}
  for name, text in table["cues"].items():
    cue = Cue[name.upper()]
    for words in phrases(text, classes):
      if found.setdefault(words, cue) is not cue:
        raise ValueError(
          f"the cue {' '.join(words)!r} stands in two rows of wish_cues.yaml, "
          f"{found[words].name.lower()} and {name}"
        )
  return found


CUES = _compile()
LONGEST = max(map(len, CUES))
WORDS = frozenset(word for phrase in CUES for word in phrase)
