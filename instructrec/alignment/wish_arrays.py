"""What rows ask of lists, as the arrays that `evaluation.control` takes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from instructrec.alignment.constraint import PROPORTIONS, Constraint
from instructrec.data.catalog import Catalog
from instructrec.evaluation import control
from instructrec.evaluation.control import Direction
from instructrec.instructions.attributes import Attributes


class WishArrays:
  """Reads constraints against a catalogue.

  Args:
    items: the catalogue that the rows are about.
  """

  def __init__(self, items: Catalog) -> None:
    found = Attributes.of(items)
    self._masks = {
      attribute: found.mask(number)
      for number, attribute in enumerate(found.attributes)
    }
    self._num_items = len(items)

  def of(
    self,
    constraints: Sequence[Sequence[Constraint]],
    k: Int[np.ndarray, " lists"],
    history: Int[np.ndarray, "lists seen"],
  ) -> tuple[control.Wish, Bool[np.ndarray, "lists items"]]:
    """What is asked of lists, and which items have what is spoken of.

    Several constraints of wanted and unwanted are one wish, for the items that
    meet all of them.

    Args:
      constraints: of each row.
      k: how many items are asked for.
      history: places of each history in the catalogue; -1 where it has fewer.

    Returns:
      The wish, and a mask of the catalogue for each list.

    Raises:
      ValueError: for an attribute that no item has, or a proportion beside
        another constraint.
    """
    has = np.stack([self._mask(row) for row in constraints])
    shown = np.ones((len(constraints), self._num_items + 1), bool)
    # The last place stands for no item.
    np.put_along_axis(shown, history, False, axis=1)
    shown = shown[:, :-1]
    numbers = [
      row[0].number(int(size)) if row else 0
      for row, size in zip(constraints, k, strict=True)
    ]
    return (
      control.Wish(
        direction=np.array([int(_direction(row)) for row in constraints]),
        count=np.array(numbers),
        pool=(has & shown).sum(1),
        others=(~has & shown).sum(1),
      ),
      has,
    )

  def _mask(self, row: Sequence[Constraint]) -> Bool[np.ndarray, " items"]:
    """Items that meet all; of one that is unwanted, those that have it."""
    found = np.ones(self._num_items, bool)
    for constraint in row:
      mask = self._masks.get(constraint.attribute)
      if mask is None:
        raise ValueError(
          f"the constraint {str(constraint)!r} asks for what no item of the "
          "catalogue has; it is of other data"
        )
      unwanted = constraint.direction is Direction.UNWANTED
      found &= ~mask if unwanted and len(row) > 1 else mask
    return found


def _direction(row: Sequence[Constraint]) -> Direction:
  if not row:
    return Direction.PLAIN
  if len(row) == 1:
    return row[0].direction
  if any(constraint.direction in PROPORTIONS for constraint in row):
    raise ValueError(
      f"{[*map(str, row)]} has a proportion beside another constraint, which "
      "is not one wish; expected wanted and unwanted alone"
    )
  return Direction.WANTED
