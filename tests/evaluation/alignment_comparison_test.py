"""Runs that were aligned, compared over their training seeds."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from instructrec.cli import main
from instructrec.evaluation import (
  alignment_comparison,
  alignment_report,
  before_after,
  intervals,
  promotion,
  published_report,
)

USERS = 10
BEFORE = np.arange(USERS) % 2 * 1.0
_BEFORE = {"mistakes": 4 * BEFORE, "HR@10": np.zeros(USERS), "TCP": BEFORE}
_AFTER = {"mistakes": BEFORE, "TCP": BEFORE}


def _aligned(folder, seed, better, *, requests=10, split="validation"):
  """A run that was aligned: so many users more are obeyed than before."""
  after = BEFORE.copy()
  after[: 2 * better : 2] = 1.0
  found = before_after.BeforeAfter(
    groups={"wanted, seen": np.arange(6), "plain, seen": np.arange(6, 10)},
    directions=np.ones(USERS, int),
    clusters=[f"u{n}" for n in range(USERS)],
    before={"model": {**_BEFORE, "CPA": BEFORE}},
    after={"model": {**_AFTER, "CPA": after, "HR@10": after}},
    num_resamples=10,
  )
  obeyed, mistakes, hits = (
    found.change(before_after.Measure(name, "model", column, **rest), 0.95)
    for name, column, rest in (
      ("CPA", "CPA", {}),
      ("mistakes in lists", "mistakes", {"higher_is_better": False}),
      ("NDCG@10, model", "HR@10", {}),
    )
  )
  alignment_report.write(
    folder / alignment_comparison.FOLDERS[split],
    found,
    promotion.decide([obeyed, mistakes], [hits]),
    alignment_report.Context(
      title=folder.name,
      command=f"instructrec align --output={folder.name}",
      lists={"model": "titles alone"},
      facts={
        "before": "checkpoint_1 of run",
        "split": split,
        "requests asked for": requests,
        "instructions fingerprint": "sha256:1",
        "seed of requests and intervals": 0,
        "seed of training": seed,
      },
      environment={"instructrec": "1"},
      training_log=(),
      config="",
    ),
  )
  rows = [
    {"step": s, "split": "train", "reward/list": s, "lists/errors": 0.5}
    for s in (1, 2)
  ]
  text = "".join(f"{json.dumps(row)}\n" for row in rows)
  (folder / "metrics.jsonl").write_text(text)
  return folder


@pytest.fixture(scope="module", name="runs")
def runs_fixture(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return {
    name: _aligned(folder / name, seed, better)
    for name, seed, better in (("a0", 0, 1), ("a1", 1, 3), ("b0", 0, 5))
  }


def _call(*args):
  return CliRunner().invoke(main.app, ["compare", *map(str, args)])


def test_ways_have_their_means_over_seeds_beside_what_they_began_with(
  runs, tmp_path
):
  result = _call(
    *(f"A={runs['a0']}", f"A={runs['a1']}", f"B={runs['b0']}"),
    f"--output={tmp_path}",
  )
  assert result.exit_code == 0, result.output
  assert "| before | 2.000 | 0.500 | 0.000 | 0.000 |" in result.output
  text = (tmp_path / "report.md").read_text()
  assert "instructrec align --output=a1" in text
  assert text.count("| promoted |") == 3
  assert (tmp_path / "report.html").is_file()
  assert "Reward of drawn lists" in (tmp_path / "curves.svg").read_text()
  found = published_report.from_folder(
    tmp_path, "align", groups=[alignment_comparison.TABLE]
  )
  assert found.seeds["training of A"] == [0, 1]
  (table,) = found.tables
  # What is wrong with lists comes first; hits are over the lists of all groups.
  names = ["mistakes in lists", "CPA", "NDCG@10, model", "HR@10, model"]
  assert table.metrics == names
  assert table.num_requests == USERS
  a, b = table.row("A"), table.row("B")
  assert a.runs["CPA"] == pytest.approx([0.6, 0.8])
  assert a.runs["HR@10, model"] == pytest.approx([0.6, 0.8])
  # Of two seeds, Student's t has one degree of freedom: 12.706.
  figure, gap = a.metrics["CPA"], a.differences["CPA"]
  assert figure.mean == pytest.approx(0.7)
  assert figure.high == pytest.approx(0.7 + 12.7062 * 0.1, abs=1e-4)
  assert gap.mean == pytest.approx(0.2)
  assert not gap.is_clear
  assert a.differences["mistakes in lists"].is_clear
  # All metrics of a method's lists, but shares of what some wishes want.
  lists = published_report.from_folder(tmp_path, "x", groups=["model"]).tables
  assert lists[0].metrics == ["mistakes", "CPA", "HR@10"]
  assert lists[0].row("B").metrics["CPA"].mean == b.metrics["CPA"].mean
  assert not lists[0].compared
  # One seed says nothing of others.
  assert b.metrics["CPA"].low is None
  assert b.differences["CPA"].mean == pytest.approx(0.5)


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
  other = _aligned(tmp_path / "other", 0, 1, requests=20)
  result = _call(runs["a0"], other, f"--output={tmp_path / 'out'}")
  assert "differ in 'requests asked for': 10 and 20" in str(result.exception)
  other = _aligned(tmp_path / "other", 0, 1, split="test") / "alignment_test"
  result = _call(runs["a0"], other, f"--output={tmp_path / 'out'}")
  assert "differ in 'split': 'validation' and 'test'" in str(result.exception)
  result = _call(runs["a0"], "--method=x", f"--output={tmp_path / 'out'}")
  assert "leave it out" in str(result.exception)
  assert not (tmp_path / "out").exists()
  result = _call(other, f"--output={tmp_path / 'of_test'}")
  assert result.exit_code == 0, result.output
  page = (tmp_path / "of_test" / "report.md").read_text()
  assert "10 lists of test requests, before and after" in page
  with pytest.raises(ValueError, match="expected at least 2"):
    intervals.over_seeds([1.0])
