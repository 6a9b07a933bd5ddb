"""The section of a report on one group of requests."""

from collections.abc import Sequence

from instructrec import foreign_text
from instructrec.evaluation import (
  examples,
  markdown,
  metrics,
  results,
  significance,
)


def _remarks(result: results.EvaluationResult) -> list[str]:
  remarks = []
  if result.is_clustered:
    remarks.append(
      f"The requests are of {result.num_users:,} users, some of whom have "
      "several: these are not independent, so intervals and tests draw users "
      "with all of their requests."
    )
  if result.num_requests < 100:
    remarks.append(
      f"> **Note:** {result.num_requests} requests are few; intervals of so "
      "few tend to be too narrow."
    )
  full = [name for name, value in result.chance.items() if value > 1 - 1e-9]
  if full:
    remarks.append(
      f"{', '.join(full)} {'is' if len(full) == 1 else 'are'} 1 for every "
      "method: no list has more candidates."
    )
  longest = result.num_candidates[1]
  deeper = [m for m in result.chance if (metrics.cutoff(m) or 0) > longest]
  if deeper := [name for name in deeper if name not in full]:
    remarks.append(
      f"{', '.join(deeper)}: no list has more than {longest} candidates, so "
      "that these take whole lists."
    )
  return [line for remark in remarks for line in (remark, "")]


def _strata_section(
  result: results.EvaluationResult, picture: str | None
) -> list[str]:
  """By what is known of the requests, and what is shown of the catalogue."""
  group = foreign_text.in_markdown(result.group)
  lines = []
  if result.breakdowns:
    lines += [f"### {group}: by position, popularity and history", ""]
    lines += [
      "HR@1 / NDCG@10 of each part of the requests"
      + (", and HR@1 with its standard error." if picture else "."),
      "",
    ]
  for split in result.breakdowns:
    if len(split.labels) > 1:
      lines += [markdown.breakdown_table(split), ""]
    else:
      lines += [f"Of all requests, {split.name}: {split.labels[0]}.", ""]
  if picture:
    splits = "; ".join(split.name for split in result.breakdowns)
    text = (
      f"Lines of HR@1 of each method on {result.group}, by {splits}; the "
      "tables above have the values"
    )
    lines += [markdown.picture(text, picture), ""]
  if result.exposures:
    lines += [
      f"### {group}: what is shown",
      "",
      "Coverage is the share of the catalogue in the first places of any "
      "request; Gini is 0 where all items are shown equally often and near 1 "
      "where few take all places; popularity counts training interactions.",
      "",
      markdown.exposure_table(result.exposures),
      "",
    ]
  if result.agreements:
    lines += [
      f"### {group}: the same candidates in other orders",
      "",
      "Methods that read or group whole lists were asked again with the "
      "candidates in other orders; the figures above are those of the first. "
      "Tau-b is 1 where all rankings are equal, 0 where they have nothing to "
      "do with each other.",
      "",
      markdown.agreement_table(result.agreements),
      "",
    ]
  return lines


def section(
  result: results.EvaluationResult,
  picture: str,
  strata: str | None,
  meaning: str = "",
  shown: Sequence[examples.Example] = (),
) -> list[str]:
  """The section of one group.

  Args:
    result: the group's.
    picture: file of its metrics, beside the page.
    strata: file of its strata; None where there is none.
    meaning: of the group's name, in words.
    shown: examples.

  Returns:
    Lines of Markdown.
  """
  nan = {name: count for name, count in result.num_nan.items() if count}
  short, long = result.num_candidates
  length = f"{short}" if short == long else f"{short} to {long}"
  lines = [
    f"## {foreign_text.in_markdown(result.group)}",
    "",
    *([foreign_text.in_markdown(meaning), ""] if meaning else []),
    f"{result.num_requests:,} requests of {length} candidates. Means over "
    f"requests with 95% bootstrap intervals ({result.num_resamples:,} "
    "resamples); chance is what any order gets that knows nothing.",
    "",
    markdown.metric_table(result),
    "",
    *_remarks(result),
    *(
      f"- {foreign_text.in_markdown(f'{name}: {text}')}"
      for name, text in result.descriptions.items()
    ),
    *([""] if result.descriptions else []),
    markdown.picture(
      f"{', '.join(result.chance)} of {', '.join(result.methods)} on "
      f"{result.group}, with 95% intervals and chance; the table above has the "
      "values",
      picture,
    ),
    "",
  ]
  if result.runs:
    lines += [
      "Mean and standard deviation over runs; intervals and tests on this page "
      "are of each request's mean over runs, and speak of other requests, not "
      "of other runs.",
      "",
      markdown.run_table(result),
      "",
    ]
  if result.differences:
    lines += [
      "Paired differences on the same requests: mean with its 95% bootstrap "
      "interval; p of the paired randomisation test, two-sided, "
      f"{result.num_resamples:,} flips, corrected by Holm for all pairs at "
      "that metric; effect size d (mean over standard deviation); how many "
      "requests are better and worse. Bold: the interval leaves out 0 and p "
      f"is below {significance.LEVEL}.",
      "",
      markdown.difference_table(result),
      "",
    ]
  lines += [f"Scores that were not a number: {nan or 'none'}.", ""]
  return [
    *lines,
    *examples.section(result.group, shown),
    *_strata_section(result, strata),
  ]
