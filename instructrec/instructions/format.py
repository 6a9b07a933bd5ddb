"""The format of instructions: preference, intention, task form (P/I/T).

After the InstructRec paper, section 3.1: what is known of the user's taste
(P), what the user wants now (I), and what is asked of the model (T).
"""

import dataclasses
import enum
import re


class Preference(enum.StrEnum):
  """What an instruction says of the user's lasting taste."""

  P0 = "P0"
  """Nothing."""
  P1 = "P1"
  """Implicit: the titles of the history."""
  P2 = "P2"
  """Explicit: a statement of taste in words."""


class Intention(enum.StrEnum):
  """What an instruction says of the user's present wish."""

  I0 = "I0"
  """Nothing."""
  I1 = "I1"
  """Vague."""
  I2 = "I2"
  """Specific."""


class TaskForm(enum.StrEnum):
  """What is asked of the model."""

  T0 = "T0"
  """Pointwise: does this item suit? Yes or No."""
  T1 = "T1"
  """Pairwise: which of two items."""
  T2 = "T2"
  """Matching: name an item of the catalogue."""
  T3 = "T3"
  """Reranking: choose from a candidate list in the instruction."""


class Kind(enum.StrEnum):
  """How an instruction relates what goes in to what comes out.

  After the InstructRec paper, section 3.2.2 (diversity of instructions).
  """

  DIRECT = "direct"
  """The response is an item, or Yes or No."""
  COT = "cot"
  """Chain of thought: the response says the preference, then the item."""
  TURNED_AROUND = "turned_around"
  """What is usually given is asked for: preference, query or history."""
  RELATEDNESS = "relatedness"
  """Preference, query, item and history: some tell the others."""
  PAIRWISE = "pairwise"
  """The response is one of two items; not in the paper."""
  NEXT_TITLE = "next_title"
  """The response is the item that follows a history, out of the whole
  catalogue: the task of GenRec."""

  @property
  def names_item(self) -> bool:
    """Whether the response is a title, or Yes or No, and nothing else."""
    return self in (Kind.DIRECT, Kind.NEXT_TITLE)


class TaskType(enum.StrEnum):
  """The three groups of templates."""

  SEQUENTIAL = "sequential"
  PRODUCT_SEARCH = "product_search"
  PERSONALIZED_SEARCH = "personalized_search"


class Origin(enum.StrEnum):
  """What a preference or an intention was made from."""

  NONE = "none"
  HISTORY = "history"
  HISTORY_REVIEW = "history_review"
  TARGET_REVIEW = "target_review"
  TARGET_ATTRIBUTES = "target_attributes"
  STATED = "stated"
  """What a person knows of what they want: see `wishes.py`."""
  TEACHER = "teacher"
  """What a retriever would show, whatever the target is."""
  CATALOGUE = "catalogue"
  """Any of what items have."""


YES, NO = "Yes", "No"
MATCH_CANDIDATES = (YES, NO)
FINE_GRAINED = "fine_grained"


@dataclasses.dataclass(frozen=True, slots=True)
class FineGrained:
  """One text of a teacher: a row of the fine-grained instructions.

  Attributes:
    text_id: unique id.
    kind: "P2", "I1", "I1*" or "I2".
    origin: what it was made from.
    user_id: whose.
    request_id: the request it was made for.
    text: what the teacher wrote.
    split: "train", "validation" or "test".
  """

  text_id: str
  kind: str
  origin: str
  user_id: str
  request_id: str
  text: str
  split: str

  @property
  def config(self) -> str:
    """The TFDS config that holds it."""
    return FINE_GRAINED


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
  """One instruction and its response: a row of the data set.

  Attributes:
    example_id: unique id.
    task: task type.
    template_id: the template it was made with.
    kind: such as "direct".
    preference: what the inputs say of the taste: "P0", "P1", "P2" or "P1+P2".
    intention: what they say of the wish: "I0", "I1", "I2" or "I1+I2".
    task_form: such as "T2".
    intention_origin: what the wish, in inputs or response, was made from.
    user_id: whose.
    request_id: the request it was made from.
    inputs: the instruction.
    prompt: the instruction with the mark `render.HISTORY_MARK` in place of its
      history; equal to `inputs` where it has none.
    targets: the response.
    target_id: id of the item that the response names; "" where it names none
      (T0), one of a pair (T1), or what is usually given (turned around). Of
      kinds cot and relatedness the response says more than the item's title.
    candidates: responses to choose from: titles, or Yes and No; empty where
      the response is no choice.
    candidate_ids: item ids of the candidates ("yes" and "no" for T0).
    label: index of the right candidate; -1 where there are none.
    history_ids: item ids of the history, oldest first.
    split: "train", "validation" or "test".
    wish_text: the wish in inputs or response; empty where there is none.
    wish_stance: of a stated wish: "agreeing" with the history, at "odds" with
      it, or "useless"; empty for others, as are the next three.
    wish_sources: what it was made from: "category", "-brand" for a brand that
      is not wanted.
    wish_attributes: its attributes: "category:puzzles", "-brand:Oakline".
    wish_bits: log2(items of the catalogue / items that fit).
  """

  example_id: str
  task: str
  template_id: str
  kind: str
  preference: str
  intention: str
  task_form: str
  intention_origin: str
  user_id: str
  request_id: str
  inputs: str
  prompt: str
  targets: str
  target_id: str
  candidates: tuple[str, ...]
  candidate_ids: tuple[str, ...]
  label: int
  history_ids: tuple[str, ...]
  split: str
  wish_text: str = ""
  wish_stance: str = ""
  wish_sources: tuple[str, ...] = ()
  wish_attributes: tuple[str, ...] = ()
  wish_bits: float = 0.0

  @property
  def shown_history(self) -> tuple[str, ...]:
    """Item ids of the titles that the mark in the prompt stands for."""
    return self.history_ids if self.prompt != self.inputs else ()

  @property
  def config(self) -> str:
    """The TFDS config and SeqIO task of the row; see `task_name`."""
    return task_name(self.task, self.kind, self.preference, self.intention)


