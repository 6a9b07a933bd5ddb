"""What a wish says, before it is put into words."""

import dataclasses
import enum

from instructrec.instructions.attributes import Attribute


class Stance(enum.StrEnum):
  """How a wish stands to the history."""

  AGREEING = "agreeing"
  """For something that the history has, or against what it has not."""
  ODDS = "odds"
  """For something that the history has not, or against what it has."""
  USELESS = "useless"
  """It says nothing that helps."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
  """What a wish says.

  Attributes:
    wanted: attributes of the target.
    unwanted: attributes of which the target has none.
    stance: how it stands to the history.
    bits: log2(items of the catalogue / items that fit).
    split: "train" or another; decides on the wordings.
    hidden_title: the target's title, which is never said.
    hidden_words: words that distinguish the target, never said.
    like: a title of the history in quotes, where the wish compares.
    person: whom it is for, by the target's review.
    occasion: what it is for, by the target's review.
    aspect: what matters, by the target's review.
  """

  wanted: tuple[Attribute, ...]
  unwanted: tuple[Attribute, ...]
  stance: Stance
  bits: float
  split: str
  hidden_title: str
  hidden_words: frozenset[str]
  like: str | None = None
  person: str | None = None
  occasion: str | None = None
  aspect: str | None = None

  @property
  def is_useless(self) -> bool:
    """Whether it says nothing that helps."""
    return self.stance is Stance.USELESS

  @property
  def sources(self) -> tuple[str, ...]:
    """What it was made from, "-" before what is not wanted."""
    if self.is_useless:
      return ("none",)
    found = [a.kind.value for a in self.wanted]
    found += [f"-{a.kind.value}" for a in self.unwanted]
    for name in ("like", "person", "occasion", "aspect"):
      if getattr(self, name):
        found.append(name)
    return tuple(found)

  @property
  def attributes(self) -> tuple[str, ...]:
    """Its attributes with their kinds: "brand:Oakline", "-category:puzzles"."""
    return tuple(
      [f"{a.kind}:{a.name}" for a in self.wanted]
      + [f"-{a.kind}:{a.name}" for a in self.unwanted]
    )
