"""Text to numbers, prices, times and lists."""

import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data import values

SECOND = 1_000_000


def column(*found):
  return pl.Series("x", found, pl.String)


def test_numbers_are_finite_and_nothing_else():
  found = values.numbers(
    column("1", " -2.5", "1e3", ".5", "5.", "nan", "inf", "$3", "-", "", None)
  )
  expected = [1.0, -2.5, 1000.0, 0.5, 5.0] + [None] * 6
  assert found.to_list() == expected
  assert values.numbers(pl.Series([1.5, float("nan")])).to_list() == [1.5, None]


def test_whole_numbers_keep_all_their_digits():
  found = values.wholes(column("7", "7.0", "1.26e9", "9007199254740993", "7.5"))
  assert found.to_list() == [7, 7, 1_260_000_000, 9_007_199_254_740_993, None]


@pytest.mark.parametrize(
  ("text", "price"),
  [
    ("12.99", 12.99), ("$12.99", 12.99), ("€ 4", 4.0), ("1,012.50", 1012.5),
    ("$1,000,000", 1e6), ("3,50", None), ("1,5", None), ("$5 - $9", None),
    ("from 3", None), ("N/A", None), ("-", None), ("NaN", None), ("", None),
  ],
)  # fmt: skip
def test_prices(text, price):
  assert values.prices(column(text)).to_list() == [price]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
  st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2200, 1, 1)),
  st.integers(-14 * 60, 14 * 60),
)
def test_times_are_those_of_the_calendar(moment, minutes):
  """In any zone, to the microsecond."""
  zone = datetime.timezone(datetime.timedelta(minutes=minutes))
  there = moment.replace(tzinfo=zone)
  epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
  expected = (there - epoch) // datetime.timedelta(microseconds=1)
  assert values.times(column(there.isoformat())).to_list() == [expected]
  spaced = there.isoformat(" ")
  assert values.times(column(spaced)).to_list() == [expected]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
  st.lists(st.integers(0, 4 * 10**9), min_size=1),
  st.sampled_from([1_000, 1_000_000, 1_000_000_000]),
)
def test_units_of_unix_times_are_told_by_their_size(seconds, ticks):
  # One time of today tells the unit; the others may be from long ago.
  seconds = [*seconds, 1_700_000_000]
  expected = [moment * SECOND for moment in seconds]
  text = column(*(str(moment * ticks) for moment in seconds))
  assert values.times(text).to_list() == expected
  assert values.times(column(*map(str, seconds))).to_list() == expected


def test_what_is_no_time_is_null():
  found = values.times(
    column("2023-02-30", "2023-13-01", "soon", "12/31/2023", None, "")
  )
  assert found.to_list() == [None] * 6
  assert values.times(column("9" * 30), ticks=1).to_list() == [None]
  assert values.times(pl.Series([datetime.time(1)])).to_list() == [None]


def test_lists_in_json_in_python_and_split():
  found = values.strings(
    column(
      '["a", "b"]', "['a', \"b's\"]", "a > b >  > c", "[Old] a > b", "[]", None,
      '[["a", "b"], ["a", "c"], []]', "[1, null, 2]", "__import__('os')",
    ),
    " > ",
  )  # fmt: skip
  assert found.to_list() == [
    ["a", "b"], ["a", "b's"], ["a", "b", "c"], ["[Old] a", "b"], [], None,
    ["a", "b", "c"], ["1", "2"], ["__import__('os')"],
  ]  # fmt: skip
  deep = values.strings(column("[" * 100_000), " > ")
  assert deep.to_list() == [["[" * 100_000]]
