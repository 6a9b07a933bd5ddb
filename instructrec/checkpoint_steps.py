"""Which of a run's checkpoints is meant: the best, the latest, or a step."""

import dataclasses

BEST, LATEST = "best", "latest"
ASKED_FOR, NEWEST = "asked for", "the newest"
Step = int | str


def parse(value: Step) -> Step:
  """A choice of a checkpoint as people write it.

  Args:
    value: "best", "latest" or a step, as a number or its digits.

  Returns:
    One of the two words, or the number.

  Raises:
    ValueError: for anything else.
  """
  if value in (BEST, LATEST):
    return value
  if str(value).isdecimal() and not isinstance(value, bool):
    return int(value)
  raise ValueError(
    f"a checkpoint {value!r} was asked for, expected {BEST!r}, {LATEST!r} or a "
    "step, such as 500"
  )


@dataclasses.dataclass(frozen=True)
class Chosen:
  """A checkpoint that was taken.

  Attributes:
    step: its step.
    reason: why this one, in words.
  """

  step: int
  reason: str

  def __str__(self) -> str:
    return f"checkpoint_{self.step} ({self.reason})"
