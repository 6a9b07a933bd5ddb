"""Checks that an instruction does not say its own answer, or the future.

The rules for what stands in the inputs, outside the choices that are offered
(the list of T3, the pair of T1, the item of T0):

- not the target's title, nor in quotes its id, unless the template gives the
  target and asks for something else. A title counts as said where it stands
  between word boundaries, ignoring case. Titles of the history are taken out
  first (the target's may be part of one: "FIFA 12" of "FIFA 12 Goalie
  Gloves"), and so are titles of a single word in running text, which may be
  ordinary words. What the template itself says tells nothing of the target,
  and if there is a film called "The Customer";
- no title, in quotes, of what the user takes after the target;
- in a stated wish, outside titles of the history, none of the words that
  distinguish the target's title: hardly another title has them. Its
  attributes may be said, for they are what a person knows of what they want;
- no eight words in a row of the user's review of the target, unless the row
  declares that origin or a review of the history says the same.
"""

import dataclasses
from collections.abc import Sequence

from instructrec.data.catalog import Item
from instructrec.instructions import format as instruction_format
from instructrec.instructions import keyphrases, quality, render

_SHINGLE = 8


class InstructionLeakError(ValueError):
  """An instruction gives its own answer away."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
  """What must be known of a row to check it.

  Attributes:
    target: the right item.
    history: what the row may say of the user's past.
    later: what the user takes after the target.
    taken_before: whether the user had taken the target before, and takes it
      again (`prepare --repeats=keep`).
    target_review: the user's review of the target, if there is one.
    history_review: a review that the row may use, if there is one.
    asked: titles that the row offers as choices.
    target_given: whether the template gives the target and asks for something
      else.
    review_allowed: whether the row declares to be made from the target's
      review.
    wish: a stated wish; None where there is none.
    hidden_words: what it must not say.
    template: what the template itself says.
  """

  target: Item
  history: Sequence[Item] = ()
  later: Sequence[Item] = ()
  taken_before: bool = False
  target_review: str | None = None
  history_review: str | None = None
  asked: Sequence[str] = ()
  target_given: bool = False
  review_allowed: bool = False
  wish: str | None = None
  hidden_words: frozenset[str] = frozenset()
  template: str = ""


def problems(row: instruction_format.Instruction, known: Known) -> list[str]:
  """What gives the answer away, in words; empty where nothing does.

  Args:
    row: the instruction.
    known: what is known of it.

  Returns:
    Problems.
  """
  text = row.inputs
  form = row.task_form
  if form == instruction_format.TaskForm.T3:
    text = text.replace(render.join_titles(row.candidates), " ")
  elif form != instruction_format.TaskForm.T2:
    for title in known.asked:
      # One of them may be the target: that is what is asked.
      text = text.replace(render.quote(title), " ", 1)
  target = known.target
  found = []
  if target.item_id in row.history_ids and not known.taken_before:
    found.append(f"the target {target.item_id} is in the history")
  allowed = {item.item_id for item in known.history}
  if strangers := set(row.history_ids) - allowed:
    found.append(f"{sorted(strangers)} are no part of the history")
  for item in known.history:
    text = text.replace(render.quote(item.title), " ")
  if known.target_given:
    # Reviews name what they review.
    text = text.replace(render.quote(target.title), " ")
  else:
    if render.quote(target.title) in text:
      found.append(f"the inputs quote the target's title {target.title!r}")
    elif quality.times_said(text, target.title) > quality.times_said(
      known.template, target.title
    ):
      found.append(f"the inputs say the target's title {target.title!r}")
    if render.quote(target.item_id) in text:
      found.append(f"the inputs hold the target's id {target.item_id!r}")
  if known.wish is not None:
    wish = known.wish
    for item in known.history:
      wish = wish.replace(render.quote(item.title), " ")
    if told := known.hidden_words & set(keyphrases.tokens(wish)):
      found.append(f"the wish says {sorted(told)}, which tell the target")
  for item in known.later:
    if item is not target and render.quote(item.title) in text:
      found.append(f"the inputs quote {item.title!r}, taken after the target")
  if known.target_review and not known.review_allowed:
    said = _shingles(text) & _shingles(known.target_review)
    if said - _shingles(known.history_review or ""):
      found.append("the inputs quote the user's review of the target")
  return found


def check(row: instruction_format.Instruction, known: Known) -> None:
  """Refuses a row that leaks.

  Args:
    row: the instruction.
    known: what is known of it.

  Raises:
    InstructionLeakError: naming the row and its problems.
  """
  if found := problems(row, known):
    raise InstructionLeakError(
      f"instruction {row.example_id}, whose target is item "
      f"{known.target.item_id!r}: {'; '.join(found)}"
    )


def _shingles(text: str) -> set[tuple[str, ...]]:
  words = keyphrases.tokens(text)
  return {
    tuple(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1)
  }
