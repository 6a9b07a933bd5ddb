"""Pictures of training: losses, and metrics of one run or of several seeds."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from instructrec.evaluation import picture


def _series(
  rows: Sequence[Mapping[str, Any]], split: str, name: str
) -> tuple[list[float], list[float]]:
  """Steps at which a metric is known, and its values."""
  found = [
    row for row in rows if row["split"] == split and row.get(name) is not None
  ]
  return [row["step"] for row in found], [row[name] for row in found]


@mpl.rc_context(picture.LOOK)
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
    color=picture.COLOURS[0],
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
      color=picture.COLOURS[1],
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
  picture.save(figure, path)


@mpl.rc_context(picture.LOOK)
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
      style = picture.line(number)
      axes.plot(
        *_series(rows, "train", name),
        **style,
        linewidth=1.3,
        label=picture.label(name),
      )
      axes.plot(
        *_series(rows, "validation", name),
        color=style["color"],
        linestyle="none",
        marker=picture.MARKERS[number % len(picture.MARKERS)],
        markersize=4,
      )
    _finish(axes, title)
  for axes in axes_of[len(drawn) :]:
    axes.set_visible(False)
  figure.suptitle("Lines: training; points: validation", fontsize="medium")
  picture.save(figure, path)
  return True


@mpl.rc_context(picture.LOOK)
def seed_curves(
  logs: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
  panels: Mapping[str, str],
  path: str | os.PathLike[str],
) -> None:
  """Means over training seeds against the step, with the seeds' extremes.

  Args:
    logs: rows of the `metrics.jsonl` of each seed, by the name of the line.
    panels: a metric of training by the title of its panel.
    path: the SVG to write.
  """
  figure = Figure(figsize=(10, 3.4), layout="constrained")
  row = figure.subplots(1, len(panels), squeeze=False)[0]
  for axes, (title, metric) in zip(row, panels.items(), strict=True):
    for number, (name, seeds) in enumerate(logs.items()):
      style = picture.line(number)
      series = [
        dict(zip(*_series(rows, "train", metric), strict=True))
        for rows in seeds
      ]
      # As far as all of them came.
      steps = sorted(set.intersection(*map(set, series)))
      values = np.array([[each[step] for step in steps] for each in series])
      axes.plot(
        steps,
        values.mean(0),
        **style,
        linewidth=1.3,
        label=picture.label(name),
      )
      axes.fill_between(
        steps, values.min(0), values.max(0), color=style["color"], alpha=0.15
      )
    _finish(axes, title)
  figure.suptitle(
    "Lines: means over training seeds; bands: their extremes", fontsize="medium"
  )
  picture.save(figure, path)


def _finish(axes: Axes, title: str) -> None:
  """What panels over training steps have besides their lines."""
  axes.set_title(title, fontsize="medium")
  axes.set_xlabel("training step")
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  axes.grid()
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend(fontsize="small")
