"""Registers the SeqIO tasks and mixtures of control.

A task for each control task, such as `control_v1_wanted`, over the TFDS config
of its rows. `control_v1_mixture` mixes them; `control_v1_general` adds a third
of rows that name an item, InstructRec's and GenRec's, so that a model does not
unlearn them. All have a second form ending in `_items`; see `registry.py`.
"""

from collections.abc import Sequence

import seqio

from instructrec.alignment.wordings import ControlTask
from instructrec.instructions import format as instruction_format
from instructrec.instructions import mixtures, templates
from instructrec.pipelines import item_features, registry

WEIGHTS = {
  ControlTask.PLAIN: 1.0,
  ControlTask.WANTED: 0.5,
  ControlTask.UNWANTED: 0.5,
  ControlTask.PROPORTION: 1.0,
  ControlTask.COMBINED: 0.5,
  ControlTask.COLD_WANTED: 0.25,
  ControlTask.COLD_UNWANTED: 0.25,
  ControlTask.CATEGORY: 0.5,
}
"""Of the mixture: about the rows that the paper has of each. Its baseline PALR
is trained on its own task alone."""
GENERAL_SHARE = 0.5
"""Rows of other tasks for each control row, as the paper has of chats."""


def register(
  vocabulary: seqio.Vocabulary, *, prefix: str = "control_v1"
) -> list[str]:
  """Registers the tasks and mixtures of control.

  The tasks `instructrec_v1_*` and `genrec_v1_*` are registered before.

  Args:
    vocabulary: of inputs and targets.
    prefix: what the names begin with.

  Returns:
    The names registered: tasks, then mixtures.

  Raises:
    ValueError: for names registered before.
  """
  suffixes = ("", item_features.SUFFIX)
  names = []
  for suffix in suffixes:
    for task in ControlTask:
      names.append(f"{prefix}_{task}{suffix}")
      registry.add_answers(
        names[-1],
        f"{instruction_format.CONTROL}_{task}",
        vocabulary,
        with_items=bool(suffix),
      )
  for suffix in suffixes:
    control = [
      (f"{prefix}_{task}{suffix}", weight) for task, weight in WEIGHTS.items()
    ]
    for name, weighted in (
      ("mixture", control),
      ("general", control + _general(suffix)),
    ):
      names.append(f"{prefix}_{name}{suffix}")
      seqio.MixtureRegistry.add(names[-1], weighted)
  return names


def _general(suffix: str) -> Sequence[tuple[str, float]]:
  """Tasks that name an item, both systems' alike often."""
  total = GENERAL_SHARE * sum(WEIGHTS.values())
  result = []
  for prefix, kind in (
    ("instructrec_v1", templates.INSTRUCTREC),
    ("genrec_v1", templates.GENREC),
  ):
    found = mixtures.matching(templates.load(kinds=[kind]))
    share = total / len(templates.KINDS) / sum(found.values())
    result += [
      (f"{prefix}_{task}{suffix}", weight * share)
      for task, weight in found.items()
    ]
  return result
