"""Tables and blocks of a report in Markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from instructrec import foreign_text
from instructrec.evaluation import (
  agreement,
  bias,
  differences,
  intervals,
  results,
)


def cell(value: Any) -> str:
  """A value as the text of a table cell: one line, no markup, no bare pipe.

  Args:
    value: anything JSON has; mappings and lists are spelt out.

  Returns:
    The text.
  """
  if value is None:
    return "none"
  if isinstance(value, Mapping):
    pairs = value.items()
    return ", ".join(f"{cell(name)}: {cell(item)}" for name, item in pairs)
  if isinstance(value, list | tuple):
    return ", ".join(map(cell, value))
  return foreign_text.in_markdown(str(value)).replace("|", "\\|")


def signed(interval: intervals.Interval) -> str:
  """A difference with its interval, as `+0.120 [+0.080, +0.160]`.

  Args:
    interval: of a difference.

  Returns:
    The text.
  """
  low, high = f"{interval.low:+.3f}", f"{interval.high:+.3f}"
  return f"{interval.mean:+.3f} [{low}, {high}]"


def p_value(value: float) -> str:
  """A p-value, as `p 0.042` or `p <0.001`.

  Args:
    value: from 0 to 1.

  Returns:
    The text.
  """
  return "p <0.001" if value < 0.001 else f"p {value:.3f}"


def compared(found: differences.Difference) -> str:
  """A difference with its test, in bold where it is clear.

  Args:
    found: the difference.

  Returns:
    Text such as `**+0.120 [+0.080, +0.160]** p <0.001 d +0.31 (55:19)`.
  """
  gap = signed(found.interval)
  size = found.effect_size
  return " ".join(
    [
      f"**{gap}**" if found.is_clear else gap,
      p_value(found.p_holm),
      "d none" if size is None else f"d {size:+.2f}",
      f"({found.num_better:,}:{found.num_worse:,})",
    ]
  )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A table.

  Args:
    head: names of the columns.
    rows: their cells, in which no pipe is bare.

  Returns:
    The text.
  """
  first, *others = ("| " + " | ".join(row) + " |" for row in (head, *rows))
  return "\n".join([first, "|---" * len(head) + "|", *others])


def metric_table(result: results.EvaluationResult) -> str:
  """All methods and metrics with intervals; the last row is chance.

  Args:
    result: one group's result.

  Returns:
    The table.
  """
  names = list(result.chance)
  rows = [
    [cell(name)]
    + [
      f"{row[m].mean:.3f} [{row[m].low:.3f}, {row[m].high:.3f}]" for m in names
    ]
    for name, row in result.methods.items()
  ]
  chance = ["*chance*", *(f"{result.chance[m]:.3f}" for m in names)]
  return table(["method", *names], [*rows, chance])


def difference_table(result: results.EvaluationResult) -> str:
  """Each pair of methods, in bold where they clearly differ.

  Args:
    result: one group's result.

  Returns:
    The table.
  """
  names = result.compared
  pairs = dict.fromkeys((d.method, d.reference) for d in result.differences)
  rows = [
    [f"{cell(method)} - {cell(reference)}"]
    + [compared(result.difference(method, reference, m)) for m in names]
    for method, reference in pairs
  ]
  return table(["difference", *names], rows)


def breakdown_table(found: bias.Breakdown) -> str:
  """HR@1 and NDCG@10 of each stratum, beside chance.

  Args:
    found: requests split by one thing.

  Returns:
    The table, a row for each stratum.
  """

  def both(values: Mapping[str, Sequence[float]], place: int) -> str:
    return " / ".join(f"{values[m][place]:.3f}" for m in bias.METRICS)

  names = [cell(name) for name in found.means]
  rows = [
    [label, f"{found.counts[place]:,}", f"*{both(found.chance, place)}*"]
    + [both(values, place) for values in found.means.values()]
    for place, label in enumerate(found.labels)
  ]
  return table([found.name, "requests", "*chance*", *names], rows)


def exposure_table(found: Mapping[str, bias.Exposure]) -> str:
  """Coverage, Gini coefficient and popularity of what methods show.

  Args:
    found: by method.

  Returns:
    The table.
  """
  lines = [
    "| method | items shown | coverage | Gini | mean popularity |",
    "|---|---|---|---|---|",
  ]
  lines += [
    f"| {cell(name)} | {e.k} a request | {e.coverage:.1%} | {e.gini:.3f} | "
    f"{e.mean_popularity:,.1f} |"
    for name, e in found.items()
  ]
  return "\n".join(lines)


def agreement_table(found: Mapping[str, agreement.Agreement]) -> str:
  """How far rankings agree over several orders of the same candidates.

  Args:
    found: by method.

  Returns:
    The table.
  """
  head = ["method", "orders", "the same best candidate", "Kendall's tau-b"]
  rows = [
    [
      cell(name),
      f"{a.num_shuffles}",
      f"{a.top_1:.1%}",
      "none" if a.kendall_tau is None else f"{a.kendall_tau:.3f}",
    ]
    for name, a in found.items()
  ]
  return table(head, rows)


def run_table(result: results.EvaluationResult) -> str:
  """Mean and standard deviation over runs of those methods that have several.

  Args:
    result: one group's result.

  Returns:
    The table.
  """
  names = list(result.chance)
  rows = [
    [cell(method), str(len(means[names[0]]))]
    + [
      f"{np.mean(means[m]):.3f} ± {np.std(means[m], ddof=1):.3f}" for m in names
    ]
    for method, means in result.runs.items()
  ]
  return table(["method", "runs", *names], rows)


def picture(text: str, file: str) -> str:
  """A picture.

  Args:
    text: what it shows, for those who do not see it.
    file: beside the page.

  Returns:
    The reference, whatever brackets the text has.
  """
  text = " ".join(foreign_text.printable(text).split())
  text = re.sub(r"([\\\[\]])", r"\\\1", text)
  return f"![{text}]({file})"


def facts(values: Mapping[str, Any]) -> str:
  """Names and values as a table without a heading.

  Args:
    values: by name.

  Returns:
    The table.
  """
  lines = ["| | |", "|---|---|"]
  lines += [
    f"| {cell(name)} | {cell(value)} |" for name, value in values.items()
  ]
  return "\n".join(lines)


def fenced(text: str) -> str:
  """A block of literal text, whatever backticks it holds.

  Args:
    text: shown as it is.

  Returns:
    The block.
  """
  longest = max(map(len, re.findall("`+", text)), default=0)
  fence = "`" * max(3, longest + 1)
  return f"{fence}\n{text}\n{fence}"
