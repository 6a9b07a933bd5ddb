"""Fills a template's slots; the text of a slot is never read as a template."""

import dataclasses
import string
from collections.abc import Sequence

from instructrec.instructions import templates


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
  """What can fill the slots of a template; None where it is not known.

  Attributes:
    history: titles, oldest first.
    preference: a statement of taste.
    intention: a wish.
    item: a title.
    candidates: titles to choose from.
  """

  history: Sequence[str] | None = None
  preference: str | None = None
  intention: str | None = None
  item: str | None = None
  candidates: Sequence[str] | None = None


def quote(title: str) -> str:
  """A title in double quotes; quotes inside become single ones."""
  return '"' + title.replace('"', "'") + '"'


def join_titles(titles: Sequence[str]) -> str:
  """Titles as one unambiguous list: quoted, with semicolons between."""
  return "; ".join(map(quote, titles))


def render(template: templates.Template, slots: Slots) -> str:
  """The instruction.

  Args:
    template: the template.
    slots: the texts to fill in.

  Returns:
    The text.

  Raises:
    ValueError: where a slot of the template has nothing to fill it.
  """
  parts = []
  for literal, name, _, _ in string.Formatter().parse(template.inputs):
    parts.append(literal)
    if name is None:
      continue
    value = getattr(slots, name)
    if not value:
      raise ValueError(
        f"template {template.id} has the slot {{{name}}}, but this request "
        f"has no {name}"
      )
    if name in ("history", "candidates"):
      parts.append(join_titles(value))
    elif name == "item":
      parts.append(quote(value))
    else:
      parts.append(value)
  return "".join(parts)
