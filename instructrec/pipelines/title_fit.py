"""How well a vocabulary fits the titles of a catalogue."""

import collections
import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Self

from instructrec.data.catalog import Catalog
from instructrec.instructions import card
from instructrec.models import tokenizer

_SHOWN = 3
"""Groups of titles that an error names."""


@dataclasses.dataclass(frozen=True, slots=True)
class TitleFit:
  """Unknown tokens, and titles that have the same tokens.

  Attributes:
    num_titles: of the catalogue.
    num_tokens: of all titles together.
    num_unknown: those that stand for characters which the vocabulary lacks.
    num_with_unknown: titles that have one.
    alike: positions of the items of each group whose titles have the same
      tokens; empty where the vocabulary tells all titles apart.
  """

  num_titles: int
  num_tokens: int
  num_unknown: int
  num_with_unknown: int
  alike: tuple[tuple[int, ...], ...]

  @classmethod
  def of(cls, titles: Sequence[str], vocabulary: tokenizer.Tokenizer) -> Self:
    """Tokenizes all titles.

    Args:
      titles: of a catalogue.
      vocabulary: what reads them.

    Returns:
      How well they fit.
    """
    rows = vocabulary.looks(titles)
    groups: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
    for item, row in enumerate(rows):
      groups[row].append(item)
    unknown = [row.count(tokenizer.UNKNOWN_ID) for row in rows]
    return cls(
      num_titles=len(rows),
      num_tokens=sum(map(len, rows)),
      num_unknown=sum(unknown),
      num_with_unknown=sum(map(bool, unknown)),
      alike=tuple(tuple(g) for g in groups.values() if len(g) > 1),
    )

  @property
  def unknown_share(self) -> float:
    """Unknown tokens among all tokens of titles."""
    return self.num_unknown / self.num_tokens if self.num_tokens else 0.0

  @property
  def num_alike(self) -> int:
    """Titles that another title has the same tokens as."""
    return sum(map(len, self.alike))

  def summary(self) -> dict[str, Any]:
    """Figures for a manifest."""
    return {
      "unknown_share": round(self.unknown_share, 6),
      "titles_with_unknown": self.num_with_unknown,
      "titles_alike": self.num_alike,
    }

  def check(
    self, items: Catalog, vocabulary: str | os.PathLike[str] | None
  ) -> None:
    """Refuses a vocabulary for which several titles are one.

    Args:
      items: the catalogue whose titles these are.
      vocabulary: the model file; None for one that was trained on the titles.

    Raises:
      ValueError: naming items that it cannot tell apart.
    """
    if not self.alike:
      return
    shown = "; ".join(
      " and ".join(
        f"{items.item_ids[i]!r} ({items.titles[i]!r})" for i in group[:2]
      )
      for group in self.alike[:_SHOWN]
    )
    remedy = "Call one of them otherwise"
    if vocabulary is not None:
      remedy = (
        "Leave out --vocabulary to have one trained, which knows every "
        f"character, or use `instructrec prepare --vocabulary={vocabulary}`, "
        "which puts brand, year or a number behind such titles"
      )
    unknown = card.unknown_tokens(self.summary(), self.num_titles)
    raise ValueError(
      f"the vocabulary {vocabulary or 'that was trained'} cannot tell "
      f"{self.num_alike:,} of {self.num_titles:,} titles apart, which would be "
      f"one item to a model: {shown}. {unknown}. {remedy}"
    )
