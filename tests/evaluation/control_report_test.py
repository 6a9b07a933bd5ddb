"""The tables of control in a report."""

import numpy as np
import pytest

from instructrec.evaluation import bias, control_report
from instructrec.evaluation.control import Case

_SETTINGS = {"reader": "strict", "num_resamples": 200}


def _cells(lines, start):
  """The cells of a row, by the names of its columns."""
  text = "\n".join(lines).split("\n")
  at = next(i for i, line in enumerate(text) if line.startswith(start))
  head = max(i for i in range(at) if text[i].startswith("|---")) - 1
  rows = [
    [cell.strip() for cell in text[i].strip("|").split(" | ")]
    for i in (head, at)
  ]
  return dict(zip(*rows, strict=True))


@pytest.fixture(scope="module", name="columns")
def columns_fixture():
  obeys = np.array([1.0] * 30 + [0] * 10)
  return {
    "model": {"CorrectCount": np.ones(40), "CPA": obeys, "TCP lift": obeys},
    "teacher": {"CorrectCount": np.ones(40), "CPA": 1 - obeys},
    "a|b": {
      "CorrectCount": np.zeros(40),
      "CPA": np.where(obeys == 1, 1, np.nan),
    },
  }


def test_methods_stand_in_rows_and_metrics_in_columns(columns):
  cases = np.array([Case.ORDINARY] * 37 + [Case.CONFLICT] * 3)
  found = control_report.section("wanted", columns, cases=cases, **_SETTINGS)
  lines = found.lines
  text = "\n".join(lines)
  assert "## Control: wanted" in text
  assert "40 requests; lists were read by the strict reader." in text
  assert "37 ordinary, 3 that want none of what all of the history" in text
  assert "with nothing to show" not in text
  obedience = _cells(lines, "| model")
  assert list(obedience) == ["method", "CPA", "TCP lift"]
  assert obedience["CPA"].startswith("0.750 [")
  assert _cells(lines, "| teacher")["TCP lift"] == "-"
  mistakes = _cells(lines[lines.index("") + 4 :], "| model")
  assert mistakes["CorrectCount"] == "1.000 [1.000, 1.000]"
  assert mistakes["NonExist"] == "-"
  assert "difference" not in text
  # The same as data, with what no list has left out.
  assert (found.table.name, found.table.num_requests) == ("control: wanted", 40)
  model = found.table.row("model").metrics
  assert model["CPA"].mean == 0.75
  assert "TCP lift" not in found.table.row("teacher").metrics
  assert list(model) == found.table.metrics


def test_differences_are_paired_and_tested(columns):
  lines = control_report.section(
    "wanted", columns, reference="teacher", **_SETTINGS
  ).lines
  gap = _cells(lines, "| model - teacher")
  # Over the thirty requests that all of them have.
  assert gap["CPA"].startswith("**+1.000 [+1.000, +1.000]** p ")
  assert gap["CPA"].endswith("(30:0)")
  assert gap["TCP lift"] == "-"
  with pytest.raises(ValueError, match="the reference is 'oracle'"):
    control_report.section("wanted", columns, reference="oracle", **_SETTINGS)


def test_what_is_shown_stands_below(columns):
  exposures = {"model": bias.Exposure(10, 0.5, 0.25, 7.0)}
  lines = control_report.section(
    "wanted", columns, exposures=exposures, **_SETTINGS
  ).lines
  assert "| model | 10 a request | 50.0% | 0.250 | 7.0 |" in "\n".join(lines)
