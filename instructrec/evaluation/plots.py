"""The pictures of a report: metrics, strata and following."""

import os
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from instructrec.evaluation import following, intervals, picture, results


def _styles(result: results.EvaluationResult) -> dict[str, int]:
  """By name, so that a method looks the same in the pictures of all groups."""
  return {name: i for i, name in enumerate(sorted(result.methods))}


@mpl.rc_context(picture.LOOK)
def metric_intervals(
  result: results.EvaluationResult, path: str | os.PathLike[str]
) -> None:
  """A panel a metric: each method's mean with its interval, and chance.

  A metric that no order can change, such as HR@10 of ten candidates, has none.

  Args:
    result: one group's result.
    path: the SVG to write.
  """
  names = [name for name, level in result.chance.items() if level < 1]
  names, methods = names or list(result.chance), list(result.methods)
  columns = min(4, len(names))
  rows = -(-len(names) // columns)
  height = 0.9 + 0.24 * len(methods)
  figure = Figure(figsize=(10, 0.5 + rows * height))
  # A constrained layout of eight panels takes a second, this nothing.
  top = 1 - 0.6 / figure.get_figheight()
  figure.subplots_adjust(top=top, wspace=0.1, hspace=2.2 / (1 + len(methods)))
  panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
  places = np.arange(len(methods))
  for axes, metric in zip(panels, names, strict=False):
    found = [result.methods[name][metric] for name in methods]
    axes.axvline(
      result.chance[metric], color=picture.INK, linestyle=":", linewidth=1.4
    )
    axes.errorbar(
      [value.mean for value in found],
      places,
      xerr=_errors(found),
      fmt="o",
      markersize=4.5,
      color=picture.COLOURS[0],
      capsize=2.5,
    )
    axes.set_title(metric, fontsize="medium")
    axes.set_yticks(places, [picture.label(name) for name in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="both")
    axes.spines[["top", "right"]].set_visible(False)
  for axes in panels[len(names) :]:
    axes.set_visible(False)
  short, long = result.num_candidates
  length = f"{short}" if short == long else f"{short} to {long}"
  figure.suptitle(
    f"{picture.label(result.group)}: {result.num_requests:,} requests, "
    f"{length} candidates, 95% intervals; dotted: chance",
    fontsize="medium",
    y=1,
  )
  picture.save(figure, path)


@mpl.rc_context(picture.LOOK)
def strata_lines(
  result: results.EvaluationResult, path: str | os.PathLike[str]
) -> bool:
  """HR@1 over the strata that have an order, with standard errors and chance.

  Args:
    result: one group's result.
    path: the SVG to write.

  Returns:
    Whether there was anything to draw: a split into three strata or more.
  """
  found = [split for split in result.breakdowns if len(split.labels) > 2]
  if not found:
    return False
  figure = Figure(figsize=(8, 3.2 * len(found)), layout="constrained")
  styles = _styles(result)
  rows = figure.subplots(len(found), squeeze=False)[:, 0]
  for axes, split in zip(rows, found, strict=True):
    places = np.arange(len(split.labels))
    for name in result.methods:
      style = styles[name]
      axes.errorbar(
        # Side by side, or errors of equal means would hide each other.
        places + 0.3 * ((style + 0.5) / len(styles) - 0.5),
        split.means[name]["HR@1"],
        yerr=split.errors[name]["HR@1"],
        **picture.line(style),
        marker=picture.MARKERS[style % len(picture.MARKERS)],
        markersize=4,
        linewidth=1.3,
        capsize=2,
        label=picture.label(name),
      )
    axes.plot(
      places,
      split.chance["HR@1"],
      color=picture.INK,
      linestyle=":",
      linewidth=1.6,
      label="chance",
    )
    axes.set_xticks(
      places,
      [
        f"{label}\n{count:,}"
        for label, count in zip(split.labels, split.counts, strict=True)
      ],
      fontsize="small",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{split.name}; requests below")
    axes.set_ylabel("HR@1")
    axes.grid(axis="y")
    axes.spines[["top", "right"]].set_visible(False)
  handles, labels = rows[0].get_legend_handles_labels()
  figure.legend(handles, labels, ncols=4, loc="outside lower center")
  picture.save(figure, path)
  return True


def wish_label(condition: str) -> str:
  """What a condition of `following.CONDITIONS` is called.

  Args:
    condition: such as "no A".

  Returns:
    Such as `"no A"`, in quotes, or `no wish`.
  """
  return "no wish" if condition == "plain" else f'"{condition}"'


@mpl.rc_context(picture.LOOK)
def following_bars(
  found: following.Following, path: str | os.PathLike[str]
) -> None:
  """Shares of A and B by condition, and how often the direction is right.

  Args:
    found: the figures.
    path: the SVG to write.
  """
  figure = Figure(figsize=(10, 3.8), layout="constrained")
  left, right = figure.subplots(1, 2)
  places = np.arange(len(following.CONDITIONS))
  for number, (name, shares) in enumerate(
    (("A", found.share_of_a), ("B", found.share_of_b))
  ):
    values = [shares[condition] for condition in following.CONDITIONS]
    left.bar(
      places + 0.4 * (number - 0.5),
      [value.mean for value in values],
      0.37,
      yerr=_errors(values),
      capsize=2.5,
      color=picture.COLOURS[number],
      label=f"have {name}",
    )
  left.set_xticks(places, [wish_label(name) for name in following.CONDITIONS])
  left.set_ylabel(f"share of the {found.num_best} best")
  left.set_ylim(bottom=0)
  left.legend()
  rates = {
    '"A"': found.directions["wanted"],
    '"no A"': found.directions["unwanted"],
    "A against B": found.directions["against"],
    "clean\nfirst five": found.clean_first_five,
  }
  if found.nonsense is not None:
    rates["nonsense\n(correlation)"] = found.nonsense
  values = list(rates.values())
  right.errorbar(
    range(len(rates)),
    [value.mean for value in values],
    yerr=_errors(values),
    fmt="o",
    color=picture.COLOURS[2],
    capsize=3,
  )
  right.set_xticks(range(len(rates)), list(rates))
  right.set_xlim(-0.5, len(rates) - 0.5)
  right.set_ylim(min(0, *(value.low for value in values)), 1.03)
  right.set_ylabel("mean over histories")
  for axes in (left, right):
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
  figure.suptitle(
    f"Following: {found.num_histories:,} histories, 95% intervals"
  )
  picture.save(figure, path)


def _errors(values: Sequence[intervals.Interval]) -> np.ndarray:
  errors = [[v.mean - v.low, v.high - v.mean] for v in values]
  return np.maximum(np.array(errors).T, 0)
