"""The format of instructions: preference, intention, task form (P/I/T).

After the InstructRec paper, section 3.1: what is known of the user's taste
(P), what the user wants now (I), and what is asked of the model (T).
"""

import dataclasses
import enum


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


class TaskType(enum.StrEnum):
  """The three kinds of task; one SeqIO task each."""

  SEQUENTIAL = "sequential"
  PRODUCT_SEARCH = "product_search"
  PERSONALIZED_SEARCH = "personalized_search"


class Origin(enum.StrEnum):
  """What an intention was made from."""

  NONE = "none"
  HISTORY = "history"
  TARGET_REVIEW = "target_review"
  TARGET_ATTRIBUTES = "target_attributes"


YES, NO = "Yes", "No"
MATCH_CANDIDATES = (YES, NO)


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
  """One instruction and its response: a row of the data set.

  Attributes:
    example_id: unique id.
    task: task type.
    template_id: the template it was made with.
    preference: such as "P0", "P1" or "P1+P2".
    intention: such as "I0".
    task_form: such as "T2".
    intention_origin: what the intention was made from.
    user_id: whose.
    request_id: the request it was made from.
    inputs: the instruction.
    targets: the response.
    candidates: responses to choose from: titles, or Yes and No.
    candidate_ids: item ids of the candidates ("yes" and "no" for T0).
    label: index of the right candidate.
    history_ids: item ids of the history, oldest first.
    split: "train", "validation" or "test".
  """

  example_id: str
  task: str
  template_id: str
  preference: str
  intention: str
  task_form: str
  intention_origin: str
  user_id: str
  request_id: str
  inputs: str
  targets: str
  candidates: tuple[str, ...]
  candidate_ids: tuple[str, ...]
  label: int
  history_ids: tuple[str, ...]
  split: str
