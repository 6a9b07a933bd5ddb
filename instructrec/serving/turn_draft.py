"""A message while it is read: its words, and what they ask for so far."""

from instructrec.instructions import wish_reader
from instructrec.serving import item_names, item_shelf, message_words
from instructrec.serving.turn_acts import Act, Before, Do

SKIPPED = frozenset(
  "the a an your my our any of to for about me more no".split()
)
"""Words that may stand before a thing."""


class TurnDraft:
  """One message, and which of its words were taken.

  Args:
    text: of the message.
    before: what it may refer to.
    shelf: the items.
    names: their names.
    wishes: finds what items have.

  Attributes:
    message: its words.
    before: see above.
    shelf: see above.
    taken: which words have said what they ask for.
    acts: what was read, in no order.
  """

  def __init__(
    self,
    text: str,
    before: Before,
    shelf: item_shelf.Shelf,
    names: item_names.ItemNames,
    wishes: wish_reader.WishReader,
  ) -> None:
    self.message = message_words.MessageWords(text, wishes)
    self.before, self.shelf, self._names = before, shelf, names
    self.taken = [False] * len(self.message.tokens)
    self.acts: list[Act] = []
    self._items_at: dict[int, item_names.Named | None] = {}

  def add(self, do: Do, start: int, stop: int, **values: object) -> int:
    """Takes the words of some places for what they ask; where they end."""
    self.note(do, start, stop, **values)
    self.taken[start:stop] = [True] * (stop - start)
    return stop

  def note(self, do: Do, start: int, stop: int, **values: object) -> None:
    """Keeps what some words ask, and leaves them to be read on."""
    words = self.message.said(start, stop)
    letter = self.message.tokens[start].start()
    self.acts.append(Act(do, words, letter, **values))  # type: ignore[arg-type]

  def unknown(self, start: int, stop: int, why: str) -> int:
    """Takes words that ask for something unknown; where they end."""
    return self.add(Do.UNKNOWN, start, stop, why=why)

  def thing(self, place: int) -> tuple[int, int] | None:
    """The thing that is named at a place, articles and the like aside."""
    while self.message.word(place) in SKIPPED:
      place += 1
    return self.message.things.get(place)

  def named(self, place: int) -> item_names.Named | None:
    """The items that are named at a place; see `ItemNames.at`."""
    if place not in self._items_at:
      shown = self.before.shown
      self._items_at[place] = self._names.at(self.message, place, shown)
    return self._items_at[place]
