"""The pictures of a report: metrics, strata, losses and following."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from instructrec import foreign_text
from instructrec.evaluation import following, intervals, results

# Okabe and Ito's colours, told apart by the colour-blind.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_HATCHES = (None, "//", "..", "xx")
_LINES = ("-", "--", "-.", ":")


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
  backend_agg.FigureCanvasAgg(figure)
  figure.savefig(path, dpi=120, bbox_inches="tight")


def _styles(result: results.EvaluationResult) -> dict[str, int]:
  """By name, so that a method looks the same in the pictures of all groups."""
  return {name: i for i, name in enumerate(sorted(result.methods))}


def _label(name: str) -> str:
  """A name in a picture, which takes $ for formulas and hides a leading _."""
  text = foreign_text.printable(name).replace("$", r"\$")
  return f" {text}" if text.startswith("_") else text


def metric_bars(
  result: results.EvaluationResult, path: str | os.PathLike[str]
) -> None:
  """Bars of each method's metrics, with intervals and the chance level.

  Args:
    result: one group's result.
    path: the PNG to write.
  """
  figure = Figure(figsize=(10, 4.2))
  axes = figure.add_subplot()
  names = list(result.chance)
  places = np.arange(len(names))
  width = 0.8 / len(result.methods)
  highest = max(result.chance[m] for m in names)
  styles = _styles(result)
  for number, (name, row) in enumerate(result.methods.items()):
    style = styles[name]
    means = np.array([row[m].mean for m in names])
    errors = np.array(
      [[row[m].mean - row[m].low, row[m].high - row[m].mean] for m in names]
    ).T
    left = places - 0.4 + (number + 0.5) * width
    highest = max(highest, *(row[m].high for m in names))
    axes.bar(
      left,
      means,
      width * 0.92,
      yerr=np.maximum(errors, 0),
      capsize=2.5,
      error_kw={"elinewidth": 1},
      color=_COLOURS[style % len(_COLOURS)],
      # More methods than colours: patterns tell them apart.
      hatch=_HATCHES[style // len(_COLOURS) % len(_HATCHES)],
      edgecolor="white",
      linewidth=0,
      label=_label(name),
    )
  for place, metric in enumerate(names):
    axes.plot(
      [place - 0.42, place + 0.42],
      [result.chance[metric]] * 2,
      color="black",
      linestyle=":",
      linewidth=1.6,
      label="chance" if place == 0 else None,
    )
  axes.set_xticks(places, names)
  axes.set_ylim(0, min(1.0, 1.08 * highest))
  axes.set_ylabel("mean over requests")
  short, long = result.num_candidates
  length = f"{short}" if short == long else f"{short} to {long}"
  axes.set_title(
    f"{_label(result.group)}: {result.num_requests:,} requests, "
    f"{length} candidates, "
    "95% intervals"
  )
  axes.grid(axis="y", alpha=0.3)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
  # Below the axes, where no bar can be hidden.
  axes.legend(
    frameon=False, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.1)
  )
  _save(figure, path)


def strata_lines(
  result: results.EvaluationResult, path: str | os.PathLike[str]
) -> bool:
  """HR@1 over the strata that have an order, with standard errors and chance.

  Args:
    result: one group's result.
    path: the PNG to write.

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
        marker="o",
        markersize=4,
        linewidth=1.3,
        capsize=2,
        label=_label(name),
      )
    axes.plot(places, split.chance["HR@1"], "k:", linewidth=1.6, label="chance")
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
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
  handles, labels = rows[0].get_legend_handles_labels()
  figure.legend(
    handles, labels, frameon=False, ncols=4, loc="outside lower center"
  )
  _save(figure, path)
  return True


def _points(
  rows: Sequence[Mapping[str, Any]], split: str
) -> tuple[list[float], list[float]]:
  found = [
    row for row in rows if row["split"] == split and row.get("loss") is not None
  ]
  return [row["step"] for row in found], [row["loss"] for row in found]


def loss_curve(
  rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
  """Training and validation loss against the step.

  Args:
    rows: rows of a run's `metrics.jsonl`; those without a loss are left out.
    path: the PNG to write.

  Raises:
    ValueError: where no row holds a training loss.
  """
  steps, losses = _points(rows, "train")
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
  steps, losses = _points(rows, "validation")
  if np.isfinite(losses).any():
    best = int(np.nanargmin(losses))
    axes.plot(
      steps,
      losses,
      color=_COLOURS[5],
      marker="o",
      markersize=4,
      label=f"validation (lowest {losses[best]:.3f} at step {steps[best]:,})",
    )
  axes.set_xlabel("training step")
  axes.set_ylabel("loss (nats per target token)")
  axes.set_title("Loss")
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  axes.grid(alpha=0.3)
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend(frameon=False)
  _save(figure, path)


def wish_label(condition: str) -> str:
  """What a condition of `following.CONDITIONS` is called.

  Args:
    condition: such as "no A".

  Returns:
    Such as `"no A"`, in quotes, or `no wish`.
  """
  return "no wish" if condition == "plain" else f'"{condition}"'


def following_bars(
  found: following.Following, path: str | os.PathLike[str]
) -> None:
  """Shares of A and B by condition, and how often the direction is right.

  Args:
    found: the figures.
    path: the PNG to write.
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
  left.legend(frameon=False)
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
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
  figure.suptitle(
    f"Following: {found.num_histories:,} histories, 95% intervals"
  )
  _save(figure, path)


def _errors(values: Sequence[intervals.Interval]) -> np.ndarray:
  errors = [[v.mean - v.low, v.high - v.mean] for v in values]
  return np.maximum(np.array(errors).T, 0)
