"""Which settings a part of a run had follows from the record."""

import datetime
import json

from instructrec.training import run_history

_FIRST = {"LEARNING_RATE": "0.001", "OPTIMIZER": "@optimizer.adamw()"}


def go_on(record, step, **settings):
  found = run_history.go_on(record, step, {**_FIRST, **settings})
  return json.loads(json.dumps(found))


def changes(record):
  return [(start["step"], start["changed"]) for start in record["starts"]]


def test_a_run_begins_with_its_settings():
  record = go_on({}, 0)
  assert record["settings"] == _FIRST
  assert changes(record) == [(0, {})]
  date = datetime.datetime.fromisoformat(record["starts"][0]["date"])
  assert abs(date - datetime.datetime.now(datetime.UTC)).total_seconds() < 60


def test_each_change_is_kept_where_the_run_goes_on():
  record = go_on({}, 0)
  record = go_on(record, 100, LEARNING_RATE="0.0001")
  record = go_on(record, 200, LEARNING_RATE="0.0001")
  record = go_on(record, 300, SEED="1")
  assert record["settings"] == {**_FIRST, "SEED": "1"}
  assert changes(record) == [
    (0, {}),
    (100, {"LEARNING_RATE": {"from": "0.001", "to": "0.0001"}}),
    (200, {}),
    (
      300,
      {
        "LEARNING_RATE": {"from": "0.0001", "to": "0.001"},
        "SEED": {"from": None, "to": "1"},
      },
    ),
  ]


def test_a_start_that_left_no_checkpoint_is_forgotten():
  """Killed before it saved: what is trained from there has other settings."""
  record = go_on({}, 0)
  once = go_on(record, 100, LEARNING_RATE="0.1")
  lost = go_on(once, 200, LEARNING_RATE="0.5", SEED="1")
  lost = go_on(lost, 200, LEARNING_RATE="0.7")
  record = go_on(lost, 200, LEARNING_RATE="0.1")
  assert changes(record) == [*changes(once), (200, {})]
  # The newest checkpoint was removed by hand: likewise.
  record = go_on(lost, 100, LEARNING_RATE="0.3")
  assert changes(record) == [
    (0, {}),
    (100, {"LEARNING_RATE": {"from": "0.001", "to": "0.3"}}),
  ]


def test_a_run_that_begins_anew_has_no_past():
  record = go_on(go_on({}, 0), 0, LEARNING_RATE="1.0")
  assert changes(record) == [(0, {})]
  assert record["settings"]["LEARNING_RATE"] == "1.0"


def test_changes_are_said_in_words():
  changed = run_history.differences({"A": "1", "B": "2"}, {"A": "3", "C": "4"})
  assert run_history.in_words(changed) == (
    "A 3 (was 1), B not set (was 2), C 4 (was not set)"
  )
