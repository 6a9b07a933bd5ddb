"""What users rated low is no taste."""

import polars as pl
import pytest

from instructrec.data import interaction, ratings


def log(rows):
  frame = pl.DataFrame(
    [
      {"user_id": u, "item_id": i, "order": n, "timestamp": n, "rating": r,
       "review": None}
      for n, (u, i, r) in enumerate(rows)
    ],
    schema=interaction.SCHEMA,
  )  # fmt: skip
  return ratings.Ratings(frame.lazy())


def test_ratings_of_some_users():
  found = log([("a", "x", 4.0), ("a", "y", None), ("b", "x", 1.0)])
  assert found.are_known
  assert found.of(["a", "a", "nobody"]) == {"a": {"x": 4.0}}
  assert found.of(["a", "b"])["b"] == {"x": 1.0}
  assert found.of([]) == {}


def test_a_log_without_ratings():
  found = log([("a", "x", None)])
  assert not found.are_known
  assert found.of(["a"]) == {}


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    (None, "wxyz"),
    ({}, "wxyz"),
    # Below the mean of what was rated; what was not rated stays.
    ({"x": 3.0, "y": 5.0}, "wyz"),
    # Two stars or less, though nothing is rated better.
    ({"w": 2.0, "x": 2.0, "y": 2.0}, "z"),
    ({"w": 4.0, "x": 4.0, "y": 4.0, "z": 4.0}, "wxyz"),
    # All disliked: better a bad hint than none.
    ({"w": 1.0, "x": 1.0, "y": 2.0, "z": 1.0}, "wxyz"),
    # Ratings of other items count nothing.
    ({"w": 3.0, "q": 5.0}, "wxyz"),
  ],
)
def test_what_is_liked(given, expected):
  assert "".join(ratings.liked(list("wxyz"), given)) == expected
