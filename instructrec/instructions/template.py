"""An instruction template: a checked entry of a YAML file.

A template's `inputs` and `targets` are text with slots in braces. A part of
`inputs` in double brackets, `[[ Taste: {preference}]]`, is optional: training
draws whether it is kept. Which slots `inputs` must have follows from the
declared P, I and T:

| has | needs the slot |
|---|---|
| P1 | {history} |
| P2 | {preference} |
| I1 | {vague} |
| I2 | {specific} |
| a `query` list | {query}, in inputs or targets |
| T0 | {item} |
| T1 | {first} and {second} |
| T3 | {candidates} |

`{target}` is the title of the right item, `{answer}` Yes or No.
"""

import difflib
import functools
import re
import string
from collections.abc import Iterable
from typing import Literal

import pydantic

from instructrec.instructions.format import (
  Intention,
  Kind,
  Preference,
  TaskForm,
  TaskType,
)

SLOTS = (
  "history",
  "preference",
  "vague",
  "specific",
  "query",
  "item",
  "first",
  "second",
  "candidates",
  "target",
  "answer",
)
QUERY_SLOTS = {"P2": "own_preference", "I1": "vague", "I2": "specific"}
"""Which slot stands in for {query}."""
_FORM_SLOTS = {
  TaskForm.T0: {"item"},
  TaskForm.T1: {"first", "second"},
  TaskForm.T2: set[str](),
  TaskForm.T3: {"candidates"},
}
_OPTIONAL_SLOTS = {"preference", "specific"}
_OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_BRACKETS = re.compile(r"\[\[|\]\]")
_GROUPS = {
  "A": (TaskType.SEQUENTIAL, 17),
  "B": (TaskType.PRODUCT_SEARCH, 9),
  "C": (TaskType.PERSONALIZED_SEARCH, 13),
}
"""Task type and size of the groups in the paper's appendix."""

Segment = tuple[str, str | None]
"""Literal text and the slot behind it, or None at the end."""


def _segments(text: str) -> tuple[Segment, ...]:
  found = list(string.Formatter().parse(text))
  for _, name, spec, conversion in found:
    if spec or conversion:
      written = f"{name}{f'!{conversion}' if conversion else ''}"
      written += f":{spec}" if spec else ""
      raise ValueError(f"a slot is written {{{written}}}; write {{{name}}}")
  return tuple((literal, name) for literal, name, _, _ in found)


def _slots(segments: Iterable[Segment]) -> list[str]:
  return [name for _, name in segments if name is not None]


