"""What wishes that are read by rule add to the scores of candidates."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.instructions import wish_reader

_Scores = Float[np.ndarray, "requests candidates"]


@dataclasses.dataclass(frozen=True, eq=False)
class WishParts:
  """The wishes of some requests, as their candidates meet them.

  Attributes:
    wanted: how much of what is wanted a candidate has, in nats; minus infinity
      past the end of a list.
    unwanted: the share that it has of what is refused, likewise.
    unread: of which wishes nothing was read; of no wish there is nothing to
      read.
  """

  wanted: _Scores
  unwanted: _Scores
  unread: Bool[np.ndarray, " requests"]

  @classmethod
  def read(
    cls,
    reader: wish_reader.WishReader,
    wishes: Sequence[str],
    titles: Sequence[Sequence[str]],
    numbers: Int[np.ndarray, "requests items"],
    named: Sequence[frozenset[int]] = (),
  ) -> Self:
    """Reads wishes, and asks candidates for what they name.

    Args:
      reader: knows what items have.
      wishes: of each request; "" for none.
      titles: of the items that each request shows, which a wish may name.
      numbers: of the items that are candidates, from 1; 0 past the end.
      named: of texts that are no items, and candidates of every request, the
        attributes that each names.

    Returns:
      What was read; the texts stand behind the items.
    """
    width = numbers.shape[1]
    wanted = np.zeros((len(wishes), width + len(named)), np.float64)
    unwanted = np.zeros_like(wanted)
    unread = np.zeros(len(wishes), bool)
    for row, (text, known) in enumerate(zip(wishes, titles, strict=True)):
      read = reader.read(text, known)
      unread[row] = bool(text) and not read
      if read:
        own = reader.scores(read, numbers[row] - 1)
        others = reader.text_scores(read, named)
        wanted[row], unwanted[row] = map(
          np.concatenate, zip(own, others, strict=True)
        )
    for values in (wanted, unwanted):
      values[:, :width][numbers == 0] = -np.inf
    return cls(wanted, unwanted, unread)

  def without_unread(self, match: _Scores, plain: _Scores) -> _Scores:
    """What the match would be without a wish less what it is.

    Args:
      match: with the wishes; minus infinity where there is no candidate.
      plain: without them.

    Returns:
      Zeros for wishes of which something was read.
    """
    valid = np.isfinite(match)
    gap = np.where(valid, plain, 0.0) - np.where(valid, match, 0.0)
    kept = np.where(self.unread[:, None], gap, 0.0)
    return np.where(valid, kept, -np.inf)
