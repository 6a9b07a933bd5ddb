"""Fills a template's slots; the text of a slot is never read as a template."""

import dataclasses
from collections.abc import Sequence

from instructrec.instructions import format as instruction_format
from instructrec.instructions.format import Intention, Preference
from instructrec.instructions.template import QUERY_SLOTS, Segment, Template

HISTORY_MARK = "[history]"
"""Stands in a prompt where the instruction has the history."""


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
  """What can fill the slots of a template; None where it is not known.

  Attributes:
    history: titles, oldest first.
    recent: the titles of it that a response names, oldest first.
    preference: a statement of taste.
    own_preference: the same in the first person, in place of a query.
    vague: a wish.
    specific: a search query.
    item: the title that a yes-or-no question is about.
    first: one of two titles.
    second: the other one.
    candidates: titles to choose from.
    target: the right title.
    answer: Yes or No.
  """

  history: Sequence[str] | None = None
  recent: Sequence[str] | None = None
  preference: str | None = None
  own_preference: str | None = None
  vague: str | None = None
  specific: str | None = None
  item: str | None = None
  first: str | None = None
  second: str | None = None
  candidates: Sequence[str] | None = None
  target: str | None = None
  answer: str | None = None


def quote(title: str) -> str:
  """A title in double quotes; quotes inside become single ones."""
  return '"' + title.replace('"', "'") + '"'


def join_titles(titles: Sequence[str]) -> str:
  """Titles as one unambiguous list: quoted, with semicolons between."""
  return "; ".join(map(quote, titles))


_QUOTED = frozenset(("item", "first", "second", "target"))
_LISTS = frozenset(("history", "candidates"))


class Form:
  """A template with its choices made: what {query} is, which parts are kept.

  Args:
    template: the template.
    query: "P2", "I1" or "I2", one of the template's; None where it has none.
    optional: whether optional parts are kept. One whose slot the query fills
      already is left out.

  Raises:
    ValueError: where the query is not one of the template's.
  """

  def __init__(
    self,
    template: Template,
    *,
    query: str | None = None,
    optional: bool = False,
  ) -> None:
    if (query or None) not in (template.query or (None,)):
      raise ValueError(
        f"template {template.id} cannot take {query} for its query; expected "
        f"one of {template.query or None}"
      )
    self.template = template
    self._stand_in = {"query": QUERY_SLOTS.get(query or "")}
    filled = {self._resolve(slot) for slot in template.required}
    if "own_preference" in filled:
      filled.add("preference")  # The same taste is not told twice.
    self._inputs: list[Segment] = []
    for number, part in enumerate(template.parts):
      slots = [self._resolve(name) for _, name in part if name]
      if number % 2 == 0 or (optional and not filled & set(slots)):
        self._inputs += part
    self.own_words = "\n".join(literal for literal, _ in self._inputs)
    """What the template itself says, whatever fills its slots."""
    self.input_slots = frozenset(
      self._resolve(name) for _, name in self._inputs if name
    )
    self.response_slots = frozenset(
      self._resolve(name) for _, name in template.response if name
    )
    self.preference = self._label(
      {
        "history": Preference.P1,
        "preference": Preference.P2,
        "own_preference": Preference.P2,
      },
      Preference.P0,
    )
    self.intention = self._label(
      {"vague": Intention.I1, "specific": Intention.I2}, Intention.I0
    )

  @property
  def task_name(self) -> str:
    """The SeqIO task that its rows belong to; see `format.task_name`."""
    template = self.template
    return instruction_format.task_name(
      template.task, template.kind, self.preference, self.intention
    )

  def _resolve(self, slot: str) -> str:
    return self._stand_in.get(slot) or slot

  def _label(self, names: dict[str, str], none: str) -> str:
    """Such as "P1+P2": what the inputs say."""
    found = [names[slot] for slot in names if slot in self.input_slots]
    return "+".join(found) or none

  def _value(self, slots: Slots, name: str, *, response: bool) -> str:
    name = self._resolve(name)
    value = getattr(slots, "recent" if response and name == "history" else name)
    if not value:
      raise ValueError(
        f"template {self.template.id} has the slot {{{name}}}, but this "
        f"request has no {name}"
      )
    if name in _LISTS:
      return join_titles(value)
    # In a response an item stands for itself.
    return quote(value) if name in _QUOTED and not response else value

  def inputs(self, slots: Slots) -> str:
    """The instruction.

    Args:
      slots: the texts to fill in.

    Returns:
      The text.

    Raises:
      ValueError: where a slot of the template has nothing to fill it.
    """
    return self._filled(slots, None)

  def prompt(self, slots: Slots) -> str:
    """The instruction with its history cut out.

    For models that read the history item by item, apart from the text.

    Args:
      slots: the texts to fill in.

    Returns:
      As `inputs`, with `HISTORY_MARK` for the titles of the history; equal to
      `inputs` where the template has no history.

    Raises:
      ValueError: where a slot of the template has nothing to fill it.
    """
    return self._filled(slots, HISTORY_MARK)

  def _filled(self, slots: Slots, history: str | None) -> str:
    """The inputs, with other words for the history where they are given."""
    return "".join(
      literal
      if not name
      else literal + history
      if history and name == "history"
      else literal + self._value(slots, name, response=False)
      for literal, name in self._inputs
    )

  def targets(self, slots: Slots) -> str:
    """The response; arguments and errors as for `inputs`."""
    return "".join(
      literal + (self._value(slots, name, response=True) if name else "")
      for literal, name in self.template.response
    )
