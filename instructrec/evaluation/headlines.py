"""What a report says first: what leads, and which baselines win.

Every sentence is computed from the results; none is fixed.
"""

from collections.abc import Sequence

from instructrec import foreign_text
from instructrec.evaluation import intervals, markdown, results, significance


def headline(
  result: results.EvaluationResult, metric: str | None = None
) -> str:
  """What leads, what it clearly beats, and what it does not.

  Args:
    result: one group's result.
    metric: the metric to speak of; None for the first of those compared.

  Returns:
    One or two sentences. "Ahead" means that the paired difference is clear:
    its interval leaves out zero, and Holm's p-value is below 0.05; "below
    chance", that the interval is.
  """
  metric = metric or result.compared[0]
  best = max(result.methods, key=lambda name: result.methods[name][metric].mean)
  own, chance = result.methods[best][metric], result.chance[metric]
  text = f"**{foreign_text.in_markdown(best)}** reaches {metric} {own.mean:.3f}"
  side = _side(own, chance, result)
  if side < 0:
    text += ", below chance"
  elif not side:
    text += ", not distinguishable from chance"
  text += f" (chance {chance:.3f})"
  beaten: list[str] = []
  unclear: list[str] = []
  for other in result.methods:
    if other == best:
      continue
    gap = result.difference(best, other, metric)
    (beaten if gap.is_clear else unclear).append(
      f"{foreign_text.in_markdown(other)} ({markdown.signed(gap.interval)})"
    )
  if beaten:
    text += f", ahead of {_listing(beaten)}"
  if unclear:
    text += f"{'; but' if beaten else ','} not distinguishable from "
    text += _listing(unclear)
  text += "."
  pairs = [d for d in result.differences if d.metric == metric]
  if pairs and not any(d.is_clear for d in pairs):
    text += f" No method is clearly ahead of another at {metric}."
  return text


def _side(
  own: intervals.Interval, chance: float, result: results.EvaluationResult
) -> int:
  """Whether a mean is clearly below (-1) or above (1) chance, or neither (0).

  A few requests that all miss, or all hit, have an interval without width: it
  is held to how often chance alone does that.
  """
  count = (result.is_clustered and result.num_users) or result.num_requests
  if own.low == own.high and own.mean in (0.0, 1.0):
    by_chance = (chance if own.mean else 1 - chance) ** count
    if by_chance >= significance.LEVEL / 2:
      return 0
  return (own.low > chance) - (own.high < chance)


def _listing(names: Sequence[str]) -> str:
  return ", ".join(names[:-1]) + " and " + names[-1] if names[1:] else names[0]


def baselines(
  found: Sequence[results.EvaluationResult], model: str, others: Sequence[str]
) -> list[str]:
  """Whether a baseline beats the model, at the first two metrics compared.

  Args:
    found: one result a group; those without the model's row are left out.
    model: name of its row.
    others: the baselines among the methods; groups may lack some.

  Returns:
    Lines of Markdown: what is ahead where, or that nothing is. "Ahead" is what
    it is in `headline`; higher means that are not are told as such.
  """
  told = [result for result in found if model in result.methods]
  clear: list[str] = []
  higher: list[str] = []
  for result in told:
    ahead = _higher(result, model, others)
    for texts, is_clear in ((clear, True), (higher, False)):
      if one := [text for text, known in ahead if known == is_clear]:
        group = foreign_text.in_markdown(result.group)
        texts.append(f"- {group}: {_listing(one)}.")
  if not told:
    return []
  name = foreign_text.in_markdown(model)
  lines = []
  if clear:
    lines += [
      f"**A baseline wins: it is clearly ahead of {name}** in "
      f"{len(clear)} of {_groups(len(told))}:",
      "",
      *clear,
      "",
    ]
  else:
    lines += [
      f"**No baseline is clearly ahead of {name}** in "
      f"{_groups(len(told))}, at {' or '.join(_judged(told[0]))}.",
      "",
    ]
  if higher:
    lines += [
      f"Higher than {name}, but not clearly:",
      "",
      *higher,
      "",
    ]
  return lines


def _judged(result: results.EvaluationResult) -> Sequence[str]:
  return result.compared[:2]


def _groups(count: int) -> str:
  return f"{count} group{'s' if count > 1 else ''} of requests"


def _higher(
  result: results.EvaluationResult, model: str, others: Sequence[str]
) -> list[tuple[str, bool]]:
  """The baselines with a higher mean, and whether it is clearly higher."""
  told = []
  for other in others:
    if other not in result.methods:
      continue
    for metric in _judged(result):
      own, its = (result.methods[n][metric].mean for n in (model, other))
      if its > own:
        gap = result.difference(other, model, metric)
        text = (
          f"{foreign_text.in_markdown(other)} has {metric} {its:.3f} against "
          f"{own:.3f} ({markdown.signed(gap.interval)})"
        )
        told.append((text, gap.is_clear))
  return told
