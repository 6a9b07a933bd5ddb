"""Registers the shipped tasks and mixtures, version 1; see `tasks.instructrec`.

T5X has a module `tasks` of its own. Started as a script (`python
t5x/train.py`) it comes before our package of that name, so gin files that run
under T5X import this module.
"""

from instructrec.instructions import plans, templates
from instructrec.pipelines import control_tasks, registry, vocabulary

NAMES = [
  *registry.register(vocabulary.default(), prefix="instructrec_v1"),
  *registry.register(
    vocabulary.default(),
    prefix="genrec_v1",
    template_set=templates.load(kinds=[templates.GENREC]),
    eval_templates=plans.GENREC_EVAL_TEMPLATES,
  ),
  *control_tasks.register(vocabulary.default(), prefix="control_v1"),
  *control_tasks.register_general(
    "control_v1",
    {
      templates.INSTRUCTREC: "instructrec_v1",
      templates.GENREC: "genrec_v1",
    },
  ),
]
