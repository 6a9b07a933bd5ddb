"""What a log loses before it is split, and what is said of it."""

import polars as pl
import pytest

from instructrec.data import catalog, filtering, interaction, preparation
from instructrec.settings.preparation import (
  PrepareSettings,
  Repeats,
  Source,
  SourceSettings,
  SplitName,
)

SHOP = SourceSettings(source=Source.synthetic)


def settings_of(**changes):
  return PrepareSettings(raw=SHOP, output="unused", **changes)


ITEMS = catalog.Catalog(
  pl.DataFrame({"item_id": [*"abcdefghijkl"], "title": [*"ABCDEFGHIJKL"]})
)


def log_of(rows, times=None, ratings=None):
  """A log of "user item" pairs, one moment after the other."""
  pairs = [row.split() for row in rows]
  moments = times or range(len(rows))
  return interaction.InteractionLog(
    pl.DataFrame(
      {
        "user_id": [user for user, _ in pairs],
        "item_id": [item for _, item in pairs],
        "order": moments,
        "timestamp": moments,
        "rating": ratings or [None] * len(rows),
      },
      schema_overrides={"rating": pl.Float64},
    )
  )


def filtered(log, **changes):
  """The sequences that are left, and the lines that say why."""
  told = []
  settings = settings_of(**{"min_interactions": 1, **changes})
  kept = preparation.filtered(log, settings, told.append)
  return ["".join(items) for items in kept.sequences()[1]], told


AGAIN = log_of(["u a", "u b", "u a", "u a", "v a", "v c"], [1, 2, 3, 3, 4, 5])


def test_repeats_are_counted_said_and_dropped_or_kept():
  kept, told = filtered(AGAIN)
  assert kept == ["ab", "ac"]
  assert told == [
    "repeats: 2 interactions with an item that the user had taken before left "
    "out (--repeats=keep keeps them)"
  ]
  kept, told = filtered(AGAIN, repeats=Repeats.keep)
  assert kept == ["aba", "ac"]
  assert told == [
    "repeats: 1 interactions with an item that the user had taken before kept, "
    "1 of the same moment left out"
  ]
  assert filtered(log_of(["u a", "u b"])) == (["ab"], [])


def test_ratings_that_are_too_low_are_left_out_before_repeats_are():
  ratings = [2.0, 4.0, 5.0, 5.0, None, 3.0]
  log = interaction.InteractionLog(
    AGAIN.frame.with_columns(rating=pl.Series(ratings))
  )
  kept, told = filtered(log, min_rating=3.5)
  assert kept == ["ba"]
  assert [line.split(":")[0] for line in told] == [
    "rated below 3.5, or not at all", "repeats"
  ]  # fmt: skip
  assert "3 interactions left out" in told[0]
  with pytest.raises(ValueError, match=r"rating of 6 or more \(6 before, rat"):
    filtered(log, min_rating=6)
  with pytest.raises(ValueError, match="needs ratings, but none of the 6"):
    filtered(AGAIN, min_rating=1)


def test_the_core_is_reported_apart_from_repeats():
  log = log_of(["u a", "u a", "u b", "v a", "v b", "w c"])
  kept, told = filtered(log, min_interactions=2)
  assert kept == ["ab", "ab"]
  assert [line.split(":")[0] for line in told] == ["repeats", "2-core"]
  assert told[1] == (
    "2-core: 1 interactions, 1 users and 1 items left out"
  )  # fmt: skip
  again = log_of(["u a", "u b", "v a", "v b"])
  assert filtered(again, min_interactions=2)[1] == ["2-core: nothing left out"]


@pytest.mark.parametrize("split", SplitName)
def test_repeats_that_are_kept_are_no_leak(split):
  rows = [f"{user} {item}" for item in "abcabcad" for user in "uvw"]
  log = log_of(rows)
  settings = settings_of(
    repeats=Repeats.keep, split=split, min_interactions=1, num_negatives=2
  )
  log = preparation.filtered(log, settings, lambda _: None)
  assert len(log) == len(rows)
  told = []
  made = preparation.requests(log, ITEMS, settings, told.append)
  assert [line.split()[0] for line in told] == ["splitting", "drawing"]
  tests = made.requests.filter(pl.col("split") == "test")
  assert tests.height == 3
  for row in made.requests.iter_rows(named=True):
    touched = set("abcd")
    assert len(set(row["candidates"]) - touched) == 2


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    (["u a", "u b", "v a", "v b"],
     "leave_one_out leaves no validation and no test requests: of the 2 users "
     "nobody has 3 interactions, the most are 2"),
    (["u a", "v b"], "leaves no train and no validation and no test requests"),
    (["u a", "u b", "u c"],
     "leaves no train requests: of the 1 users nobody has 4 interactions"),
  ],
)  # fmt: skip
def test_too_few_users_for_a_split_are_said_in_words(rows, message):
  with pytest.raises(ValueError, match=message):
    preparation.split(log_of(rows), settings_of())


def test_times_that_are_all_the_same_are_said_in_words():
  log = log_of(["u a", "u b", "u c", "v a"], [1_600_000_000_000_000] * 4)
  settings = settings_of(split=SplitName.global_time)
  with pytest.raises(
    ValueError, match="all 4 interactions have the same time, 2020-09-13 12:26"
  ):
    preparation.split(log, settings)
  # Nobody comes back.
  log = log_of(["u a", "v a", "w a", "x a"])
  with pytest.raises(ValueError, match="nobody has an earlier interaction"):
    preparation.split(log, settings)


@pytest.mark.parametrize(
  ("kind", "changes", "message"),
  [
    (PrepareSettings, {"raw": SHOP, "output": "x", "max_test_targets": 2},
     "--max_test_targets needs --split=global_time"),
    (PrepareSettings, {"raw": SHOP, "output": "x", "num_negatives": 0},
     "num_negatives is 0, expected 1 or more"),
    (SourceSettings, {}, "pass --source with your files, or --download"),
    (SourceSettings, {"source": Source.table, "input": "x"},
     "source table needs --input and --items"),
    (SourceSettings, {"source": Source.recbole}, "source recbole needs"),
    (SourceSettings,
     {"source": Source.movielens, "input": "x", "columns": {"user_id": "a"}},
     "source movielens knows its columns"),
    (SourceSettings, {"download": "ml-1m", "input": "x"}, "brings its own"),
  ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(kind, changes, message):
  with pytest.raises(ValueError, match=message):
    kind(**changes)


def test_a_log_is_described_with_its_days():
  text = preparation._described(AGAIN, ITEMS)
  assert text == (
    "6 interactions of 2 users with 12 items, from 1970-01-01 00:00:00 to "
    "1970-01-01 00:00:00"
  )
  without = filtering.deduplicate(AGAIN).frame.drop("timestamp")
  found = preparation._described(interaction.InteractionLog(without), ITEMS)
  assert found == "4 interactions of 2 users with 12 items"
