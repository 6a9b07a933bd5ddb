"""The words and marks of a wish, and which of them are cues."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from instructrec.instructions import spoken, wish_cues
from instructrec.instructions.wish_cues import Cue

_PIECES = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|&|[^\w\s]|\n|_")
APOSTROPHES = str.maketrans(dict.fromkeys("\u00b4`\u02bc\u2018\u2032", "'"))
"""What is typed for an apostrophe: a translation that keeps places."""
_DASH = re.compile(r"\s[-\u2013\u2014]+\s|\u2014|--+")
_TAG = re.compile(r"<(?:[/!]?[A-Za-z]|!--)[^<>]*>")
_ARROW = re.compile(r"[-=]>")
_QUOTATION = re.compile(r"^[^\S\n]*>|>=", re.MULTILINE)
_STOPS = frozenset(".;:!?\n()")
_QUOTED = re.compile(
  rf"(?:\b(?:{'|'.join(wish_cues.NAMES_FOLLOW)})\s+)"
  '(["\u201c\u00ab][^"\u201d\u00bb]+["\u201d\u00bb])',
  re.IGNORECASE,
)
_FOREIGN = frozenset(
  (
    "ich und nicht der das dem den ein eine einen einem keine kein keinen "
    "bitte mit fur mir wir gern auch ist etwas mochte suche ohne aber oder "
    "lieber je le un une des pas avec pour sans moi quelque chose du et "
    "veux voudrais cherche ou mais qui el los las una quiero para con sin "
    "por algo que y pero busco il gli uno vorrei per senza qualcosa che di "
    "quero um uma sem os com algum mas ik een het geen van voor met graag "
    "iets niet wil jeg vil ikke jag inte och nao je ne les aux dans est "
    "anderes auf hasse lieben liebt mein meine meinem meinen mehr nichts nur "
    "sohn spielzeug tochter von zum zur aime cadeau de deteste enfant fille "
    "mes mon ni nous rien sauf veut gusta gustan hija hijo juguetes nada odio "
    "quiere regalo figlia figlio mio niente voglio alsjeblieft dochter haat "
    "houdt mijn zonder zoon gillar hatar uden uten utan filha filho gosta bez "
    "chce chci dla hledam lubi nechci nie prosim prosze szukam en ei etsin "
    "haluan ilman kiitos minulle bir degil icin istemiyorum istiyorum lutfen "
    "olmasin bukan saya tanpa tidak untuk yang fara pentru vreau kerek nelkul "
    "nem szeretnek khong muon"
  ).split()
)
_OTHER_SCRIPTS = 0x370
"""The first letter behind most of the Latin script: Greek and the others."""
_ENGLISH = frozenset(
  (
    "the and with for i a my to of is it any some something please you we "
    "he she they that this or anything have at be would"
  ).split()
)


@dataclasses.dataclass(slots=True)
class Piece:
  """A word, a mark, a cue or a thing, in the order of the text."""

  text: str
  start: int
  stop: int
  cue: Cue | None = None
  thing: int | None = None
  is_prefix: bool = False
  """Whether a hyphen joins it to the word behind: "no" of "no-mess kits"."""

  @property
  def is_stop(self) -> bool:
    """Whether a sentence, or a part of it, ends here."""
    return self.text in _STOPS or self.text == "--"

  @property
  def is_mark(self) -> bool:
    """Whether a clause ends here."""
    return self.is_stop or self.text == ","


def without_titles(text: str, titles: Iterable[str]) -> str:
  """Blanks titles: all of several words, and those that are quoted."""
  folded = text.casefold()
  for title in sorted(titles, key=len, reverse=True):
    # Most titles of a history are not in the text, and patterns take long.
    if not all(word.casefold() in folded for word in title.split()):
      continue
    words = r"\s+".join(map(re.escape, title.split()))
    before = after = ""
    if len(title.split()) == 1:
      before, after = "[\"'\u201c\u00ab]", "[\"'\u201d\u00bb]"
      text = re.sub(rf"(?<=\blike ){words}\b", _blank, text, flags=re.I)
    text = re.sub(f"{before}{words}{after}", _blank, text, flags=re.I)
  return _QUOTED.sub(
    lambda found: (
      found[0][: found.start(1) - found.start()] + "_" * len(found[1])
    ),
    text,
  )


def _blank(found: re.Match[str]) -> str:
  return "_" * len(found[0])


def _spaces(found: re.Match[str]) -> str:
  return " " * len(found[0])


def pieces(text: str) -> list[Piece]:
  """Words and marks; dashes between words are stops, other marks nothing.

  "+kites -puzzles" is "; kites minus puzzles", and "kites > puzzles" is "kites
  over puzzles". Tags and the ">" of a quotation say nothing; "->" is a stop.
  What is written in another script is a word that nothing is called.
  """
  text = _TAG.sub(_spaces, text.translate(APOSTROPHES))
  text = _QUOTATION.sub(_spaces, _ARROW.sub("; ", text))
  dashes = {found.start() for found in _DASH.finditer(text)}
  result: list[Piece] = []
  for found in _PIECES.finditer(text):
    start, stop = found.span()
    words = spoken.words(found[0])
    before = text[:start][-1:]
    if before == "-" and words in (["free"], ["less"]):
      result.append(Piece(f"-{words[0]}", start, stop))
    elif words:
      result += [Piece(word, start, stop) for word in words]
      joins = text[stop : stop + 1] == "-"
      result[-1].is_prefix = joins and text[stop + 1 : stop + 2].isalnum()
      result += _of_other_scripts(found)
    elif found[0] in _STOPS or found[0] == ",":
      result.append(Piece(found[0], start, stop))
    elif found[0] == ">":
      result.append(Piece("over", start, stop))
    elif found[0] in "+-" and not before.strip() and text[stop:][:1].isalpha():
      result.append(Piece("minus" if found[0] == "-" else ";", start, stop))
    elif start in dashes or start - 1 in dashes:
      result.append(Piece("--", start, stop))
    else:
      result += _of_other_scripts(found)
  return result


def _of_other_scripts(found: re.Match[str]) -> list[Piece]:
  """What of a word is in another script; a sign such as pi is no word."""
  letters = [c for c in found[0] if c.isalpha() and ord(c) >= _OTHER_SCRIPTS]
  own = [c for c in letters if not unicodedata.name(c, "").startswith("LATIN")]
  return [Piece("".join(own), *found.span())] if len(own) > 1 else []


def with_persons(
  pieces: Sequence[Piece], is_thing: Callable[[str], bool]
) -> list[Piece]:
  """Joins "my son" and the like to one word, "me".

  Args:
    pieces: words and marks.
    is_thing: whether a word is a name of the catalogue.

  Returns:
    What is wished for by or for somebody else is read as if for oneself.
  """
  result: list[Piece] = []
  for piece in pieces:
    owner = result[-1] if result else None
    if (
      owner is not None
      and owner.text in wish_cues.OWNERS
      and piece.text in wish_cues.PERSONS
      and not is_thing(piece.text)
    ):
      result[-1] = Piece("me", owner.start, piece.stop)
    else:
      result.append(piece)
  return result


def is_foreign(pieces: Sequence[Piece]) -> bool:
  """Whether more words are of another language than of English; not names."""
  words = [
    word
    for piece in pieces
    if piece.thing is None and piece.cue is None
    for word in piece.text.split()
  ]
  foreign = sum(word in _FOREIGN or not word.isascii() for word in words)
  return foreign > sum(word in _ENGLISH for word in words)


def cue_at(pieces: Sequence[Piece], place: int) -> tuple[int, Cue | None]:
  """The longest cue that begins at a word: its size and what it does.

  Words of emphasis may stand between its words: "not really into".
  """
  words = [piece.text for piece in pieces[place : place + wish_cues.LONGEST]]
  found = _longest(words)
  if any(word in wish_cues.EMPHASIS for word in words[1:]):
    kept = [0] + [
      at
      for at, word in enumerate(words[1:], start=1)
      if word not in wish_cues.EMPHASIS
    ]
    size, cue = _longest([words[at] for at in kept])
    if cue is not None and kept[size - 1] + 1 > found[0]:
      found = kept[size - 1] + 1, cue
  lacks = found[1] is Cue.NEUTRAL and words[found[0] - 1] == "no"
  if lacks or (found[1] is Cue.BACKWARD and found[0] > 1):
    # "I have no kites" is a lack, "I have no interest in kites" is not;
    # "kites, please don't", but "please don't bother me with kites".
    rest = [piece.text for piece in pieces[place + found[0] - 1 :]]
    said = [word for word in rest if word not in wish_cues.EMPHASIS]
    if _longest(said[: wish_cues.LONGEST])[0] > 1:
      return 0, None
  if found[1] is None and words[0] in wish_cues.CONDITIONAL:
    return 1, Cue.NEGATES
  return found


def _longest(words: Sequence[str]) -> tuple[int, Cue | None]:
  for size in range(len(words), 0, -1):
    cue = wish_cues.CUES.get(tuple(words[:size]))
    if cue is not None:
      return size, cue
  return 0, None


def is_one_off(a: str, b: str) -> bool:
  """Whether one letter more, less, other or swapped makes one the other."""
  if len(a) > len(b):
    a, b = b, a
  same = next(
    (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a)
  )
  if len(a) < len(b):
    return a[same:] == b[same + 1 :]
  rest = a[same + 1 :] == b[same + 1 :]
  swapped = a[same : same + 2] == b[same : same + 2][::-1]
  return rest or (swapped and a[same + 2 :] == b[same + 2 :])
