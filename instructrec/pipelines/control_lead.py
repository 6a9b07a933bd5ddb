"""What leads written lists, matches and what is read: chosen on validation."""

import numpy as np
from jaxtyping import Int

from instructrec.pipelines import control_writing

MATCHES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Nats of a title for one of a match, that are tried."""
PULLS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Nats of matches, that are tried for what was read."""
NUM_REQUESTS = 50
"""Of validation at most, each with a row of every task."""


def fitted(writer: control_writing.ControlWriter) -> control_writing.Lead:
  """What leads the lists that have most of what validation rows teach.

  Such lists obey, and are a retriever's best: one figure for both. Matches are
  weighed first, and then what is read beside them.

  Args:
    writer: a run that matches titles, and rows of validation.

  Returns:
    The weights, the smallest among equals.
  """
  found = _best(writer, [control_writing.Lead(each) for each in MATCHES])
  return _best(writer, [found._replace(pull=each) for each in PULLS])


def _best(
  writer: control_writing.ControlWriter, leads: list[control_writing.Lead]
) -> control_writing.Lead:
  """The first of those whose lists have most of what is taught."""
  taught = writer.taught
  rows = np.arange(len(taught))
  found = [
    shared(
      writer.constrained(f"lead {lead.match:g} {lead.pull:g}", rows, lead=lead),
      taught,
    )
    for lead in leads
  ]
  return leads[int(np.argmax(found))]


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


def description(
  lead: control_writing.Lead, writer: control_writing.ControlWriter
) -> str:
  """What the report says of it.

  Args:
    lead: what was chosen.
    writer: of the rows that are reported.
  """
  asked, said = writer.asked, writer.said
  same = (asked.having == said.having).all(1)
  for own, read in zip(asked.bounds, said.bounds, strict=True):
    same &= own == read
  return (
    f"Led lists take the token of which log-probability and {lead.match:g} "
    "times the log share of matches below it are most together; what was read "
    f"pulls by up to {lead.pull:g} nats of matches. The weights are those of "
    f"{_listed(MATCHES)} and {_listed(PULLS)} whose lists have most of what "
    f"validation rows teach. Of {len(same):,} rows {same.mean():.3f} were read "
    "as they ask."
  )


def _listed(values: tuple[float, ...]) -> str:
  return ", ".join(f"{each:g}" for each in values)
