"""A few requests with what was ranked first: figures made visible."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from instructrec import foreign_text
from instructrec.evaluation import markdown, results

NUM_EXAMPLES = 3
"""A group's first requests are shown, however well they were ranked."""
_NUM_BEST = 5
_NUM_HISTORY = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What a ranker was told.

  Attributes:
    history: titles, oldest first.
    wish: in words; empty where there is none.
    instruction: as the model read it; empty where nothing was read.
  """

  history: Sequence[str]
  wish: str = ""
  instruction: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A request and its answer.

  Attributes:
    request_id: of the request.
    request: what was told.
    method: who ranked.
    best: titles with their scores, best first; at most five.
    target: title of the right item.
    num_candidates: how many were ranked.
    ranks: expected rank of the target, by method.
  """

  request_id: str
  request: Request
  method: str
  best: Sequence[tuple[str, float]]
  target: str
  num_candidates: int
  ranks: Mapping[str, float]


def of(
  result: results.EvaluationResult,
  requests: Mapping[str, Request],
  title: Callable[[str], str],
  method: str | None = None,
) -> list[Example]:
  """The examples of a group.

  Args:
    result: with lists; without, there are no examples.
    requests: what was told, by request id; the first that the result has are
      shown.
    title: of an item id.
    method: whose best items; the one that leads if None or not there.

  Returns:
    At most `NUM_EXAMPLES`, in the order of the result.
  """
  if method not in result.methods:
    method = next(iter(result.methods))
  found: list[Example] = []
  places = {name: i for i, name in enumerate(result.request_ids)}
  for part in result.lists or ():
    for row, request_id in enumerate(part.request_ids):
      if len(found) == NUM_EXAMPLES:
        return found
      if request_id not in requests:
        continue
      items = part.candidates[row]
      scores = np.asarray(part.scores[method][row][: len(items)], np.float64)
      # As in ranks, what is not a number comes last; minus infinity before it.
      order = np.lexsort((-np.nan_to_num(scores), np.isnan(scores)))
      found.append(
        Example(
          request_id=request_id,
          request=requests[request_id],
          method=method,
          best=[(title(items[i]), float(scores[i])) for i in order[:_NUM_BEST]],
          target=title(part.targets[row]),
          num_candidates=len(items),
          ranks={
            name: float(ranks[places[request_id]])
            for name, ranks in result.expected_ranks.items()
          },
        )
      )
  return found


def section(group: str, found: Sequence[Example]) -> list[str]:
  """The examples of a group.

  Args:
    group: its name.
    found: its examples.

  Returns:
    Lines of Markdown; none without examples.
  """
  if not found:
    return []
  lines = [
    f"### {foreign_text.in_markdown(group)}: examples",
    "",
    "The first requests of the group, however well they were ranked. The "
    "order is that of "
    f"**{foreign_text.in_markdown(found[0].method)}**; only differences of "
    "scores within a list mean something.",
    "",
  ]
  for number, one in enumerate(found, 1):
    lines += _example(number, one)
  return lines


def _example(number: int, one: Example) -> list[str]:
  own = one.ranks[one.method]
  rows = [
    [f"{place}", _bold(title, title == one.target), f"{score:.3f}"]
    for place, (title, score) in enumerate(one.best, 1)
  ]
  others = [
    f"{foreign_text.in_markdown(name)} {rank:g}"
    for name, rank in one.ranks.items()
    if name != one.method
  ]
  told = one.request
  lines = [f"#### Example {number}", "", f"- History: {_history(told.history)}"]
  wish = foreign_text.in_markdown(told.wish)
  lines.append(f"- Wish: {f'“{wish}”' if wish else 'none'}")
  if told.instruction:
    text = foreign_text.in_markdown(told.instruction)
    lines.append(f"- As the model reads it: {text}")
  lines.append(
    f"- Target: **{foreign_text.in_markdown(one.target)}**, rank {own:g} of "
    f"{one.num_candidates}" + (f" ({', '.join(others)})." if others else ".")
  )
  return [*lines, "", markdown.table(["place", "title", "score"], rows), ""]


def _bold(title: str, is_target: bool) -> str:
  text = markdown.cell(title)
  return f"**{text}**, the target" if is_target else text


def _history(titles: Sequence[str]) -> str:
  if not titles:
    return "none"
  shown = "; ".join(map(foreign_text.in_markdown, titles[-_NUM_HISTORY:]))
  more = len(titles) - _NUM_HISTORY
  return f"{shown} (newest last{f'; {more} older ones' if more > 0 else ''})"
