"""With which settings a run was trained from which step on.

`run.json` holds the settings of the newest part of a run, and all its starts
with what each changed; those of earlier parts follow from the two.
"""

import datetime
from collections.abc import Mapping
from typing import Any

SETTINGS, STARTS = "settings", "starts"


def differences(
  before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, dict[str, str | None]]:
  """What differs between settings.

  Args:
    before: values by name, as gin writes them.
    after: likewise.

  Returns:
    By name: what it was ("from") and is ("to"), None where it was not set.
  """
  return {
    name: {"from": before.get(name), "to": after.get(name)}
    for name in sorted(before.keys() | after.keys())
    if before.get(name) != after.get(name)
  }


def in_words(changed: Mapping[str, Mapping[str, str | None]]) -> str:
  """The same for people, such as "SEED 1 (was 0)"."""
  return ", ".join(
    f"{name} {change['to'] or 'not set'} (was {change['from'] or 'not set'})"
    for name, change in changed.items()
  )


def go_on(
  record: Mapping[str, Any], step: int, settings: Mapping[str, str]
) -> dict[str, Any]:
  """Settings and starts of a run that begins, or goes on from a checkpoint.

  Args:
    record: the content of `run.json` so far; empty where there is none.
    step: of the checkpoint; 0 begins anew.
    settings: values by name, as gin writes them.

  Returns:
    `settings`, and `starts`: step, date (UTC) and changed settings of each.
  """
  starts = list(record.get(STARTS, ()))
  known = dict(record.get(SETTINGS, {}))
  # What began here or later left nothing: the checkpoint was there before.
  while starts and starts[-1]["step"] >= step:
    for name, change in starts.pop()["changed"].items():
      known[name] = change["from"]
  now = datetime.datetime.now(datetime.UTC)
  starts.append(
    {
      "step": step,
      "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
      "changed": differences(known, settings) if starts else {},
    }
  )
  return {SETTINGS: dict(settings), STARTS: starts}
