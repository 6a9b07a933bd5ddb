"""Which tasks there are, and how mixtures weigh them.

Every template counts the same: the weight of a task is the number of
templates that write its rows, where a template whose query or optional part
is drawn counts with the share of its forms. The InstructRec paper does not
state its ratios.
"""

import collections
from collections.abc import Callable, Sequence

from instructrec.instructions import plans, render, templates
from instructrec.instructions.format import TaskForm, TaskType
from instructrec.instructions.template import Template


def weights(
  template_set: templates.TemplateSet,
  keep: Callable[[Template], bool] = lambda template: True,
) -> dict[str, float]:
  """Tasks with the number of training templates behind each.

  Args:
    template_set: the templates.
    keep: which of them count.

  Returns:
    Weights by task name, in order of the templates.
  """
  found: dict[str, float] = collections.defaultdict(float)
  for template in template_set.of(held_out=False):
    if not keep(template):
      continue
    forms = [
      render.Form(template, query=query, optional=optional)
      for query in template.query or (None,)
      for optional in (False, True)
    ]
    for form in forms:
      found[form.task_name] += 1 / len(forms)
  return dict(found)


def evaluation_tasks(
  template_set: templates.TemplateSet,
  names: Sequence[str] = plans.EVAL_TEMPLATES,
) -> list[str]:
  """The tasks that the evaluation templates write."""
  return [render.Form(template_set[name]).task_name for name in names]


def matching(template_set: templates.TemplateSet) -> dict[str, float]:
  """Tasks whose response is an item that the instruction does not list."""
  return weights(
    template_set, lambda t: t.kind.names_item and t.form is TaskForm.T2
  )


def mixtures(
  template_set: templates.TemplateSet,
  eval_templates: Sequence[str] = plans.EVAL_TEMPLATES,
) -> dict[str, dict[str, float]]:
  """The mixtures, by what is put behind their prefix.

  - "" : the 39 templates of the paper; all of a set that has none of these;
  - "_all": these and ours;
  - "_direct": those whose response is an item, or Yes or No;
  - "_matching": those whose response is an item that the instruction does not
    list (T2), which is what objectives over the catalogue learn from;
  - "_without_<task type>": the paper's but for one group, to test on that;
  - "_evaluated": the tasks that have validation and test rows, for generation;
  - "_without_vague": the paper's but for personalised search with a vague
    intention, which its Figure 3 holds out.

  Args:
    template_set: the templates.
    eval_templates: those of the validation and test rows.

  Returns:
    For each mixture its tasks with weights; those without tasks are left out.
  """
  paper = weights(template_set, lambda template: template.paper is not None)
  every = weights(template_set)
  result = {
    "": paper or every,
    "_all": every,
    "_direct": weights(template_set, lambda t: t.kind.names_item),
    "_matching": matching(template_set),
    "_evaluated": dict.fromkeys(
      evaluation_tasks(template_set, eval_templates), 1.0
    ),
  }
  for group in TaskType:
    result[f"_without_{group}"] = {
      name: weight
      for name, weight in paper.items()
      if not name.startswith(f"{group}_")
    }
  result["_without_vague"] = {
    name: weight
    for name, weight in paper.items()
    if not (name.startswith("personalized") and name.endswith("i1"))
  }
  return {suffix: found for suffix, found in result.items() if found}
