import matplotlib.figure
import numpy as np
import pytest

from instructrec.evaluation import evaluate, facts, metrics, plots


@pytest.fixture
def axes(monkeypatch):
  """The axes of the figures that were saved, in order."""
  found = []
  save = plots._save

  def keep(figure: matplotlib.figure.Figure, path):
    found.append(figure.axes[0])
    save(figure, path)

  monkeypatch.setattr(plots, "_save", keep)
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


def test_bars_are_the_means_with_their_intervals(tmp_path, axes):
  result = evaluated(["b", "a"])
  plots.metric_bars(result, tmp_path / "x.png")
  assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
  handles, labels = axes[0].get_legend_handles_labels()
  bars = dict(zip(labels, handles, strict=True))
  for name, row in result.methods.items():
    heights = [bar.get_height() for bar in bars[name]]
    assert heights == [row[m].mean for m in result.chance]
    segments = bars[name].errorbar.lines[2][0].get_segments()
    for segment, metric in zip(segments, result.chance, strict=True):
      assert sorted(segment[:, 1]) == pytest.approx(
        [row[metric].low, row[metric].high]
      )
  chance = [float(line.get_ydata()[0]) for line in axes[0].lines][
    -len(result.chance) :
  ]
  assert chance == [metrics.chance(10)[m] for m in result.chance]
  assert "120 requests, 10 candidates" in axes[0].get_title()


def test_a_method_keeps_its_colour(tmp_path, axes):
  names = [f"method {i}" for i in range(8)]
  result = evaluated(names)
  plots.metric_bars(result, tmp_path / "x.png")
  plots.metric_bars(evaluated(names[::-1]), tmp_path / "y.png")
  looks = []
  for one in axes:
    handles, labels = one.get_legend_handles_labels()
    looks.append(
      {
        label: (handle[0].get_facecolor(), handle[0].get_hatch())
        for label, handle in zip(labels, handles, strict=True)
        if label != "chance"
      }
    )
  assert looks[0] == looks[1]
  assert len(set(looks[0].values())) == 8


def test_the_curve_shows_both_losses(tmp_path, axes):
  rows = [
    {"step": 1, "split": "train", "loss": 3.0},
    {"step": 2, "split": "train", "loss": float("nan")},
    {"step": 2, "split": "train", "learning_rate": 0.1},
    {"step": 2, "split": "validation", "loss": 2.5},
    {"step": 3, "split": "validation", "loss": 2.25},
    {"step": 4, "split": "validation", "loss": 2.75},
  ]
  plots.loss_curve(rows, tmp_path / "x.png")
  training, validation = axes[0].lines
  assert list(training.get_xdata()) == [1, 2]
  assert list(validation.get_ydata()) == [2.5, 2.25, 2.75]
  assert validation.get_label() == "validation (lowest 2.250 at step 3)"
  assert axes[0].get_ylabel() == "loss (nats per target token)"


def test_validation_may_be_missing(tmp_path, axes):
  plots.loss_curve(
    [{"step": 1, "split": "train", "loss": 3.0}], tmp_path / "x.png"
  )
  assert len(axes[0].lines) == 1


def test_pictures_leave_pyplot_alone(tmp_path):
  """A global state keeps figures alive and may want a display."""
  import subprocess
  import sys

  code = (
    "import sys\n"
    "from instructrec.evaluation import plots\n"
    "plots.loss_curve([{'step': 1, 'split': 'train', 'loss': 1.0}],"
    f" {str(tmp_path / 'x.png')!r})\n"
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
  assert plots.strata_lines(result, tmp_path / "x.png")
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
  assert len(popularity.get_xticks()) == 10
  assert position.get_xticklabels()[0].get_text() == f"1\n{split.counts[0]}"


def test_without_strata_there_is_no_picture(tmp_path):
  assert not plots.strata_lines(evaluated(["a"]), tmp_path / "x.png")
  assert not (tmp_path / "x.png").exists()
