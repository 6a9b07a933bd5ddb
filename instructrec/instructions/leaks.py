"""Checks that an instruction does not say its own answer.

The rule: outside the candidate list of T3 and the item of T0, the inputs hold
neither the target's title nor, in quotes, its id. A title counts as said where
it stands between word boundaries, ignoring case. Titles of the history are
taken out first (the target's may be part of one: "FIFA 12" of "FIFA 12 Goalie
Gloves"), and so are titles of a single word in running text, which may be
ordinary words.
"""

import re
from collections.abc import Sequence

from instructrec.instructions import format as instruction_format
from instructrec.instructions import render


class InstructionLeakError(ValueError):
  """An instruction gives its own answer away."""


def problems(
  row: instruction_format.Instruction,
  *,
  target_title: str,
  target_id: str,
  history_titles: Sequence[str],
  item_title: str | None = None,
) -> list[str]:
  """What gives the answer away, in words; empty where nothing does.

  Args:
    row: the instruction.
    target_title: title of the right item.
    target_id: its id.
    history_titles: titles of the history.
    item_title: title of the item that a T0 instruction asks about.

  Returns:
    Problems.
  """
  text = row.inputs
  if row.task_form == instruction_format.TaskForm.T3:
    text = text.replace(render.join_titles(row.candidates), " ")
  if item_title is not None:
    # The item in question may be the target: that is what is asked.
    text = text.replace(render.quote(item_title), " ", 1)
  found = []
  if target_id in row.history_ids:
    found.append(f"the target {target_id} is in the history")
  for title in history_titles:
    text = text.replace(render.quote(title), " ")
  if render.quote(target_title) in text:
    found.append(f"the inputs quote the target's title {target_title!r}")
  elif len(target_title.split()) > 1 and re.search(
    rf"(?<!\w){re.escape(target_title)}(?!\w)", text, re.IGNORECASE
  ):
    found.append(f"the inputs say the target's title {target_title!r}")
  if render.quote(target_id) in text:
    found.append(f"the inputs hold the target's id {target_id!r}")
  return found
