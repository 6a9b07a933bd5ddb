"""Whether wishes are followed: figures, record, table and picture."""

import dataclasses
import json
import math

import numpy as np
import pytest

from instructrec.evaluation import following, following_report, plots


def _answers(plain, wanted, unwanted, other, a, b, num_items=40, **more):
  """Answers of which each list has so many items of A, the first ones."""

  def best(count):
    # Items 0 to 9 have A, 10 to 19 B, the others neither.
    return [*range(count), *range(20, 30 - count)]

  lists = [
    np.array([best(count) for count in counts])
    for counts in (plain, wanted, unwanted, other)
  ]
  has = np.zeros((2, len(plain), num_items), bool)
  has[0, :, :a] = True
  has[1, :, 10 : 10 + b] = True
  return following.Answers(*lists, has[0], has[1], **more)


def test_each_figure_is_its_formula():
  answers = _answers(
    plain=[2, 0, 10, 4],
    wanted=[5, 1, 10, 4],
    unwanted=[0, 0, 3, 5],
    other=[1, 1, 9, 4],
    a=10,
    b=10,
  )
  found = following.measure(answers, seed=0, num_resamples=50)
  assert found.share_of_a["plain"].mean == pytest.approx(16 / 40)
  assert found.share_of_a["A"].mean == pytest.approx(20 / 40)
  assert found.share_of_a["no A"].mean == pytest.approx(8 / 40)
  assert found.share_of_b["B"].mean == 0
  # The third history is all A before and after.
  assert found.directions["wanted"].mean == pytest.approx(3 / 4)
  # The second has none of it before and after.
  assert found.directions["unwanted"].mean == pytest.approx(3 / 4)
  assert found.directions["against"].mean == pytest.approx(2 / 4)
  assert found.right_direction.mean == pytest.approx(8 / 12)
  assert found.clean_first_five.mean == pytest.approx(2 / 4)
  assert found.num_best == 10
  assert found.num_histories == 4
  assert found.nonsense is None
  assert found.own_added is None


def test_a_wish_that_changes_nothing_is_in_no_right_direction():
  answers = _answers([3] * 9, [3] * 9, [3] * 9, [3] * 9, a=10, b=10)
  found = following.measure(answers, seed=0, num_resamples=50)
  assert found.right_direction.mean == 0
  assert found.right_direction.high == 0


def test_no_a_read_as_a_is_caught():
  answers = _answers([3] * 9, [8] * 9, [8] * 9, [1] * 9, a=10, b=10)
  found = following.measure(answers, seed=0, num_resamples=50)
  assert found.directions["wanted"].mean == 1
  assert found.directions["unwanted"].mean == 0
  assert found.clean_first_five.mean == 0


def test_rank_correlation_is_spearmans():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(6, 30)).round(1)  # With ties.
  y = (x + rng.normal(size=x.shape)).round(1)
  stats = pytest.importorskip("scipy.stats")
  expected = [
    stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)
  ]
  assert following.rank_correlation(x, y) == pytest.approx(expected)
  assert following.rank_correlation(x, 3 * x + 1) == pytest.approx(1)
  assert following.rank_correlation(x, -x) == pytest.approx(-1)
  assert (following.rank_correlation(x, np.ones_like(x)) == 0).all()


def test_hit_rates_are_of_the_histories_that_have_lists():
  nan = math.nan
  answers = _answers(
    [1] * 4,
    [2] * 4,
    [0] * 4,
    [0] * 4,
    a=10,
    b=10,
    hits={
      "none": np.array([0.0, 1.0, 0.5, nan]),
      "own": np.array([1.0, 1.0, 1.0, 1.0]),
      "other": np.array([0.0, 0.0, 0.5, 0.0]),
    },
  )
  found = following.measure(answers, seed=0, num_resamples=50)
  assert found.own_added.mean == pytest.approx(0.5)
  assert found.other_lost.mean == pytest.approx(1 / 3)
  nothing = {name: np.full(4, nan) for name in ("none", "own", "other")}
  answers = dataclasses.replace(answers, hits=nothing)
  assert following.measure(answers, seed=0, num_resamples=5).own_added is None


