"""The interface of teachers: who puts preferences and intentions into words."""

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol

from instructrec.data.catalog import Item
from instructrec.instructions.wish import Wish


class TextKind(enum.StrEnum):
  """What a teacher writes; after the InstructRec paper, section 3.2.1."""

  PREFERENCE = "P2"
  """A statement of taste, in the third person."""
  VAGUE = "I1"
  """A wish in the first person that names no product."""
  VAGUE_SECOND = "I1*"
  """The same wish in other words, seen from the user's side as well."""
  SPECIFIC = "I2"
  """A search query with attributes of the wanted item; never its title."""
  OWN_PREFERENCE = "P2_own"
  """A statement of taste, in the first person: it stands as a query."""

  @property
  def is_preference(self) -> bool:
    """Whether it states a taste and not a wish."""
    return self in (TextKind.PREFERENCE, TextKind.OWN_PREFERENCE)


@dataclasses.dataclass(frozen=True, slots=True)
class TextRequest:
  """One text to write.

  Attributes:
    kind: what.
    items: what it is made from, oldest first; not empty.
    review: a review of one of them in the user's words, if there is one.
    history: the user's side, for the second wording; may be empty.
    hidden_title: what the text must not say; never shown to a chat model.
    key: 64 random bits that choose among wordings.
    wish: what a stated wish says; None for other texts.
    words: the same in words by rule, which a teacher may put in its own.
  """

  kind: TextKind
  items: tuple[Item, ...]
  review: str | None
  history: tuple[Item, ...]
  hidden_title: str
  key: int
  wish: Wish | None = None
  words: str | None = None


class Teacher(Protocol):
  """Writes what a user likes and wants, from what is known of them.

  Attributes:
    name: stands in the manifest of the data.
    version: changes when the same input may give other words.
  """

  name: str
  version: str

  def write(self, requests: Sequence[TextRequest]) -> list[str]:
    """Writes texts; the same requests give the same texts.

    Args:
      requests: what to write; a teacher may work on them at once.

    Returns:
      One text a request, in order: one or two sentences on one line, the
      last with its full stop.
    """
    ...
