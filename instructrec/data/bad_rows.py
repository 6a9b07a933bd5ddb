"""What is wrong with rows: an error that says where, or a count of it."""

import collections
import dataclasses
import pathlib
from typing import Literal

Policy = Literal["error", "skip"]
_LONGEST = 80
"""Characters of a value that messages show."""


def shown(value: object) -> str:
  """A value as messages show it: quoted, cut where it is long."""
  if value is None or value == "":
    return "nothing"
  text = str(value)
  if len(text) > _LONGEST:
    text = text[:_LONGEST] + "..."
  return repr(text)


@dataclasses.dataclass(frozen=True)
class BadRow:
  """A row, or an optional value of it, that a source cannot use.

  Attributes:
    path: the file.
    line: line number from 1, the header included.
    field: which field.
    found: what stands there.
    expected: what should.
  """

  path: str
  line: int
  field: str
  found: str
  expected: str

  def __str__(self) -> str:
    return (
      f"{self.path}, line {self.line}, field {self.field!r}: found "
      f"{self.found}, expected {self.expected}"
    )

  @property
  def kind(self) -> tuple[str, str, str]:
    """What rows that are wrong in the same way have in common."""
    return pathlib.Path(self.path).name, self.field, self.expected


class BadRowError(ValueError):
  """A bad row under the policy "error"."""


class BadRows:
  """What to do with bad rows, and which there were.

  Args:
    policy: "error" raises at the first; "skip" counts and goes on.

  Attributes:
    notes: what else a source has to say about how it read its files.
  """

  def __init__(self, policy: Policy = "error") -> None:
    if policy not in ("error", "skip"):
      raise ValueError(
        f"the policy for bad rows is {policy!r}, expected 'error' or 'skip'"
      )
    self.policy = policy
    self.notes: list[str] = []
    self._skipped = _Counts()
    self._emptied = _Counts()

  def add(self, row: BadRow, count: int = 1) -> None:
    """Takes note of bad rows.

    Args:
      row: the first of them.
      count: how many there are of its kind.

    Raises:
      BadRowError: under the policy "error".
    """
    if self.policy == "error":
      more = f" ({count:,} such rows)" if count > 1 else ""
      raise BadRowError(
        f"{row}{more}; correct the file, or pass --on_bad_row=skip to leave "
        "such rows out"
      )
    self._skipped.add(row, count)

  def empty(self, row: BadRow, count: int = 1) -> None:
    """Takes note of optional values that are left empty; their rows stay.

    Args:
      row: the first of them.
      count: how many there are of its kind.
    """
    self._emptied.add(row, count)

  def __len__(self) -> int:
    return self._skipped.counts.total()

  @property
  def num_emptied(self) -> int:
    """Optional values that were left empty."""
    return self._emptied.counts.total()

  def report(self) -> str:
    """A line for each kind of bad row or value, with its first example."""
    lines = ["no bad rows"]
    if len(self):
      lines = [f"{len(self):,} bad rows left out:", *self._skipped.lines()]
    if self.num_emptied:
      lines += [
        f"{self.num_emptied:,} values that do not convert left empty:",
        *self._emptied.lines(),
      ]
    return "\n".join(lines)


class _Counts:
  """How many of each kind, and the first of it."""

  def __init__(self) -> None:
    self.counts: collections.Counter[tuple[str, str, str]] = (
      collections.Counter()
    )
    self._first: dict[tuple[str, str, str], BadRow] = {}

  def add(self, row: BadRow, count: int) -> None:
    self.counts[row.kind] += count
    self._first.setdefault(row.kind, row)

  def lines(self) -> list[str]:
    return [
      f"  {count:,} x {self._first[kind]}"
      for kind, count in sorted(self.counts.items())
    ]
