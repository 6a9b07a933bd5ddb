"""Registers the SeqIO tasks and mixtures of control.

A task for each control task, such as `control_v1_wanted`, over the TFDS config
of its rows. `control_v1_mixture` mixes them; `control_v1_general` adds a third
of rows that name an item, InstructRec's and GenRec's, so that a model does not
unlearn them; `control_v1_single` is that third alone, to compare with.
`control_v1_lists` has the lists for a user's history alone, which
can be rewarded (`alignment.list_objective`). All have a second form ending in
`_items`, see `registry.py`, and those of `control_v1_lists` a third ending in
`_asked`, which says what is asked of lists: `list_features.py`.
"""

from collections.abc import Iterable, Mapping

import seqio

from instructrec.alignment.wordings import ControlTask
from instructrec.instructions import format as instruction_format
from instructrec.instructions import mixtures, templates
from instructrec.pipelines import (
  control_metrics,
  item_features,
  list_features,
  registry,
)

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
_REWARDED = (
  ControlTask.PLAIN,
  ControlTask.WANTED,
  ControlTask.UNWANTED,
  ControlTask.PROPORTION,
  ControlTask.COMBINED,
)
GENERAL_SHARE = 0.5
"""Rows of other tasks for each control row, as the paper has of chats."""
_SUFFIXES = ("", item_features.SUFFIX)
_MIXTURES = {"mixture": tuple(WEIGHTS), "lists": _REWARDED}
_FORMS = {
  **dict.fromkeys(_SUFFIXES, (tuple(ControlTask), tuple(_MIXTURES))),
  list_features.SUFFIX: (_REWARDED, ("lists",)),
}
"""Tasks and mixtures by the suffix of their names."""


def register(
  vocabulary: seqio.Vocabulary, *, prefix: str = "control"
) -> list[str]:
  """Registers the tasks of control and their mixtures.

  Args:
    vocabulary: of inputs and targets.
    prefix: what the names begin with.

  Returns:
    The names registered: tasks, then mixtures.

  Raises:
    ValueError: for names registered before.
  """
  names = []
  for suffix, (tasks, _) in _FORMS.items():
    for task in tasks:
      names.append(f"{prefix}_{task}{suffix}")
      registry.add_answers(
        names[-1],
        f"{instruction_format.CONTROL}_{task}",
        vocabulary,
        with_items=suffix == item_features.SUFFIX,
        asks_lists=suffix == list_features.SUFFIX,
        measured=(
          control_metrics.of_categories
          if task is ControlTask.CATEGORY
          else control_metrics.of_lists
        ),
      )
  for suffix, (_, mixed) in _FORMS.items():
    for mixture in mixed:
      names.append(f"{prefix}_{mixture}{suffix}")
      weighted = _control(prefix, suffix, _MIXTURES[mixture])
      seqio.MixtureRegistry.add(names[-1], weighted)
  return names


def register_general(prefix: str, others: Mapping[str, str]) -> list[str]:
  """Registers mixtures with rows of other tasks: beside lists, and alone.

  Args:
    prefix: of the tasks of control, which are registered.
    others: prefixes of other tasks, which are registered, by the kind of their
      templates; all are given as often.

  Returns:
    The names registered.

  Raises:
    ValueError: for names registered before, or tasks that are not registered.
  """
  names = []
  share = GENERAL_SHARE * sum(WEIGHTS.values()) / len(others)
  for suffix in _SUFFIXES:
    single = []
    for kind, other in others.items():
      found = mixtures.matching(templates.load(kinds=[kind]))
      single += [
        (f"{other}_{task}{suffix}", weight * share / sum(found.values()))
        for task, weight in found.items()
      ]
    general = _control(prefix, suffix) + single
    for mixture, weighted in (("general", general), ("single", single)):
      names.append(f"{prefix}_{mixture}{suffix}")
      seqio.MixtureRegistry.add(names[-1], weighted)
  return names


def _control(
  prefix: str, suffix: str, tasks: Iterable[ControlTask] = tuple(WEIGHTS)
) -> list[tuple[str, float]]:
  return [(f"{prefix}_{task}{suffix}", WEIGHTS[task]) for task in tasks]