CONTROL = "control"
"""The task of rows that are `Control`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Control(Instruction):
  """A row of a control task: what is asked of a list, and a list that obeys.

  `kind` is the control task, such as "wanted"; `targets` a list of titles as
  `title_list.write` has it. `target_id` is what the response begins with where
  that is what the user took next, else "".

  Attributes:
    constraints: what is asked, each as `alignment.constraint.Constraint` is
      written: "at_most 30% category:puzzles"; empty for a plain list.
    k: titles that are asked for; 0 where the response is no list.
    label_ids: items of the response, in order.
    next_id: what the user took next; "" where the row is about no user.
    teacher_ids: the retriever's best for the user's history, whatever is asked,
      best first; empty where the row is about no user.
    epoch: of the draws; 0 in validation and test.
    unseen: what of the row no training row has: "wording", "threshold", "k".
  """

  constraints: tuple[str, ...] = ()
  k: int = 0
  label_ids: tuple[str, ...] = ()
  next_id: str = ""
  teacher_ids: tuple[str, ...] = ()
  epoch: int = 0
  unseen: tuple[str, ...] = ()

  @property
  def config(self) -> str:
    """The TFDS config and SeqIO task of the row, such as "control_wanted"."""
    return f"{self.task}_{self.kind}"


def task_name(task: str, kind: str, preference: str, intention: str) -> str:
  """One SeqIO task a task type and P/I combination.

  Rows that are not direct have one task a kind instead: their P and I say
  little about what is asked.

  Args:
    task: task type.
    kind: kind of template.
    preference: such as "P1+P2".
    intention: such as "I0".

  Returns:
    Such as "sequential_p1p2_i0" or "sequential_cot".
  """
  if kind != Kind.DIRECT:
    return f"{task}_{kind}"
  return f"{task}_{preference}_{intention}".replace("+", "").lower()


_TASKS = {
  TaskType.SEQUENTIAL: "Sequential recommendation: which item comes next",
  TaskType.PRODUCT_SEARCH: "Product search: which item a query means, whoever "
  "asks",
  TaskType.PERSONALIZED_SEARCH: "Personalized search: which item this user "
  "means by a query",
}
_PREFERENCES = {
  Preference.P0: "nothing of the user's taste",
  Preference.P1: "the titles of the user's history",
  Preference.P2: "the user's taste, stated in words",
}
_INTENTIONS = {
  Intention.I0: "no wish",
  Intention.I1: "a vague wish",
  Intention.I2: "a specific wish",
}
_TASK_NAME = re.compile(
  rf"({'|'.join(TaskType)})_((?:p\d)+)_((?:i\d)+)(?![a-z0-9])"
)


def in_words(name: str) -> str:
  """What the name of a direct task means.

  Args:
    name: of `task_name`; more may follow a comma.

  Returns:
    A sentence or two in which each of P and I is explained; "" for any other
    name.
  """
  found = _TASK_NAME.match(name)
  if found is None:
    return ""
  task, preferences, intentions = found.groups()
  told = [
    f"{meanings[code]} ({code})"
    for codes, meanings in (
      (preferences, _PREFERENCES),
      (intentions, _INTENTIONS),
    )
    for code in re.findall(r"[PI]\d", codes.upper())
  ]
  return (
    f"{_TASKS[TaskType(task)]}. The instruction holds "
    f"{', '.join(told[:-1])} and {told[-1]}."
  )
