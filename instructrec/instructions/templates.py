"""Instruction templates: YAML data with a checked schema.

A template's `inputs` is text with slots in braces. Which slots it must have
follows from its P, I and T:

| has | needs the slot |
|---|---|
| P1 | {history} |
| P2 | {preference} |
| I1 or I2 | {intention} |
| T0 | {item} |
| T3 | {candidates} |
"""

import dataclasses
import difflib
import importlib.resources
import pathlib
import string
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic
import yaml

from instructrec.instructions.format import (
  Intention,
  Preference,
  TaskForm,
  TaskType,
)

SLOTS = ("history", "preference", "intention", "item", "candidates")


class TemplateError(ValueError):
  """One or more templates are not as they should be."""


class Template(pydantic.BaseModel):
  """One template.

  Attributes:
    id: unique id; stands in every row made with it.
    task: task type.
    preference: what it says of the taste: [P0], [P1], [P2] or [P1, P2].
    intention: I0, I1 or I2.
    form: T0, T2 or T3.
    inputs: text with slots.
    held_out: kept from training, to test unseen wordings.
  """

  model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

  id: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
  task: TaskType
  preference: tuple[Preference, ...] = pydantic.Field(min_length=1)
  intention: Intention
  form: TaskForm
  inputs: str = pydantic.Field(min_length=20)
  held_out: bool = False

  @property
  def slots(self) -> tuple[str, ...]:
    """The slots in `inputs`, in order."""
    parsed = string.Formatter().parse(self.inputs)
    return tuple(name for _, name, _, _ in parsed if name is not None)

  @property
  def preference_name(self) -> str:
    """Such as "P1+P2"."""
    return "+".join(self.preference)

  @property
  def required_slots(self) -> set[str]:
    """The slots that its P, I and T ask for."""
    needed = set()
    if Preference.P1 in self.preference:
      needed.add("history")
    if Preference.P2 in self.preference:
      needed.add("preference")
    if self.intention is not Intention.I0:
      needed.add("intention")
    if self.form is TaskForm.T0:
      needed.add("item")
    if self.form is TaskForm.T3:
      needed.add("candidates")
    return needed

  @pydantic.model_validator(mode="after")
  def _check(self) -> "Template":
    if Preference.P0 in self.preference and len(self.preference) > 1:
      raise ValueError("P0 (no preference) stands alone, or not at all")
    if self.form is TaskForm.T1:
      raise ValueError("form T1 (pairwise) has no renderer yet; use T0 or T3")
    if self.task is TaskType.PRODUCT_SEARCH and (
      Preference.P1 in self.preference
    ):
      raise ValueError("product_search knows no user; it cannot have P1")
    found = self.slots
    for slot in found:
      if slot not in SLOTS:
        close = difflib.get_close_matches(slot, SLOTS, n=1)
        hint = f" (did you mean {{{close[0]}}}?)" if close else ""
        raise ValueError(f"unknown slot {{{slot}}}{hint}; slots are {SLOTS}")
    if repeated := {slot for slot in found if found.count(slot) > 1}:
      raise ValueError(f"slots {sorted(repeated)} occur more than once")
    if missing := self.required_slots - set(found):
      raise ValueError(
        f"slots {sorted(missing)} are missing; {self.preference_name}, "
        f"{self.intention}, {self.form} ask for them"
      )
    if extra := set(found) - self.required_slots:
      raise ValueError(
        f"slots {sorted(extra)} do not go with {self.preference_name}, "
        f"{self.intention}, {self.form}"
      )
    return self


@dataclasses.dataclass(frozen=True)
class TemplateSet:
  """Templates by id.

  Attributes:
    templates: all of them, in file order.
  """

  templates: tuple[Template, ...]

  def __len__(self) -> int:
    return len(self.templates)

  def __getitem__(self, template_id: str) -> Template:
    for template in self.templates:
      if template.id == template_id:
        return template
    ids = [template.id for template in self.templates]
    close = difflib.get_close_matches(template_id, ids, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise KeyError(f"no template is called {template_id!r}{hint}")

  def of(
    self,
    *,
    task: TaskType | None = None,
    form: TaskForm | None = None,
    held_out: bool | None = None,
  ) -> tuple[Template, ...]:
    """The templates of a task type, form or kind; None means any."""
    return tuple(
      template
      for template in self.templates
      if (task is None or template.task is task)
      and (form is None or template.form is form)
      and (held_out is None or template.held_out is held_out)
    )


def _entries(path: Any) -> tuple[list[dict[str, Any]], list[str]]:
  try:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
  except yaml.YAMLError as error:
    return [], [f"{path.name}: not YAML: {error}"]
  if not isinstance(data, dict) or not isinstance(data.get("templates"), list):
    return [], [f"{path.name}: expected a mapping with the list `templates`"]
  return data["templates"], []


def lint(paths: Sequence[pathlib.Path]) -> tuple[list[Template], list[str]]:
  """Reads template files and lists everything that is wrong with them.

  Args:
    paths: YAML files.

  Returns:
    The templates that are right, and the problems of the others.
  """
  found: list[Template] = []
  problems: list[str] = []
  homes: dict[str, str] = {}
  for path in paths:
    entries, errors = _entries(path)
    problems += errors
    for number, entry in enumerate(entries):
      name = entry.get("id") if isinstance(entry, dict) else None
      label = f"{path.name}: template {name or f'number {number + 1}'}"
      try:
        template = Template.model_validate(entry)
      except pydantic.ValidationError as error:
        for detail in error.errors():
          field = ".".join(map(str, detail["loc"])) or "slots"
          problems.append(f"{label}: {field}: {detail['msg']}")
        continue
      if template.id in homes:
        problems.append(f"{label}: id already used in {homes[template.id]}")
        continue
      homes[template.id] = path.name
      found.append(template)
  return found, problems


def load(paths: Iterable[pathlib.Path] | None = None) -> TemplateSet:
  """Reads template files; those of the package where none are named.

  Args:
    paths: YAML files.

  Returns:
    The templates.

  Raises:
    TemplateError: listing every problem in every file.
  """
  if paths is None:
    folder = importlib.resources.files("instructrec.instructions") / "templates"
    files: list[Any] = sorted(
      (path for path in folder.iterdir() if path.name.endswith(".yaml")),
      key=lambda path: path.name,
    )
  else:
    files = list(paths)
  found, problems = lint(files)
  if problems or not found:
    raise TemplateError(
      "the templates have problems:\n  "
      + "\n  ".join(problems or ["there are none"])
    )
  return TemplateSet(tuple(found))
