"""Wordings of the control tasks: YAML data with a checked schema."""

import collections
import enum
import functools
import importlib.resources
import itertools
import pathlib
import string
from collections.abc import Mapping
from typing import Any, Literal

import pydantic
import yaml

from instructrec.alignment.constraint import (
  DIRECTIONS,
  PROPORTIONS,
  Constraint,
)
from instructrec.evaluation.control import Direction
from instructrec.instructions import domains, render
from instructrec.instructions.attributes import Kind
from instructrec.instructions.templates import TemplateError


class ControlTask(enum.StrEnum):
  """What is asked, and what the list is made of; see docs/control.md."""

  PLAIN = "plain"
  """A list after a history."""
  PALR = "palr"
  """The same question; the answer is what the user took next, in order."""
  WANTED = "wanted"
  """A history, and something that all of the list is to have."""
  UNWANTED = "unwanted"
  """A history, and something that none of the list is to have."""
  PROPORTION = "proportion"
  """A history, and how many of the list are to have something."""
  COMBINED = "combined"
  """A history, something wanted and something unwanted."""
  COLD_WANTED = "cold_wanted"
  """Something wanted, without a history."""
  COLD_UNWANTED = "cold_unwanted"
  """Something unwanted, without a history."""
  CATEGORY = "category"
  """The category of an item is asked for: the reverse question."""


SLOTS: Mapping[ControlTask, frozenset[str]] = {
  ControlTask.PLAIN: frozenset(("history", "items")),
  ControlTask.PALR: frozenset(("history", "items")),
  ControlTask.WANTED: frozenset(("history", "items", "wanted")),
  ControlTask.UNWANTED: frozenset(("history", "items", "unwanted")),
  ControlTask.PROPORTION: frozenset(("history", "items", "amount", "what")),
  ControlTask.COMBINED: frozenset(("history", "items", "wanted", "unwanted")),
  ControlTask.COLD_WANTED: frozenset(("items", "wanted")),
  ControlTask.COLD_UNWANTED: frozenset(("items", "unwanted")),
  ControlTask.CATEGORY: frozenset(("item",)),
}
"""What the wordings of a task have, each once."""
_PHRASE_SLOTS = frozenset(("many", "name"))


def _slots(text: str) -> list[str]:
  return [name for _, name, _, _ in string.Formatter().parse(text) if name]


class Wording(pydantic.BaseModel):
  """One wording.

  Attributes:
    id: unique; stands in every row made with it.
    task: what it asks.
    direction: of a proportion; None of the other tasks.
    inputs: text with the slots of `SLOTS`.
    held_out: kept from training, to test unseen wordings.
  """

  model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

  id: str = pydantic.Field(pattern=r"^control_[a-z0-9_]+$")
  task: ControlTask
  direction: Literal["at_most", "at_least", "about"] | None = None
  inputs: str = pydantic.Field(min_length=20)
  held_out: bool = False

  @pydantic.model_validator(mode="after")
  def _check(self) -> "Wording":
    found = _slots(self.inputs)
    if sorted(found) != sorted(SLOTS[self.task]):
      raise ValueError(
        f"the inputs have the slots {sorted(found)}; task {self.task} has "
        f"{sorted(SLOTS[self.task])}, each once"
      )
    is_proportion = self.task is ControlTask.PROPORTION
    if is_proportion != (self.direction is not None):
      raise ValueError(
        f"the direction is {self.direction}; proportion has one of at_most, "
        "at_least and about, other tasks none"
      )
    return self


class _File(pydantic.BaseModel):
  """What a file of wordings holds."""

  model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

  phrases: dict[Kind, str]
  templates: tuple[Wording, ...]

  @pydantic.model_validator(mode="after")
  def _check(self) -> "_File":
    for kind in Kind:
      if set(_slots(self.phrases.get(kind, ""))) != _PHRASE_SLOTS:
        raise ValueError(
          f"the phrase of {kind} is {self.phrases.get(kind)!r}; expected one "
          f"with the slots {sorted(_PHRASE_SLOTS)}"
        )
    ids = [wording.id for wording in self.templates]
    if repeated := sorted({name for name in ids if ids.count(name) > 1}):
      raise ValueError(f"the ids {repeated} are used more than once")
    return self


