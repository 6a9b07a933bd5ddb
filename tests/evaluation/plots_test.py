import matplotlib.figure
import numpy as np
import pytest

from instructrec.evaluation import (
  evaluate,
  facts,
  metrics,
  picture,
  plots,
  training_plots,
)


@pytest.fixture
def axes(monkeypatch):
  """The axes of the figures that were saved, in order."""
  found = []
  save = picture.save

  def keep(figure: matplotlib.figure.Figure, path):
    found.append(figure.axes[0])
    save(figure, path)

  monkeypatch.setattr(picture, "save", keep)
  return found


def evaluated(names):
  rng = np.random.default_rng(0)
  return evaluate.from_scores(
    "sequential",
    {name: rng.normal(size=(120, 10)) for name in names},
    rng.integers(0, 10, 120),
    request_ids=[str(i) for i in range(120)],
    num_resamples=100,
  )


def test_points_are_the_means_with_their_intervals(tmp_path, axes):
  result = evaluated(["b", "a"])
  plots.metric_intervals(result, tmp_path / "x.svg")
  figure = axes[0].figure
  panels = {one.get_title(): one for one in figure.axes if one.get_visible()}
  # Ten candidates are among the first ten in any order.
  assert set(panels) == set(result.chance) - {"HR@10"}
  for metric, panel in panels.items():
    (points,) = panel.containers
    means = [row[metric].mean for row in result.methods.values()]
    assert list(points.lines[0].get_xdata()) == means
    segments = points.lines[2][0].get_segments()
    for segment, row in zip(segments, result.methods.values(), strict=True):
      assert sorted(segment[:, 0]) == pytest.approx(
        [row[metric].low, row[metric].high]
      )
    chance = float(panel.lines[0].get_xdata()[0])
    assert chance == metrics.chance(10)[metric]
  labels = [label.get_text() for label in axes[0].get_yticklabels()]
  assert labels == list(result.methods)
  assert "120 requests, 10 candidates" in figure.get_suptitle()


def test_pictures_follow_the_colour_scheme(tmp_path):
  path = tmp_path / "x.svg"
  training_plots.loss_curve([{"step": 1, "split": "train", "loss": 3.0}], path)
  text = path.read_text()
  assert (
    "@media (prefers-color-scheme: dark) { svg { color: #e3e7ec; } }" in text
  )
  drawn = text.partition("</style>")[2]
  # Text and axes take the reader's colour; nothing paints a background.
  assert "currentColor" in drawn
  for colour in ("#000000", "#ffffff", picture.INK):
    assert colour not in drawn
  again = tmp_path / "y.svg"
  training_plots.loss_curve([{"step": 1, "split": "train", "loss": 3.0}], again)
  assert again.read_bytes() == path.read_bytes()


def _luminance(colour):
  parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  linear = [
    c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
  ]
  return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("page", ["#ffffff", "#14171b"])
def test_colours_stand_out_on_both_pages(page):
  """WCAG 2.2, 1.4.11: a contrast of 3 for what is drawn."""
  for colour in picture.COLOURS:
    low, high = sorted([_luminance(colour), _luminance(page)])
    assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_the_curve_shows_both_losses(tmp_path, axes):
  rows = [
    {"step": 1, "split": "train", "loss": 3.0},
    {"step": 2, "split": "train", "loss": float("nan")},
    {"step": 2, "split": "train", "learning_rate": 0.1},
    {"step": 2, "split": "validation", "loss": 2.5},
    {"step": 3, "split": "validation", "loss": 2.25},
    {"step": 4, "split": "validation", "loss": 2.75},
  ]
  training_plots.loss_curve(rows, tmp_path / "x.svg")
  training, validation = axes[0].lines
  assert list(training.get_xdata()) == [1, 2]
  assert list(validation.get_ydata()) == [2.5, 2.25, 2.75]
  assert validation.get_label() == "validation (lowest 2.250 at step 3)"
  assert axes[0].get_ylabel() == "loss (nats per target token)"


def test_validation_may_be_missing(tmp_path, axes):
  training_plots.loss_curve(
    [{"step": 1, "split": "train", "loss": 3.0}], tmp_path / "x.svg"
  )
  assert len(axes[0].lines) == 1


