"""The section of a report on following: a sentence, a table, a picture."""

from instructrec.evaluation import (
  following,
  intervals,
  markdown,
  plots,
  published,
)

PICTURE = "following.svg"
_LABELS = {
  "wanted": '"A" has more of A than no wish',
  "unwanted": '"no A" has less of A than no wish',
  "against": '"A" has more of A than "B"',
}


def sentence(found: following.Following) -> str:
  """What the figures say, in one sentence.

  Args:
    found: the figures.

  Returns:
    The sentence.
  """
  plain, own, without = (
    found.share_of_a[name].mean for name in ("plain", "A", "no A")
  )
  return (
    f"Of the {found.num_best} best items {plain:.1%} have A without a wish, "
    f'{own:.1%} under "A" and {without:.1%} under "no A"; the direction is '
    f"right in {found.right_direction.mean:.1%} of pairs, and "
    f"{found.clean_first_five.mean:.1%} of histories have no A among the first "
    'five under "no A".'
  )


def table(found: following.Following) -> str:
  """All figures with their intervals.

  Args:
    found: the figures.

  Returns:
    The table.
  """
  rows = [
    (f"share of A under {plots.wish_label(name)}", value)
    for name, value in found.share_of_a.items()
  ]
  rows += [
    (f"share of B under {plots.wish_label(name)}", value)
    for name, value in found.share_of_b.items()
  ]
  rows += [
    (f"right direction: {_LABELS[name]}", value)
    for name, value in found.directions.items()
  ]
  rows.append(("right direction, all pairs", found.right_direction))
  rows.append(
    ('no A among the first five under "no A"', found.clean_first_five)
  )
  if found.nonsense is not None:
    rows.append(("rank correlation under nonsense", found.nonsense))
  lines = [[markdown.cell(label), _interval(value)] for label, value in rows]
  for label, value in (
    ("HR@1 that the own wish adds", found.own_added),
    ("HR@1 that somebody else's wish costs", found.other_lost),
  ):
    if value is not None:
      lines.append([label, markdown.signed(value)])
  return markdown.table(["following", "mean with 95% interval"], lines)


def tables(found: following.Following, row: str) -> list[published.Table]:
  """The figures as tables to publish.

  Args:
    found: the figures.
    row: what the method is called.

  Returns:
    How often wishes are followed, by the names of `following.Following`; and
    the shares of A and B under each wish.
  """
  own: dict[str, intervals.Interval | None] = {
    "right_direction": found.right_direction,
    **found.directions,
    "clean_first_five": found.clean_first_five,
    "nonsense": found.nonsense,
    "own_added": found.own_added,
    "other_lost": found.other_lost,
  }
  figures = {name: _figure(v) for name, v in own.items() if v is not None}
  shares = {
    condition: {
      "has A": _figure(found.share_of_a[condition]),
      "has B": _figure(found.share_of_b[condition]),
    }
    for condition in following.CONDITIONS
  }
  return [
    published.Table(
      name="following",
      metrics=list(figures),
      rows=[published.Row(name=row, metrics=figures)],
      num_requests=found.num_histories,
    ),
    published.Table(
      name=f"shares of the {found.num_best} best",
      metrics=["has A", "has B"],
      rows=[
        published.Row(name="no wish" if name == "plain" else name, metrics=one)
        for name, one in shares.items()
      ],
      num_requests=found.num_histories,
    ),
  ]


def _figure(value: intervals.Interval) -> published.Figure:
  return published.Figure(value.mean, value.low, value.high)


def section(found: following.Following, picture: str = PICTURE) -> list[str]:
  """The lines of a report's section.

  Args:
    found: the figures.
    picture: file of the plot, beside the page; see `plots.following_bars`.

  Returns:
    Lines of Markdown.
  """
  text = (
    "Bars of the shares of A and B among the best items without a wish and "
    'under "A", "no A" and "B"; points of how often the direction is right; '
    "the table above has the values"
  )
  return [
    "## Following",
    "",
    sentence(found),
    "",
    f"{found.num_histories:,} histories, each with an attribute A of its plain "
    "hundred best and another, B, in held-out wordings. "
    "Means over histories with 95% bootstrap intervals "
    f"({found.num_resamples:,} resamples). A direction is also right where "
    'everything is A without a wish and under "A", or nothing without a wish '
    'and under "no A".',
    "",
    table(found),
    "",
    markdown.picture(text, picture),
    "",
  ]


def _interval(value: intervals.Interval) -> str:
  return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