class Wordings:
  """Wordings in the words of a domain.

  Args:
    path: a YAML file; None for that of the package.
    domain: what the items are.

  Raises:
    TemplateError: listing what is wrong with the file, such as a task that
      has no wording for training, or none that is held out.
  """

  def __init__(
    self,
    domain: domains.Domain = domains.Domain.PRODUCTS,
    path: pathlib.Path | None = None,
  ) -> None:
    read = _read(path)
    self._phrases = read.phrases
    self.wordings = tuple(
      wording.model_copy(
        update={"inputs": domains.reworded(wording.inputs, domain)}
      )
      for wording in read.templates
    )
    found = collections.defaultdict(list)
    for wording in self.wordings:
      direction = wording.direction and DIRECTIONS[wording.direction]
      found[wording.task, wording.held_out, direction].append(wording)
    self._by_use = {use: tuple(same) for use, same in found.items()}
    self._one, self._many = (
      domains.reworded(noun, domain).lower() for noun in ("item", "items")
    )

  def of(
    self, task: ControlTask, *, held_out: bool, direction: Direction | None
  ) -> tuple[Wording, ...]:
    """Wordings of a task.

    Args:
      task: what is asked; PALR's wordings are those of plain lists.
      held_out: whether those that training never sees, or the others.
      direction: of a proportion, else None.

    Returns:
      The wordings, in the order of the file.
    """
    asked = ControlTask.PLAIN if task is ControlTask.PALR else task
    return self._by_use[asked, held_out, direction]

  def phrase(self, constraint: Constraint) -> str:
    """An attribute as it is asked for, such as "items by Oakline"."""
    attribute = constraint.attribute
    return self._phrases[attribute.kind].format(
      many=self._many, name=attribute.name
    )

  def items(self, k: int) -> str:
    """How many are asked for: "5 items"."""
    return f"{k} {self._one if k == 1 else self._many}"


def slot_of(constraint: Constraint) -> str:
  """The slot of a wording that a constraint fills."""
  if constraint.direction in PROPORTIONS:
    return "what"
  return constraint.direction.name.lower()


def amount(constraint: Constraint) -> str:
  """The number of a proportion: "3" or "30%"."""
  return f"{constraint.count}{'%' * constraint.percent}"


def filled(
  wording: Wording, slots: Mapping[str, str], history: str
) -> tuple[str, str]:
  """The instruction, and the instruction without the titles of its history.

  Args:
    wording: with slots.
    slots: what fills them, but for the history; never read as a template.
    history: the titles.

  Returns:
    Inputs and prompt; see `instructions.format.Instruction`.
  """
  inputs = wording.inputs.format_map({**slots, "history": history})
  prompt = wording.inputs.format_map({**slots, "history": render.HISTORY_MARK})
  return inputs, prompt


@functools.lru_cache(maxsize=4)
def _read(path: pathlib.Path | None) -> _File:
  own = importlib.resources.files("instructrec.alignment") / "templates"
  place: Any = path or own / "control.yaml"
  try:
    data = yaml.safe_load(place.read_text(encoding="utf-8"))
    read = _File.model_validate(data)
  except yaml.YAMLError as error:
    raise TemplateError(f"{place}: not YAML: {error}") from None
  except pydantic.ValidationError as error:
    problems = (
      f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}"
      for detail in error.errors()
    )
    raise TemplateError(
      "\n  ".join((f"{place} has problems:", *problems))
    ) from None
  found = {(w.task, w.direction, w.held_out) for w in read.templates}
  for task, held_out in itertools.product(SLOTS, (False, True)):
    names = [direction.name.lower() for direction in PROPORTIONS]
    of_task = names if task is ControlTask.PROPORTION else [None]
    for direction in of_task if task is not ControlTask.PALR else []:
      if (task, direction, held_out) not in found:
        raise TemplateError(
          f"{place}: task {task}, direction {direction}, has no wording with "
          f"held_out: {str(held_out).lower()}; expected one or more"
        )
  return read