def test_curves_have_a_panel_for_what_the_log_has(tmp_path, axes):
  rows = [
    {"step": 1, "split": "train", "a": 3.0, "b": 1.0},
    {"step": 2, "split": "train", "a": 4.0, "b": None},
    {"step": 2, "split": "validation", "a": 3.5},
  ]
  panels = {"first": ("a", "b"), "second": ("c",), "third": ("b",)}
  assert training_plots.training_curves(rows, panels, tmp_path / "x.svg")
  first, third = axes[0].figure.axes
  assert (first.get_title(), third.get_title()) == ("first", "third")
  training, validation, other, none = first.lines
  assert list(training.get_ydata()) == [3.0, 4.0]
  assert list(validation.get_xdata()) == [2]
  assert list(other.get_xdata()) == [1]
  assert not len(none.get_xdata())
  assert not training_plots.training_curves(
    rows, {"x": ("c",)}, tmp_path / "y.svg"
  )
  assert not (tmp_path / "y.svg").exists()


def test_seeds_are_drawn_as_their_mean_between_their_extremes(tmp_path, axes):
  logs = {
    "one": [
      [
        {"step": 5 * step, "split": "train", "a": float(step + seed)}
        for step in (1, 2, 3)[: 3 - seed]
      ]
      for seed in range(2)
    ],
    "other": [[{"step": 5, "split": "train", "a": 7.0}]],
  }
  path = tmp_path / "x.svg"
  training_plots.seed_curves(logs, {"first": "a"}, path)
  one, other = axes[0].lines
  # As far as both seeds came.
  assert one.get_xydata().tolist() == [[5.0, 1.5], [10.0, 2.5]]
  assert other.get_xydata().tolist() == [[5.0, 7.0]]
  (low, high), _ = (
    band.get_paths()[0].get_extents().intervaly for band in axes[0].collections
  )
  assert (low, high) == (1.0, 3.0)


def test_pictures_leave_pyplot_alone(tmp_path):
  """A global state keeps figures alive and may want a display."""
  import subprocess
  import sys

  code = (
    "import sys\n"
    "from instructrec.evaluation import training_plots\n"
    "training_plots.loss_curve([{'step': 1, 'split': 'train', 'loss': 1.0}],"
    f" {str(tmp_path / 'x.svg')!r})\n"
    "sys.exit('matplotlib.pyplot' in sys.modules)\n"
  )
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_strata_show_their_means_errors_and_chance(tmp_path, axes):
  rng = np.random.default_rng(1)
  labels = rng.integers(0, 5, 200)
  ids = [[f"i{j}" for j in range(5)]] * 200
  result = evaluate.from_scores(
    "g",
    {name: rng.normal(size=(200, 5)) for name in ("b", "a")},
    labels,
    request_ids=[str(i) for i in range(200)],
    known=facts.Facts.of(
      targets=[f"i{label}" for label in labels],
      candidates=ids,
      target_counts=np.arange(200),
      history_lengths=np.ones(200, int),
    ),
    num_resamples=20,
  )
  assert plots.strata_lines(result, tmp_path / "x.svg")
  # Position and popularity; all histories are of one length.
  position, popularity = axes[0].figure.axes
  split = result.breakdowns[0]
  handles, names = position.get_legend_handles_labels()
  lines = dict(zip(names, handles, strict=True))
  assert list(lines["chance"].get_ydata()) == pytest.approx([0.2] * 5)
  for name in result.methods:
    line, _, (bars,) = lines[name].lines
    assert list(line.get_ydata()) == split.means[name]["HR@1"]
    heights = [np.ptp(part[:, 1]) / 2 for part in bars.get_segments()]
    assert heights == pytest.approx(split.errors[name]["HR@1"])
  looks = {
    (lines[name].lines[0].get_color(), lines[name].lines[0].get_marker())
    for name in result.methods
  }
  assert len(looks) == 2
  assert len(popularity.get_xticks()) == 10
  assert position.get_xticklabels()[0].get_text() == f"1\n{split.counts[0]}"


def test_without_strata_there_is_no_picture(tmp_path):
  assert not plots.strata_lines(evaluated(["a"]), tmp_path / "x.svg")
  assert not (tmp_path / "x.svg").exists()
