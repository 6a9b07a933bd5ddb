"""Sets of instruction templates, and the YAML files that they are read from."""

import dataclasses
import difflib
import importlib.resources
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic
import yaml

from instructrec.instructions import domains
from instructrec.instructions.format import Kind, TaskForm, TaskType
from instructrec.instructions.template import Template

INSTRUCTREC, GENREC = KINDS = ("instructrec", "genrec")
"""Whose instructions there are: templates of each system of its own."""
ANSWERING: Mapping[tuple[bool, bool], tuple[str, ...]] = {
  (True, False): ("seq_next_item", "genrec_next"),
  (True, True): ("personal_wish_and_history",),
  (False, True): ("search_find_product",),
}
"""Templates that put a request to a model, by whether it has a history and a
wish; the first that the model was trained with."""


class TemplateError(ValueError):
  """One or more templates are not as they should be."""


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

  @property
  def knows_wishes(self) -> bool:
    """Whether a wish beside a history can be put to a model."""
    ids = {template.id for template in self.templates}
    return not ids.isdisjoint(ANSWERING[True, True])

  def answering(self, *, history: bool, wish: bool) -> Template:
    """The wording in which a request is put to a model.

    Args:
      history: whether the request has a history.
      wish: whether somebody says what they want.

    Returns:
      The first of `ANSWERING` that the set has.

    Raises:
      ValueError: where the set has none, as GenRec's has none with a wish.
    """
    ids = {template.id for template in self.templates}
    for name in ANSWERING[history, wish]:
      if name in ids:
        return self[name]
    asked = " and ".join(
      word for word, has in (("history", history), ("wish", wish)) if has
    )
    raise ValueError(
      f"the instructions have no template for a request with a {asked} alone "
      f"(expected one of {ANSWERING[history, wish]}), so that the model was "
      "never asked that way; train on `generate --kind=instructrec` as well"
    )

  def reworded(self, domain: domains.Domain) -> "TemplateSet":
    """The templates in the words of a domain; see `domains.reworded`."""
    changed = (
      {
        "inputs": domains.reworded(template.inputs, domain),
        "targets": domains.reworded(template.targets, domain),
      }
      for template in self.templates
    )
    return TemplateSet(
      tuple(
        Template.model_validate({**template.model_dump(), **new})
        for template, new in zip(self.templates, changed, strict=True)
      )
    )

  def of(
    self,
    *,
    task: TaskType | None = None,
    form: TaskForm | None = None,
    kind: Kind | None = None,
    held_out: bool | None = None,
  ) -> tuple[Template, ...]:
    """The templates of a task type, form and kind; None means any."""
    return tuple(
      template
      for template in self.templates
      if (task is None or template.task is task)
      and (form is None or template.form is form)
      and (kind is None or template.kind is kind)
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


def _shipped(kind: str) -> list[Any]:
  """The package's files of one system."""
  folder = importlib.resources.files("instructrec.instructions") / "templates"
  if kind != INSTRUCTREC:
    folder = folder / kind
  return sorted(
    (path for path in folder.iterdir() if path.name.endswith(".yaml")),
    key=lambda path: path.name,
  )


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
  of_paper: dict[str, str] = {}
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
          field = ".".join(map(str, detail["loc"])) or "template"
          problems.append(f"{label}: {field}: {detail['msg']}")
        continue
      if template.id in homes:
        problems.append(f"{label}: id already used in {homes[template.id]}")
        continue
      homes[template.id] = path.name
      if template.paper:
        other = of_paper.setdefault(template.paper, template.id)
        if other != template.id:
          problems.append(
            f"{label}: paper: {template.paper} is already template {other}"
          )
          continue
      found.append(template)
  return found, problems


def load(
  paths: Iterable[pathlib.Path] | None = None,
  *,
  kinds: Sequence[str] = (INSTRUCTREC,),
) -> TemplateSet:
  """Reads template files; those of the package where none are named.

  Args:
    paths: YAML files.
    kinds: which of the package's: "instructrec", "genrec"; none makes an empty
      set.

  Returns:
    The templates.

  Raises:
    TemplateError: listing every problem in every file.
  """
  if paths is None:
    files = [path for kind in kinds for path in _shipped(kind)]
  else:
    files = list(paths)
  found, problems = lint(files)
  if problems or (kinds and not found):
    raise TemplateError(
      "the templates have problems:\n  "
      + "\n  ".join(problems or ["there are none"])
    )
  return TemplateSet(tuple(found))
