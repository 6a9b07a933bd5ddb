"""The names of attributes in a text.

The longest name counts; words of five letters and more may be misspelt by one
letter that is not their first.
"""

import itertools
from collections.abc import Sequence

from instructrec.instructions import spoken, wish_cues, wish_pieces
from instructrec.instructions.attributes import Attributes
from instructrec.instructions.wish_cues import Cue
from instructrec.instructions.wish_pieces import Piece

_LONG_WORD = 5
# Words whose meaning is remembered: whoever serves reads words without end.
_MOST_REMEMBERED = 100_000


class WishNames:
  """Finds names, and cues beside them.

  Args:
    attributes: of the catalogue.
  """

  def __init__(self, attributes: Attributes) -> None:
    self._spoken = attributes.spoken
    self._longest = max(map(len, attributes.spoken), default=0)
    said = {word for key in attributes.spoken for word in key}
    # Names alone: "eight" is no misspelling of "eighties".
    names = {w for a in attributes.attributes for w in spoken.words(a.name)}
    forms = names | {spoken.singular(word) for word in names}
    # By first letter and length, which a misspelling nearly keeps.
    self._spelt: dict[tuple[str, int], list[str]] = {}
    for word in sorted(forms | {f"{spoken.singular(w)}s" for w in names}):
      if len(word) >= _LONG_WORD:
        self._spelt.setdefault((word[0], len(word)), []).append(word)
    self._longest_word = max((size for _, size in self._spelt), default=0) + 1
    self._with_commas = {
      spoken.key(a.name): number
      for number, a in enumerate(attributes.attributes)
      if "," in a.name
    }
    self._misspelt: dict[str, tuple[str, ...]] = {}
    self._known = (
      said
      | attributes.words
      | wish_cues.SPELT_RIGHT
      | wish_cues.WORDS
      | wish_cues.ENDS
      | wish_cues.CONTINUES
      | wish_cues.FILLERS
    )

  def joined(self, pieces: Sequence[Piece]) -> list[Piece]:
    """Joins words to cues and to things; the longer reading counts.

    Args:
      pieces: words and marks.

    Returns:
      Words, marks, cues and things, in order.
    """
    result: list[Piece] = []
    place = 0
    while place < len(pieces):
      cue_size, cue = wish_pieces.cue_at(pieces, place)
      size, thing = self._thing_at(pieces, place)
      # "Love" is a wish, and "Love Letter" a thing.
      if size > cue_size:
        cue = None
      elif cue_size:
        size, thing = cue_size, None
      size = max(size, 1)
      joined = pieces[place : place + size]
      if size == 1 and cue is Cue.NEGATES and joined[0].is_prefix:
        cue = Cue.NEXT_ONLY  # "No-mess kits" are kits.
      result.append(
        Piece(
          " ".join(piece.text for piece in joined),
          joined[0].start,
          joined[-1].stop,
          cue,
          thing,
        )
      )
      place += size
    return result

  def is_name(self, word: str) -> bool:
    """Whether a word alone names an attribute."""
    return (spoken.singular(word),) in self._spoken

  def cue_word(self, word: str) -> str:
    """A word of a cue for its misspelling, any other word as it is."""
    if len(word) < _LONG_WORD or word in self._known:
      return word
    found = [
      cue
      for cue in wish_cues.MISSPELT
      if cue[0] == word[0] and wish_pieces.is_one_off(cue, word)
    ]
    return found[0] if found else word

  def _thing_at(
    self, pieces: Sequence[Piece], place: int
  ) -> tuple[int, int | None]:
    """The longest name that begins at a word: its size and its attribute."""
    long_name = self._name_with_commas(pieces, place)
    if long_name is not None:
      return long_name
    words = []
    for piece in pieces[place : place + self._longest]:
      if piece.is_mark:
        break
      words.append(piece.text)
    keys = tuple(map(spoken.singular, words))
    for size in range(len(words), 0, -1):
      if keys[:size] in self._spoken:
        return size, self._spoken[keys[:size]]
    options = [
      (key, *self._meant(w)) for key, w in zip(keys, words, strict=True)
    ]
    for size in range(len(words), 0, -1):
      if any(len(option) > 1 for option in options[:size]):
        found = {
          self._spoken[key]
          for key in itertools.product(*options[:size])
          if key in self._spoken
        }
        if found:
          # Numbers go by kind, categories first.
          return size, min(found)
    return 0, None

  def _name_with_commas(
    self, pieces: Sequence[Piece], place: int
  ) -> tuple[int, int] | None:
    """Names such as "tricycles, scooters & wagons", which are no lists."""
    if pieces[place].is_mark or not self._with_commas:
      return None
    key: list[str] = []
    found = None
    for size, piece in enumerate(pieces[place:], start=1):
      if piece.is_stop or len(key) == self._longest:
        break
      if not piece.is_mark:
        key.append(spoken.singular(piece.text))
        number = self._with_commas.get(tuple(key))
        found = found if number is None else (size, number)
    return found

  def _meant(self, word: str) -> tuple[str, ...]:
    """What a misspelt word may be, in singular."""
    if not _LONG_WORD <= len(word) <= self._longest_word:
      return ()  # Nor is it remembered, however long it is.
    if word not in self._misspelt:
      if len(self._misspelt) == _MOST_REMEMBERED:
        self._misspelt.clear()
      self._misspelt[word] = self._look_up(word)
    return self._misspelt[word]

  def _look_up(self, word: str) -> tuple[str, ...]:
    if not word.isalpha():
      return ()
    if word in self._known or spoken.singular(word) in self._known:
      return ()
    return tuple(
      dict.fromkeys(
        spoken.singular(known)
        for size in range(len(word) - 1, len(word) + 2)
        for known in self._spelt.get((word[0], size), ())
        if wish_pieces.is_one_off(known, word)
      )
    )
