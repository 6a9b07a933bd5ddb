"""What a conversation has come to: constraints, and what was not understood."""

import dataclasses
from typing import Any

from instructrec.serving.constraints import Constraint, Kind


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
  """A constraint, and where it came from.

  Attributes:
    constraint: what is asked.
    words: that said it.
    turn: of these words, counting the user's messages from 1.
    dropped: turn that took it back or replaced it; None while it holds.
  """

  constraint: Constraint
  words: str
  turn: int
  dropped: int | None = None

  @property
  def text(self) -> str:
    """It in words."""
    source = f"{self.constraint.text} (turn {self.turn}: {self.words!r})"
    if self.dropped is None:
      return source
    return f"{source}, no more since turn {self.dropped}"


@dataclasses.dataclass(frozen=True, slots=True)
class NotUnderstood:
  """Words that ask for something that is not known.

  Attributes:
    words: of a message.
    turn: which.
    why: nothing comes of them, where it can be said.
  """

  words: str
  turn: int
  why: str = ""

  @property
  def text(self) -> str:
    """It in words."""
    return f"{self.words!r} ({self.why})" if self.why else repr(self.words)


@dataclasses.dataclass(frozen=True)
class State:
  """What a conversation has come to.

  Attributes:
    said: all constraints, in the order in which they were said.
    taken: ids of items that were taken, oldest first.
    wish: the wish that the model reads; None where nothing is wished for.
    shown: ids of the items of the last answer, in its order.
    not_understood: in the order of the words.
    turns: how many messages of the user there are.
  """

  said: tuple[Said, ...] = ()
  taken: tuple[str, ...] = ()
  wish: str | None = None
  shown: tuple[str, ...] = ()
  not_understood: tuple[NotUnderstood, ...] = ()
  turns: int = 0

  @property
  def kept(self) -> tuple[Constraint, ...]:
    """The constraints that hold."""
    return tuple(one.constraint for one in self.said if one.dropped is None)

  @property
  def history(self) -> tuple[str, ...]:
    """What to rank for: items that were taken, then those that are liked."""
    liked = [
      one.item_id
      for one in self.kept
      if one.kind is Kind.LIKE and one.item_id is not None
    ]
    return (*(item for item in self.taken if item not in liked), *liked)

  @property
  def understood(self) -> str:
    """What holds, and which words of the last message come to nothing."""
    kept = ", ".join(constraint.text for constraint in self.kept)
    parts = [kept or "nothing is asked for"]
    # Of "puzzles" that became "only puzzles" there is nothing to tell.
    named = {one.attribute for one in self.kept} - {None}
    dropped = [
      one.constraint.text
      for one in self.said
      if one.dropped == self.turns and one.constraint.attribute not in named
    ]
    if dropped:
      parts.append(f"no more: {', '.join(dropped)}")
    last = [o for o in self.not_understood if o.turn == self.turns]
    for what, why in (("not understood", False), ("not done", True)):
      if found := [one.text for one in last if bool(one.why) is why]:
        parts.append(f"{what}: {', '.join(found)}")
    return "; ".join(parts)

  @property
  def notes(self) -> list[str]:
    """What the last message asks and cannot have, and why."""
    return [
      f"{one.words!r} changes nothing: {one.why}"
      for one in self.not_understood
      if one.why and one.turn == self.turns
    ]

  def to_json(self) -> dict[str, Any]:
    """As structure: text and numbers alone."""
    return {
      "constraints": [_to_json(one) for one in self.said],
      "history": list(self.history),
      "wish": self.wish,
      "not_understood": [dataclasses.asdict(o) for o in self.not_understood],
      "text": self.understood,
    }


def _to_json(one: Said) -> dict[str, Any]:
  return {
    **one.constraint.to_json(),
    "words": one.words,
    "turn": one.turn,
    "status": "kept" if one.dropped is None else "dropped",
    "dropped_in_turn": one.dropped,
  }
