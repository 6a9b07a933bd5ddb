"""How often a model names the category of an item: the reverse question.

    exact = answers that are the item's most specific category / questions
    any   = answers that are one of its categories / questions

Answers count to the letter. The commonest answer, given to each question, is
what knows nothing of the item.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from instructrec.evaluation import (
  control_report,
  intervals,
  markdown,
  published,
)

COMMONEST = "commonest answer"
_NAMES = ("most specific category", "any of its categories")


def hits(
  said: Sequence[str], right: Sequence[Sequence[str]]
) -> Float[np.ndarray, "questions 2"]:
  """Exact and any of each question; see the module.

  Args:
    said: the answers.
    right: categories of each item, the most specific one first.

  Returns:
    1 where an answer is right.
  """
  return np.array(
    [
      [answer == names[0], answer in names]
      for answer, names in zip(said, right, strict=True)
    ],
    np.float64,
  ).reshape(-1, 2)


def section(
  group: str,
  said: Sequence[str],
  right: Sequence[Sequence[str]],
  *,
  seed: int,
  num_resamples: int = intervals.NUM_RESAMPLES,
) -> control_report.Section:
  """A table of the model's answers and the commonest one.

  Args:
    group: name of the questions.
    said: as `hits` takes them; one at least.
    right: likewise.
    seed: of the bootstrap.
    num_resamples: likewise.

  Returns:
    What a report says of them.
  """
  answers, counts = np.unique([names[0] for names in right], return_counts=True)
  always = [str(answers[counts.argmax()])] * len(right)
  rows = []
  for name, each in (("model", said), (COMMONEST, always)):
    means = intervals.bootstrap(
      hits(each, right), seed=seed, num_resamples=num_resamples
    )
    figures = [published.Figure(m.mean, m.low, m.high) for m in means]
    found = dict(zip(_NAMES, figures, strict=True))
    rows.append(published.Row(name=name, metrics=found))
  table = published.Table(
    name=f"control: {group}",
    metrics=[*_NAMES],
    rows=rows,
    num_requests=len(right),
  )
  shown = [
    (
      row.name,
      *(
        f"{m.mean:.3f} [{m.low:.3f}, {m.high:.3f}]"
        for m in row.metrics.values()
      ),
    )
    for row in rows
  ]
  lines = [
    f"## Control: {group}",
    "",
    f"{len(right):,} questions; answers count to the letter.",
    "",
    markdown.table(("answers", *_NAMES), shown),
    "",
  ]
  return control_report.Section(lines, table)
