"""How many items of a list may have something, and the lists that obey."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Limit:
  """How many items of a list may have something.

  Attributes:
    having: which items of the catalogue have it.
    most: how many.
  """

  having: Bool[np.ndarray, " items"]
  most: int


def first(
  order: Int[np.ndarray, " places"], limits: Sequence[Limit], k: int | None
) -> Int[np.ndarray, " first"]:
  """The first items of an order that exceed no limit.

  Args:
    order: positions in the catalogue, the best first.
    limits: of the list.
    k: how many items; None for all.

  Returns:
    The positions, in the same order.
  """
  if not limits:
    return order[:k]
  kept, left = list[int](), [limit.most for limit in limits]
  for place in order.tolist():
    if len(kept) == k:
      break
    touched = [i for i, limit in enumerate(limits) if limit.having[place]]
    if all(left[i] for i in touched):
      kept.append(place)
      for i in touched:
        left[i] -= 1
  return np.array(kept, np.int64)