def _full(seed=0):
  rng = np.random.default_rng(seed)
  counts = rng.integers(0, 11, (4, 50))
  scores = rng.normal(size=(50, 100))
  return following.measure(
    _answers(
      *counts,
      a=10,
      b=10,
      nonsense=scores + 0.1 * rng.normal(size=scores.shape),
      reference=scores,
      hits={
        name: rng.integers(0, 2, 50).astype(float)
        for name in ("none", "own", "other")
      },
    ),
    seed=seed,
    num_resamples=100,
  )


def test_goes_through_json():
  found = _full()
  assert found.nonsense.low > 0.9
  again = following.Following.from_json(json.loads(json.dumps(found.to_json())))
  assert again == found


def test_a_record_that_does_not_fit_is_named():
  record = _full().to_json()
  with pytest.raises(ValueError, match="schema_version 7, expected 1"):
    following.Following.from_json({**record, "schema_version": 7})
  del record["clean_first_five"]
  with pytest.raises(ValueError, match="lacks clean_first_five"):
    following.Following.from_json(record)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"wanted": np.zeros((3, 9), int)}, r"'A' have shape \(3, 9\)"),
    ({"has_b": np.zeros((2, 40), bool)}, "what has B is of shape"),
    ({"has_a": np.zeros((3, 40))}, "dtype float64"),
    ({"nonsense": np.zeros((3, 5))}, "must come together"),
    (
      {"nonsense": np.zeros((3, 5)), "reference": np.zeros((3, 6))},
      "expected the same items",
    ),
    ({"hits": {"own": np.zeros(3)}}, "hits are of"),
  ],
)
def test_what_does_not_fit_is_named(changes, message):
  answers = _answers([1] * 3, [2] * 3, [0] * 3, [0] * 3, a=10, b=10)
  with pytest.raises(ValueError, match=message):
    following.measure(
      dataclasses.replace(answers, **changes), seed=0, num_resamples=5
    )


def test_the_section_has_sentence_table_and_picture():
  found = _full()
  text = "\n".join(following_report.section(found))
  assert text.startswith("## Following\n")
  assert f"right in {found.right_direction.mean:.1%} of pairs" in text
  assert "![" in text
  assert "(following.svg)" in text
  rows = following_report.table(found).splitlines()
  assert len({row.count("|") for row in rows}) == 1
  assert f"{found.clean_first_five.mean:.3f} [" in text
  assert "rank correlation under nonsense" in text
  assert "HR@1 that somebody else's wish costs" in text


def test_the_figures_become_tables_to_publish():
  found = _full()
  rates, shares = following_report.tables(found, "model")
  figures = rates.row("model").metrics
  assert figures["right_direction"].mean == found.right_direction.mean
  assert figures["wanted"].low == found.directions["wanted"].low
  assert {"unwanted", "clean_first_five", "own_added"} < set(rates.metrics)
  assert shares.row("no A").metrics["has A"].mean == (
    found.share_of_a["no A"].mean
  )
  assert [row.name for row in shares.rows] == ["no wish", "A", "no A", "B"]


def test_what_was_not_measured_is_not_in_the_table():
  answers = _answers([1] * 3, [2] * 3, [0] * 3, [0] * 3, a=10, b=10)
  found = following.measure(answers, seed=0, num_resamples=5)
  assert "nonsense" not in following_report.table(found)
  assert "HR@1" not in following_report.table(found)


@pytest.mark.parametrize("whole", [True, False])
def test_the_picture_is_drawn(whole, tmp_path):
  found = _full()
  if not whole:
    found = dataclasses.replace(found, nonsense=None)
  plots.following_bars(found, tmp_path / "following.svg")
  assert (tmp_path / "following.svg").read_text().startswith("<?xml")
