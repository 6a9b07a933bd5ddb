"""What matches count where they lead written lists: chosen on validation."""

import numpy as np
from jaxtyping import Int

from instructrec.pipelines import control_writing

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Nats of a title for one of a match, that are tried."""
NUM_REQUESTS = 50
"""Of validation, each with a row of every task."""


def fitted(writer: control_writing.ControlWriter) -> float:
  """The weight whose lists have most of what validation rows teach.

  Such lists obey, and are a retriever's best: one figure for both.

  Args:
    writer: a run that matches titles, and rows of validation.

  Returns:
    The weight, the smallest among equals.
  """
  taught = writer.taught
  rows = np.arange(len(taught))
  found = [
    shared(writer.constrained(f"lead {weight:g}", rows, lead=weight), taught)
    for weight in WEIGHTS
  ]
  return WEIGHTS[int(np.argmax(found))]


def shared(
  written: Int[np.ndarray, "rows places"],
  taught: Int[np.ndarray, "rows others"],
) -> float:
  """How much of what is taught is written, the mean of rows.

  Args:
    written: places of items, each once in a row; negative for none.
    taught: likewise, at least one in each row.
  """
  same = taught[:, :, None] == written[:, None, :]
  known = taught >= 0
  return float((same.any(2) & known).sum(1).dot(1 / known.sum(1)) / len(taught))


def description(weight: float) -> str:
  """What the report says of it."""
  return (
    f"Led lists take the token of which log-probability and {weight:g} times "
    "the log share of matches below it are most together; the weight is that "
    f"of {', '.join(f'{each:g}' for each in WEIGHTS)} whose lists have most of "
    "what validation rows teach."
  )