class Template(pydantic.BaseModel):
  """One template.

  Attributes:
    id: unique id; stands in every row made with it.
    paper: its number in the paper's appendix, such as "A1"; None for others.
    task: task type, the group of the template.
    kind: direct, cot, turned_around, relatedness or pairwise.
    preference: what it always says of the taste: [P0], [P1], [P2], [P1, P2].
    intention: what it always says of the wish: I0, I1 or I2.
    query: what may fill {query}: P2, I1, I2.
    form: T0, T1, T2 or T3.
    inputs: text with slots and optional parts.
    targets: text with slots; by default the answer (T0) or the target.
    held_out: kept from training, to test unseen wordings.
  """

  model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

  id: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
  paper: str | None = pydantic.Field(default=None, pattern=r"^[ABC]\d+$")
  task: TaskType
  kind: Kind = Kind.DIRECT
  preference: tuple[Preference, ...] = pydantic.Field(min_length=1)
  intention: Intention = Intention.I0
  query: tuple[Literal["P2", "I1", "I2"], ...] = ()
  form: TaskForm
  inputs: str = pydantic.Field(min_length=20)
  targets: str = ""
  held_out: bool = False

  @functools.cached_property
  def parts(self) -> tuple[tuple[Segment, ...], ...]:
    """The inputs in pieces: always, optional, always, optional, ..."""
    return tuple(map(_segments, _OPTIONAL.split(self.inputs)))

  @functools.cached_property
  def response(self) -> tuple[Segment, ...]:
    """The targets in segments."""
    form = "{answer}" if self.form is TaskForm.T0 else "{target}"
    return _segments(self.targets or form)

  @functools.cached_property
  def required(self) -> tuple[str, ...]:
    """Slots that the inputs always have, in order."""
    return tuple(slot for part in self.parts[::2] for slot in _slots(part))

  @functools.cached_property
  def optional(self) -> tuple[str, ...]:
    """Slots of the optional parts, in order."""
    return tuple(slot for part in self.parts[1::2] for slot in _slots(part))

  @functools.cached_property
  def asked(self) -> tuple[str, ...]:
    """Slots of the response, in order."""
    return tuple(_slots(self.response))

  def _declared(self) -> set[str]:
    """The slots that P, I and T ask for in the inputs, but for {query}."""
    needed = set(_FORM_SLOTS[self.form])
    if Preference.P1 in self.preference:
      needed.add("history")
    if Preference.P2 in self.preference:
      needed.add("preference")
    if self.intention is not Intention.I0:
      needed.add("vague" if self.intention is Intention.I1 else "specific")
    return needed

  @pydantic.model_validator(mode="after")
  def _check(self) -> "Template":
    self._check_labels()
    every = [*self.required, *self.optional, *self.asked]
    for slot in every:
      if slot not in SLOTS:
        close = difflib.get_close_matches(slot, SLOTS, n=1)
        hint = f" (did you mean {{{close[0]}}}?)" if close else ""
        raise ValueError(f"unknown slot {{{slot}}}{hint}; slots are {SLOTS}")
    if repeated := {slot for slot in every if every.count(slot) > 1}:
      raise ValueError(f"slots {sorted(repeated)} occur more than once")
    self._check_inputs()
    self._check_response()
    return self

  def _check_labels(self) -> None:
    if Preference.P0 in self.preference and len(self.preference) > 1:
      raise ValueError("P0 (no preference) stands alone, or not at all")
    if self.task is TaskType.PRODUCT_SEARCH and (
      Preference.P1 in self.preference
    ):
      raise ValueError("product_search knows no user; it cannot have P1")
    if (self.form is TaskForm.T1) != (self.kind is Kind.PAIRWISE):
      raise ValueError("form T1 and kind pairwise go together")
    if self.kind is Kind.NEXT_TITLE and (
      self.form is not TaskForm.T2 or self.task is not TaskType.SEQUENTIAL
    ):
      raise ValueError(
        f"kind next_title asks for what follows a history: it is of task "
        f"sequential and form T2, not {self.task} and {self.form}"
      )
    if self.paper:
      group, size = _GROUPS[self.paper[0]]
      if group is not self.task:
        raise ValueError(
          f"template {self.paper} of the paper is of task {group}, not "
          f"{self.task}"
        )
      if not 1 <= int(self.paper[1:]) <= size:
        raise ValueError(
          f"the InstructRec paper has no template {self.paper}; its "
          f"group {self.paper[0]} ends with {size}"
        )

  def _check_inputs(self) -> None:
    if _BRACKETS.search(_OPTIONAL.sub("", self.inputs)):
      raise ValueError("the inputs have a [[ or ]] without its other half")
    declared = self._declared()
    found = set(self.required)
    if missing := declared - found:
      raise ValueError(
        f"slots {sorted(missing)} are missing; the declared P, I and T ask "
        "for them"
      )
    allowed = declared | {"query"}
    if self.kind in (Kind.TURNED_AROUND, Kind.RELATEDNESS):
      allowed.add("target")
    if extra := found - allowed:
      raise ValueError(
        f"slots {sorted(extra)} do not go with the declared P, I, T and kind"
      )
    if extra := set(self.optional) - _OPTIONAL_SLOTS:
      raise ValueError(
        f"slots {sorted(extra)} cannot be optional; those that can are "
        f"{sorted(_OPTIONAL_SLOTS)}"
      )
    for part in self.parts[1::2]:
      if not _slots(part):
        raise ValueError("an optional part [[ ]] without a slot")

  def _check_response(self) -> None:
    if _BRACKETS.search(self.targets):
      raise ValueError("the targets have no optional parts [[ ]]")
    if ("query" in (*self.required, *self.asked)) != bool(self.query):
      raise ValueError("the slot {query} and the list `query` go together")
    if self.form is TaskForm.T0 and self.asked != ("answer",):
      raise ValueError("the response of form T0 is {answer} alone")
    if self.form is not TaskForm.T0 and "answer" in self.asked:
      raise ValueError("{answer} is for form T0; name {target}")
    fixed = self.kind.names_item or self.kind is Kind.PAIRWISE
    if fixed and self.targets:
      raise ValueError(
        f"a template of kind {self.kind} has no targets of its own"
      )
    if not self.asked:
      raise ValueError("the targets have no slot")
    if self.kind is Kind.COT and self.asked[-1] != "target":
      raise ValueError("the response of kind cot ends with {target}")
