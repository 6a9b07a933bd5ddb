import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import (
  differences,
  evaluate,
  intervals,
  markdown,
  metrics,
)


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (None, "none"),
    (3, "3"),
    (True, "True"),
    ("a|b\nc", r"a\|b c"),
    ({"a": 1, "b": [2, None]}, "a: 1, b: 2, none"),
    ({"a": "x|y"}, r"a: x\|y"),
    ([], ""),
  ],
)
def test_a_cell_stays_a_cell(value, text):
  assert markdown.cell(value) == text


def test_differences_carry_their_signs():
  interval = intervals.Interval(0.12, -0.0301, 0.27)
  assert markdown.signed(interval) == "+0.120 [-0.030, +0.270]"


def test_a_comparison_shows_its_test_and_its_size():
  found = differences.Difference(
    "a",
    "b",
    "HR@1",
    intervals.Interval(0.12, 0.08, 0.16),
    p_value=0.0001,
    p_holm=0.0003,
    effect_size=0.312,
    num_better=1055,
    num_worse=19,
  )
  clear = "**+0.120 [+0.080, +0.160]** p <0.001 d +0.31 (1,055:19)"
  assert markdown.compared(found) == clear
  unclear = dataclasses.replace(found, p_holm=0.0512, effect_size=None)
  text = "+0.120 [+0.080, +0.160] p 0.051 d none (1,055:19)"
  assert markdown.compared(unclear) == text


def test_a_fence_is_longer_than_any_in_the_text():
  assert markdown.fenced("a = 1") == "```\na = 1\n```"
  assert markdown.fenced("````\nx\n````").startswith("`````\n````\n")


def test_tables_have_a_cell_for_each_column():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 5, 200)
  good = rng.normal(size=(200, 5))
  good[np.arange(200), labels] += 3
  result = evaluate.from_scores(
    "g",
    {"good|one": good, "noise": rng.normal(size=(200, 5))},
    labels,
    request_ids=[str(i) for i in range(200)],
    num_resamples=200,
  )
  lines = markdown.metric_table(result).splitlines()
  columns = len(metrics.NAMES) + 1
  assert {line.replace(r"\|", "").count("|") for line in lines} == {columns + 1}
  assert lines[2].startswith(r"| good\|one | ")
  assert lines[-1].startswith("| *chance* | 0.200 |")
  lines = markdown.difference_table(result).splitlines()
  assert len(lines) == 3
  assert lines[2].startswith(r"| good\|one - noise | **+0.")
  assert markdown.facts({"a": 1}).splitlines()[2:] == ["| a | 1 |"]
