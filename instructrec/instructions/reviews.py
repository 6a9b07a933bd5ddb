"""What a review says of an item: aspects, people, occasions."""

import functools
import re

from instructrec.instructions import keyphrases

_PURPOSE = re.compile(
  r"\bfor (?:my|our|his|her) ((?:\w+[- ])?(?:nephew|niece|son|daughter|"
  r"grandson|granddaughter|husband|wife|sister|brother|mother|father|mom|dad|"
  r"kids?|boys?|girls?|friends?|family|boyfriend|girlfriend|children))\b",
  re.IGNORECASE,
)
_OCCASIONS = {
  "a birthday": "birthday",
  "Christmas": "christmas xmas",
  "a party": "party",
  "a long flight": "plane flight airplane",
  "a long drive": "roadtrip",
  "a rainy day": "rainy",
  "a holiday": "vacation holiday holidays",
  "the weekend": "weekend weekends",
  "family evenings": "evenings",
}
_OCCASION_OF = {
  word: name for name, words in _OCCASIONS.items() for word in words.split()
}
_SENTENCE = re.compile(r"[^.!?;\n]+")
_GOOD = frozenset(
  "love loved loves great good excellent awesome amazing fantastic fun perfect "
  "perfectly best nice enjoy enjoyed enjoys beautiful solid superb recommend "
  "happy favorite favourite wonderful brilliant".split()
)
_BAD = frozenset(
  "bad poor poorly terrible awful horrible boring broken broke worst cheaply "
  "flimsy disappointing disappointed waste annoying weak useless hate hated "
  "frustrating repetitive lacking".split()
)
_NEGATIONS = frozenset("not no never isn't wasn't don't didn't hardly".split())
_ASPECTS = {
  "a good story": "story storyline plot",
  "good looks": "graphics visuals looks design",
  "good sound": "sound music soundtrack audio",
  "easy handling": "controls control handling easy simple",
  "lasting quality": "quality sturdy durable build lasts",
  "value for money": "price value money cheap",
  "playing with others": "multiplayer coop co-op online friends together",
  "a challenge": "challenge challenging hard difficult difficulty",
  "humour": "funny humor humour hilarious",
  "comfort": "comfortable comfort soft fits",
  "lots to do": "long hours replay content variety",
  "things that children can handle": "kids kid son daughter children",
}
_ASPECT_OF = {
  word: aspect for aspect, words in _ASPECTS.items() for word in words.split()
}


def person(review: str | None) -> str | None:
  """Whom a review says the item was for.

  Args:
    review: its text.

  Returns:
    Such as "nephew"; None where it does not say.
  """
  found = _PURPOSE.search(review or "")
  return found[1].lower() if found else None


def occasion(review: str | None) -> str | None:
  """What a review says the item was for.

  Args:
    review: its text.

  Returns:
    Such as "a birthday"; None where it does not say.
  """
  words = keyphrases.tokens(review or "")
  return next((_OCCASION_OF[w] for w in words if w in _OCCASION_OF), None)


@functools.lru_cache(maxsize=4096)
def opinion(review: str | None) -> tuple[str, bool] | None:
  """The first aspect that a review praises or complains of.

  Args:
    review: its text.

  Returns:
    The aspect, and whether it is praised; None where there is none.
  """
  for sentence in _SENTENCE.findall(review or ""):
    words = keyphrases.tokens(sentence)
    aspect = next((_ASPECT_OF[w] for w in words if w in _ASPECT_OF), None)
    if aspect is None:
      continue
    found = set(words)
    balance = len(found & _GOOD) - len(found & _BAD)
    if balance:
      return aspect, (balance > 0) != bool(found & _NEGATIONS)
  return None
