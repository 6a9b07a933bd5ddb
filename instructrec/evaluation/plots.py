"""The pictures of a report: metrics, strata, losses and following.

SVG without a background, whose text and lines follow the colour scheme of the
reader, light or dark, in a page and on its own.
"""

import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.backends import backend_svg
from matplotlib.figure import Figure

from instructrec import foreign_text
from instructrec.evaluation import following, intervals, results

# Of Okabe and Ito's colours, told apart by the colour-blind, those (the last
# two darkened) that have a contrast of 3 to white and to a dark page.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A87900", "#3D93C6")
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Stands for the colour of text until the file is written.
_INK = "#010203"
_STYLE = (
  "<style>svg { color: #1b1f24; } "
  "@media (prefers-color-scheme: dark) { svg { color: #e3e7ec; } }</style>"
)
_LOOK: Any = {
  # The same figures give the same bytes.
  "svg.hashsalt": "instructrec",
  "text.color": _INK,
  "axes.labelcolor": _INK,
  "axes.edgecolor": _INK,
  "axes.facecolor": "none",
  "figure.facecolor": "none",
  "xtick.color": _INK,
  "ytick.color": _INK,
  "grid.color": _INK,
  "grid.alpha": 0.18,
  "legend.frameon": False,
}


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
  text = io.StringIO()
  with mpl.rc_context(_LOOK):
    backend_svg.FigureCanvasSVG(figure)
    figure.savefig(
      text, format="svg", bbox_inches="tight", metadata={"Date": None}
    )
  head, tag, rest = text.getvalue().partition("<defs>")
  drawn = head + _STYLE + tag + rest
  pathlib.Path(path).write_text(
    drawn.replace(_INK, "currentColor"), encoding="utf-8"
  )


def _styles(result: results.EvaluationResult) -> dict[str, int]:
  """By name, so that a method looks the same in the pictures of all groups."""
  return {name: i for i, name in enumerate(sorted(result.methods))}


def _label(name: str) -> str:
  """A name in a picture, which takes $ for formulas and hides a leading _."""
  text = foreign_text.printable(name).replace("$", r"\$")
  return f" {text}" if text.startswith("_") else text


@mpl.rc_context(_LOOK)
def metric_intervals(
  result: results.EvaluationResult, path: str | os.PathLike[str]
) -> None:
  """A panel a metric: each method's mean with its interval, and chance.

  Args:
    result: one group's result.
    path: the SVG to write.
  """
  names, methods = list(result.chance), list(result.methods)
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
      result.chance[metric], color=_INK, linestyle=":", linewidth=1.4
    )
    axes.errorbar(
      [value.mean for value in found],
      places,
      xerr=_errors(found),
      fmt="o",
      markersize=4.5,
      color=_COLOURS[0],
      capsize=2.5,
    )
    axes.set_title(metric, fontsize="medium")
    axes.set_yticks(places, [_label(name) for name in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="both")
    axes.spines[["top", "right"]].set_visible(False)
  for axes in panels[len(names) :]:
    axes.set_visible(False)
  short, long = result.num_candidates
  length = f"{short}" if short == long else f"{short} to {long}"
  figure.suptitle(
    f"{_label(result.group)}: {result.num_requests:,} requests, "
    f"{length} candidates, 95% intervals; dotted: chance",
    fontsize="medium",
    y=1,
  )
  _save(figure, path)


@mpl.rc_context(_LOOK)
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
        color=_COLOURS[style % len(_COLOURS)],
        linestyle=_LINES[style // len(_COLOURS) % len(_LINES)],
        marker=_MARKERS[style % len(_MARKERS)],
        markersize=4,
        linewidth=1.3,
        capsize=2,
        label=_label(name),
      )
    axes.plot(
      places,
      split.chance["HR@1"],
      color=_INK,
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
  _save(figure, path)
  return True


def _series(
  rows: Sequence[Mapping[str, Any]], split: str, name: str
) -> tuple[list[float], list[float]]:
  """Steps at which a metric is known, and its values."""
  found = [
    row for row in rows if row["split"] == split and row.get(name) is not None
  ]
  return [row["step"] for row in found], [row[name] for row in found]


@mpl.rc_context(_LOOK)
def loss_curve(
  rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
  """Training and validation loss against the step.

  Args:
    rows: rows of a run's `metrics.jsonl`; those without a loss are left out.
    path: the SVG to write.

  Raises:
    ValueError: where no row holds a training loss.
  """
  steps, losses = _series(rows, "train", "loss")
  if not steps:
    raise ValueError("metrics.jsonl holds no training loss to plot")
  figure = Figure(figsize=(8, 4))
  axes = figure.add_subplot()
  # A lone point makes no line.
  axes.plot(
    steps,
    losses,
    color=_COLOURS[0],
    linewidth=1.3,
    marker="." if len(steps) < 30 else None,
    label="training",
  )
  steps, losses = _series(rows, "validation", "loss")
  if np.isfinite(losses).any():
    best = int(np.nanargmin(losses))
    axes.plot(
      steps,
      losses,
      color=_COLOURS[1],
      marker="o",
      markersize=4,
      label=f"validation (lowest {losses[best]:.3f} at step {steps[best]:,})",
    )
  axes.set_xlabel("training step")
  axes.set_ylabel("loss (nats per target token)")
  axes.set_title("Loss")
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  axes.grid()
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend()
  _save(figure, path)


@mpl.rc_context(_LOOK)
def training_curves(
  rows: Sequence[Mapping[str, Any]],
  panels: Mapping[str, Sequence[str]],
  path: str | os.PathLike[str],
) -> bool:
  """Metrics of training and of validation against the step, a panel each.

  Args:
    rows: rows of a run's `metrics.jsonl`.
    panels: by title, the metrics that share a panel; those that no row has are
      left out, and so are panels without any.
    path: the SVG to write.

  Returns:
    Whether there was anything to draw.
  """
  drawn = {
    title: found
    for title, names in panels.items()
    if (found := [n for n in names if _series(rows, "train", n)[0]])
  }
  if not drawn:
    return False
  columns = min(2, len(drawn))
  height = -(-len(drawn) // columns)
  figure = Figure(figsize=(10, 2.8 * height), layout="constrained")
  axes_of = figure.subplots(height, columns, squeeze=False).flatten()
  for axes, (title, names) in zip(axes_of, drawn.items(), strict=False):
    for number, name in enumerate(names):
      colour = _COLOURS[number % len(_COLOURS)]
      axes.plot(
        *_series(rows, "train", name),
        color=colour,
        linestyle=_LINES[number // len(_COLOURS) % len(_LINES)],
        linewidth=1.3,
        label=_label(name),
      )
      axes.plot(
        *_series(rows, "validation", name),
        color=colour,
        linestyle="none",
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=4,
      )
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("training step")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small")
  for axes in axes_of[len(drawn) :]:
    axes.set_visible(False)
  figure.suptitle("Lines: training; points: validation", fontsize="medium")
  _save(figure, path)
  return True


def wish_label(condition: str) -> str:
  """What a condition of `following.CONDITIONS` is called.

  Args:
    condition: such as "no A".

  Returns:
    Such as `"no A"`, in quotes, or `no wish`.
  """
  return "no wish" if condition == "plain" else f'"{condition}"'


@mpl.rc_context(_LOOK)
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
      color=_COLOURS[number],
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
    color=_COLOURS[2],
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
  _save(figure, path)


def _errors(values: Sequence[intervals.Interval]) -> np.ndarray:
  errors = [[v.mean - v.low, v.high - v.mean] for v in values]
  return np.maximum(np.array(errors).T, 0)
