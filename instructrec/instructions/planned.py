"""What is to be written: rows, and the texts that stand in them."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from instructrec.data.catalog import Item
from instructrec.instructions import render
from instructrec.instructions.format import Origin
from instructrec.instructions.teacher import TextKind, TextRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
  """A request with its items looked up.

  Attributes:
    row: the row of the table.
    key: of all draws.
    history: the newest items, oldest first.
    target: the right item.
    later: what the user takes after it.
    liked: those of the history that the user did not rate low.
  """

  row: Mapping[str, Any]
  key: int
  history: tuple[Item, ...]
  target: Item
  later: tuple[Item, ...]
  liked: tuple[Item, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RowPlan:
  """A row to be written: its form, and its texts by slot."""

  request: Request
  form: render.Form
  key: int
  texts: Mapping[str, "Text"]
  suffix: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
  """A text to be written, with what it was made from."""

  wanted: TextRequest
  origin: Origin

  @property
  def is_useless(self) -> bool:
    """Whether it is a stated wish that says nothing that helps."""
    return self.wanted.wish is not None and self.wanted.wish.is_useless


Plan = RowPlan | tuple[Request, TextKind, Text]
"""An instruction to be written, or a fine-grained text."""


def distinct(plans: Iterable[Plan]) -> dict[Any, Text]:
  """The texts of some plans, each once, by key."""
  texts: dict[Any, Text] = {}
  for plan in plans:
    found = plan.texts.values() if isinstance(plan, RowPlan) else plan[2:]
    texts.update((text_key(text), text) for text in found)
  return texts


def text_key(text: Text) -> Any:
  """Texts with the same key are the same text: items by id, not by value."""
  wanted = text.wanted
  return (
    wanted.kind,
    wanted.key,
    text.origin,
    len(wanted.items),
    len(wanted.history),
    wanted.items[-1].item_id,
  )
