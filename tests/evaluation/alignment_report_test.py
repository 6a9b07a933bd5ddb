"""The report on a run that was aligned."""

import json

import numpy as np
import pytest

from instructrec import checksums
from instructrec.evaluation import (
  alignment_report,
  before_after,
  promotion,
  report_folder,
)

USERS = 20
_DRAW = np.random.default_rng(0)
BEFORE = {"CPA": _DRAW.integers(0, 2, USERS) * 1.0, "NDCG@10": np.zeros(USERS)}
AFTER = {"CPA": np.ones(USERS), "NDCG@10": np.zeros(USERS)}
LOG = [
  {"step": 10, "split": "train", "reward/list": 1.0, "entropy/item": 2.0},
  {"step": 10, "split": "validation", "reward/list": 1.5},
  {"step": 20, "split": "train", "reward/list": 2.0, "entropy/item": None},
]


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run") / "alignment"
  found = before_after.BeforeAfter(
    groups={"wanted, seen": np.arange(USERS)},
    directions=np.ones(USERS, int),
    clusters=[f"u{n}" for n in range(USERS)],
    before={"model": BEFORE, "model, free": BEFORE},
    after={"model": AFTER, "model, free": BEFORE},
    num_resamples=50,
  )
  control, accuracy = (
    found.change(before_after.Measure(name, "model", name), 0.95)
    for name in ("CPA", "NDCG@10")
  )
  alignment_report.write(
    folder,
    found,
    promotion.decide([control], [accuracy]),
    alignment_report.Context(
      title="Alignment report: <b>x</b>",
      command="instructrec align",
      lists={"model": "titles alone"},
      facts={"split": "validation"},
      environment={"jax": "1"},
      training_log=LOG,
      config="SEED = 0",
    ),
  )
  return folder


def test_the_page_says_the_decision_and_both_sides(folder):
  text = (folder / "report.md").read_text()
  assert "**Promoted.**" in text
  before = BEFORE["CPA"].mean()
  (row,) = [x for x in text.splitlines() if x.startswith("| model: CPA |")]
  cells = row.split(" | ")
  assert cells[1].startswith(f"{before:.3f} [")
  assert cells[2] == "1.000 [1.000, 1.000]"
  assert cells[3].startswith(f"**+{1 - before:.3f} [")
  # Not trained, not changed.
  (free,) = [
    x for x in text.splitlines() if x.startswith("| model, free: CPA |")
  ]
  assert "+0.000 [+0.000, +0.000]" in free
  assert "![" in text
  # Nobody had it, before or after.
  assert "model: NDCG@10" not in text


def test_the_figures_are_json_that_is_hashed(folder):
  checksums.verify(folder, "", [report_folder.FILE])
  found = json.loads((folder / "report.json").read_text())
  assert found["promotion"]["promoted"] is True
  group = found["groups"]["wanted, seen"]
  assert group["num_requests"] == USERS
  figures = group["methods"]["model"]["CPA"]
  assert figures["after"]["mean"] == 1.0
  assert figures["difference"]["num_worse"] == 0


def test_the_page_holds_its_curves_and_runs_nothing(folder):
  page = (folder / "report.html").read_text()
  assert "data:image/svg+xml;base64," in page
  assert "<b>x</b>" not in page
