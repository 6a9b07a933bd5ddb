"""Rows that cannot be read: an error that says where, or a count of them."""

import collections
import dataclasses
import pathlib
from typing import Literal

Policy = Literal["error", "skip"]


@dataclasses.dataclass(frozen=True)
class BadRow:
  """A row that a source cannot use.

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


class BadRowError(ValueError):
  """A bad row under the policy "error"."""


class BadRows:
  """What to do with bad rows, and which there were.

  Args:
    policy: "error" raises at the first; "skip" counts and goes on.
  """

  _EXAMPLES = 3

  def __init__(self, policy: Policy = "error") -> None:
    if policy not in ("error", "skip"):
      raise ValueError(
        f"the policy for bad rows is {policy!r}, expected 'error' or 'skip'"
      )
    self.policy = policy
    self.counts: collections.Counter[tuple[str, str, str]] = (
      collections.Counter()
    )
    self.examples: dict[tuple[str, str, str], list[BadRow]] = {}

  def add(self, row: BadRow, count: int = 1) -> None:
    """Takes note of bad rows.

    Args:
      row: the first of them.
      count: how many there are of its kind.

    Raises:
      BadRowError: under the policy "error".
    """
    if self.policy == "error":
      more = f" ({count} such rows)" if count > 1 else ""
      raise BadRowError(
        f"{row}{more}; correct the file, or pass --on_bad_row=skip to leave "
        "such rows out"
      )
    key = (pathlib.Path(row.path).name, row.field, row.expected)
    self.counts[key] += count
    examples = self.examples.setdefault(key, [])
    if len(examples) < self._EXAMPLES:
      examples.append(row)

  def __len__(self) -> int:
    return sum(self.counts.values())

  def report(self) -> str:
    """One line for each kind of bad row, with its first example."""
    if not self.counts:
      return "no bad rows"
    lines = [f"{len(self)} bad rows left out:"]
    for key, count in sorted(self.counts.items()):
      lines.append(f"  {count} x {self.examples[key][0]}")
    return "\n".join(lines)
