"""The interface of teachers: who puts preferences and intentions into words."""

from collections.abc import Sequence
from typing import Protocol

from instructrec.data.catalog import Item


class Teacher(Protocol):
  """Writes what a user likes and wants, from what is known of them.

  Attributes:
    name: stands in the manifest of the data.
    version: changes when the same input may give other words.
  """

  name: str
  version: str

  def explicit_preference(
    self, history: Sequence[Item], review: str | None, *, key: int
  ) -> str:
    """A statement of taste in the third person (P2).

    Args:
      history: items, oldest first; not empty.
      review: the newest review in the history, if there is one.
      key: 64 random bits that choose among wordings.

    Returns:
      One or two sentences.
    """
    ...

  def vague_intention(
    self, items: Sequence[Item], review: str | None, *, key: int
  ) -> str:
    """A wish in the first person that names no product (I1).

    Args:
      items: what the wish is made from: the history, or the target.
      review: a review of it, if there is one.
      key: 64 random bits that choose among wordings.

    Returns:
      A sentence.
    """
    ...

  def specific_intention(self, item: Item, *, key: int) -> str:
    """A search query with the wanted item's attributes (I2).

    Args:
      item: what is looked for.
      key: 64 random bits that choose among wordings.

    Returns:
      A sentence; never the item's title.
    """
    ...
