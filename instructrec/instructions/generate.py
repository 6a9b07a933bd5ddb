"""Requests -> instructions, one row at a time.

Training rows draw a template for each task type, by task form; validation and
test rows use one fixed template a task type, by default a matching one (T2),
whose instruction does not hold the candidate list: scores then cannot depend
on the order of candidates.

Every draw depends on (seed, request id, task type) alone.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl

from instructrec.data import candidates as candidate_sets
from instructrec.data import dataset
from instructrec.data.catalog import Item
from instructrec.instructions import leaks, render, templates
from instructrec.instructions.format import (
  MATCH_CANDIDATES,
  NO,
  YES,
  Instruction,
  Intention,
  Origin,
  Preference,
  TaskForm,
  TaskType,
)
from instructrec.instructions.teacher import Teacher

Protocol = Literal["strict", "paper"]

FORM_WEIGHTS: Mapping[TaskForm, int] = {
  TaskForm.T0: 1,
  TaskForm.T2: 2,
  TaskForm.T3: 1,
}
EVAL_TEMPLATES: Mapping[TaskType, str] = {
  TaskType.SEQUENTIAL: "seq_next_item",
  TaskType.PRODUCT_SEARCH: "search_find_product",
  TaskType.PERSONALIZED_SEARCH: "personal_wish_and_history",
}
_MASK = (1 << 64) - 1


def _mix(key: int, salt: int) -> int:
  """64 bits from a key and a number (splitmix64)."""
  x = (key + (salt + 1) * 0x9E3779B97F4A7C15) & _MASK
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
  return x ^ (x >> 31)


@dataclasses.dataclass(frozen=True)
class Generator:
  """Makes instructions from prepared data.

  Attributes:
    prepared: requests with candidates.
    teacher: writes preferences and intentions.
    template_set: the templates.
    seed: of all draws.
    protocol: "strict" (nothing of the target reaches preference or intention
      of tasks with a user) or "paper" (the vague intention is made from the
      target's review or attributes, as in the InstructRec paper).
    max_history: longest history in an instruction; the newest are kept.
    tasks: which task types.
    form_weights: how often each task form is drawn in training.
    eval_templates: the template of validation and test rows, by task type.
  """

  prepared: dataset.PreparedData
  teacher: Teacher
  template_set: templates.TemplateSet
  seed: int = 0
  protocol: Protocol = "strict"
  max_history: int = 20
  tasks: Sequence[TaskType] = tuple(TaskType)
  form_weights: Mapping[TaskForm, int] = dataclasses.field(
    default_factory=lambda: dict(FORM_WEIGHTS)
  )
  eval_templates: Mapping[TaskType, str] = dataclasses.field(
    default_factory=lambda: dict(EVAL_TEMPLATES)
  )

  def __post_init__(self) -> None:
    """Checks the protocol and the templates of evaluation.

    Raises:
      ValueError: where one does not fit.
    """
    if self.protocol not in ("strict", "paper"):
      raise ValueError(
        f"unknown protocol {self.protocol!r}; expected 'strict' or 'paper'"
      )
    for task in self.tasks:
      found = self.template_set[self.eval_templates[task]]
      if found.task is not task or found.form is TaskForm.T0:
        raise ValueError(
          f"template {found.id} is of task {found.task} and form {found.form}; "
          f"evaluating {task} needs one of its own with form T2 or T3"
        )

  def _choices(self) -> dict[TaskType, list[templates.Template]]:
    """Training templates, each as often as its form is drawn.

    Within a form all templates are equally likely.
    """
    choices: dict[TaskType, list[templates.Template]] = {}
    for task in self.tasks:
      groups = {
        form: self.template_set.of(task=task, form=form, held_out=False)
        for form, weight in self.form_weights.items()
        if weight > 0
      }
      size = 1
      for group in groups.values():
        size *= max(1, len(group))
      choices[task] = [
        template
        for form, group in groups.items()
        for template in group
        for _ in range(self.form_weights[form] * size // len(group))
      ]
      if not choices[task]:
        raise ValueError(f"no training templates for task type {task}")
    return choices

  def rows(self, splits: Sequence[str] | None = None) -> Iterator[Instruction]:
    """Yields the instructions of the requests, task type by task type.

    Args:
      splits: which splits; None for all.

    Yields:
      Instructions that passed the leak check.

    Raises:
      InstructionLeakError: where one does not pass.
    """
    choices = self._choices()
    items = _ItemCache(self.prepared)
    requests = self.prepared.split.requests
    if splits is not None:
      requests = requests.filter(pl.col("split").is_in(list(splits)))
    for chunk in requests.iter_slices(4096):
      keys = candidate_sets.request_keys(
        chunk["request_id"].to_list(), self.seed
      ).tolist()
      for request, key in zip(chunk.iter_rows(named=True), keys, strict=True):
        history = [items[i] for i in request["history"][-self.max_history :]]
        for number, task in enumerate(self.tasks):
          task_key = _mix(key, number)
          if request["split"] == "train":
            template = choices[task][task_key % len(choices[task])]
          else:
            template = self.template_set[self.eval_templates[task]]
          yield self._row(request, task_key, template, history, items)

  def _intention(
    self,
    request: Mapping[str, Any],
    template: templates.Template,
    history: Sequence[Item],
    target: Item,
    key: int,
  ) -> tuple[str | None, Origin]:
    """The wish, and what it was made from."""
    if template.intention is Intention.I0:
      return None, Origin.NONE
    # A search without a user can only describe the wanted item.
    if template.task is TaskType.PRODUCT_SEARCH:
      text = self.teacher.specific_intention(target, key=key)
      return text, Origin.TARGET_ATTRIBUTES
    if self.protocol == "strict":
      review = request["history_review"]
      return (
        self.teacher.vague_intention(history, review, key=key),
        Origin.HISTORY,
      )
    if template.intention is Intention.I2:
      return (
        self.teacher.specific_intention(target, key=key),
        Origin.TARGET_ATTRIBUTES,
      )
    review = request["target_review"]
    text = self.teacher.vague_intention([target], review, key=key)
    return text, (Origin.TARGET_REVIEW if review else Origin.TARGET_ATTRIBUTES)

  def _row(
    self,
    request: Mapping[str, Any],
    key: int,
    template: templates.Template,
    history: Sequence[Item],
    items: "_ItemCache",
  ) -> Instruction:
    target = items[request["target"]]
    intention, origin = self._intention(
      request, template, history, target, _mix(key, 1)
    )
    preference = None
    if Preference.P2 in template.preference:
      preference = self.teacher.explicit_preference(
        history, request["history_review"], key=_mix(key, 2)
      )
    ids = tuple(request["candidates"])
    titles = tuple(items[i].title for i in ids)
    label, response, item = request["label"], target.title, None
    if template.form is TaskForm.T0:
      label, response, item = self._pointwise(titles, label, _mix(key, 3))
    slots = render.Slots(
      history=[i.title for i in history],
      preference=preference,
      intention=intention,
      item=item,
      candidates=titles,
    )
    pointwise = template.form is TaskForm.T0
    has_user = Preference.P0 not in template.preference
    row = Instruction(
      example_id=f"{request['request_id']}/{template.id}",
      task=template.task.value,
      template_id=template.id,
      preference=template.preference_name,
      intention=template.intention.value,
      task_form=template.form.value,
      intention_origin=origin.value,
      user_id=request["user_id"],
      request_id=request["request_id"],
      inputs=render.render(template, slots),
      targets=response,
      candidates=MATCH_CANDIDATES if pointwise else titles,
      candidate_ids=("yes", "no") if pointwise else ids,
      label=label,
      history_ids=(tuple(i.item_id for i in history) if has_user else ()),
      split=request["split"],
    )
    found = leaks.problems(
      row,
      target_title=target.title,
      target_id=target.item_id,
      history_titles=(slots.history or ()) if has_user else (),
      item_title=item,
    )
    if found:
      raise leaks.InstructionLeakError(
        f"instruction {row.example_id}: {'; '.join(found)}"
      )
    return row

  @staticmethod
  def _pointwise(
    titles: Sequence[str], label: int, key: int
  ) -> tuple[int, str, str]:
    """Label, response and item of a T0 row: half right, half a negative."""
    if key % 2:
      return 0, YES, titles[label]
    negatives = [t for i, t in enumerate(titles) if i != label]
    return 1, NO, negatives[(key >> 1) % len(negatives)]


class _ItemCache(dict):
  """Items by id, each looked up once: a catalogue row costs microseconds."""

  def __init__(self, prepared: dataset.PreparedData) -> None:
    super().__init__()
    self._catalog = prepared.catalog

  def __missing__(self, item_id: str) -> Item:
    item = self[item_id] = self._catalog[item_id]
    return item
