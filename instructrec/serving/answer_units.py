"""Answers that wait beside an output until all of them are there.

A unit is a file: its first line says which lines it answers and what hash the
rest has, so that it is there whole or is made again.
"""

import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

from instructrec import output_folder

_KEY = "key"
_FIRST = 4096
"""Bytes of the first line, filled up with blanks."""
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Summary:
  """What some units came to.

  Attributes:
    requests: how many there were.
    wrong: how many of them have no answer.
    first: what is wrong with the first of these; empty where there is none.
  """

  requests: int = 0
  wrong: int = 0
  first: str = ""

  def and_then(self, other: "Summary") -> "Summary":
    """Both together."""
    return Summary(
      self.requests + other.requests,
      self.wrong + other.wrong,
      self.first or other.first,
    )


class AnswerUnits:
  """The units of one output, in a folder beside it.

  Whoever makes the output holds its lock; see `output_folder.locked`.

  Args:
    output: the file that is to be made.
  """

  def __init__(self, output: pathlib.Path) -> None:
    self.folder = output.with_name(f"{output.name}.unfinished")

  def begin(self, key: str) -> None:
    """Makes the folder; answers that were made from something else go.

    Args:
      key: says what answers are made from, their requests aside.

    Raises:
      FileExistsError: where something else has the folder's name.
    """
    path = self.folder / _KEY
    if path.is_file():
      if path.read_text() == key:
        return
      self._remove()
    elif self.folder.exists() and any(self.folder.iterdir()):
      raise FileExistsError(
        f"{self.folder} was not made by `recommend`, which keeps there what it "
        "has answered; move it away, or choose another --output"
      )
    self.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(key)

  def _remove(self) -> None:
    """The key last, for it says whose folder this is."""
    for path in self.folder.iterdir():
      if path.name != _KEY:
        path.unlink()
    shutil.rmtree(self.folder)

  def _path(self, number: int) -> pathlib.Path:
    return self.folder / f"{number:08d}.jsonl"

  def keep(
    self, number: int, answers: Iterable[dict[str, Any]], lines: str
  ) -> None:
    """Keeps the answers of a unit.

    Args:
      number: of the unit.
      answers: in order; wrong lines have an "error".
      lines: hash of what they answer.
    """
    temporary = self._path(number).with_suffix(".tmp")
    digest, found = hashlib.sha256(), Summary()
    with temporary.open("wb") as file:
      file.write(b" " * (_FIRST - 1) + b"\n")
      for answer in answers:
        wrong = answer.get("error")
        first = wrong and f"line {answer['line']}: {wrong}"
        found = found.and_then(Summary(1, bool(wrong), (first or "")[:400]))
        text = f"{json.dumps(answer, allow_nan=False)}\n".encode()
        digest.update(text)
        file.write(text)
      facts = {
        "lines": lines,
        "answers": digest.hexdigest(),
        **dataclasses.asdict(found),
      }
      file.seek(0)
      file.write(json.dumps(facts).encode())
      file.flush()
      os.fsync(file.fileno())
    temporary.replace(self._path(number))

  def has(self, number: int, lines: str, *, allow_wrong: bool) -> bool:
    """Whether the answers to some lines are there, whole.

    Args:
      number: of the unit.
      lines: hash of what is to be answered.
      allow_wrong: whether lines may have an error in place of an answer.

    Returns:
      False also where they are damaged, which is told.
    """
    path = self._path(number)
    if not path.is_file():
      return False
    with path.open("rb") as file:
      try:
        facts = json.loads(file.read(_FIRST))
        same, digest = facts["lines"] == lines, facts["answers"]
        same &= allow_wrong or not facts["wrong"]
      except (ValueError, KeyError, TypeError):
        same, digest = True, None
      whole = hashlib.file_digest(_rest(file), "sha256").hexdigest() == digest
    if same and not whole:
      _LOG.warning("%s is damaged and is made again", path)
    return same and whole

  def summary(self, count: int) -> Summary:
    """What the first units came to."""
    found = Summary()
    for number in range(count):
      with self._path(number).open("rb") as file:
        facts = json.loads(file.read(_FIRST))
      own = Summary(facts["requests"], facts["wrong"], facts["first"])
      found = found.and_then(own)
    return found

  def join(self, count: int, output: pathlib.Path, *, overwrite: bool) -> None:
    """Makes the output of the first units, and removes them.

    Args:
      count: how many units.
      output: the file.
      overwrite: see `output_folder.check`.
    """
    with (
      output_folder.making_file(output, overwrite=overwrite) as path,
      path.open("wb") as made,
    ):
      for number in range(count):
        with self._path(number).open("rb") as file:
          shutil.copyfileobj(_rest(file), made)
    self._remove()


def _rest(file: io.BufferedReader) -> io.BufferedReader:
  file.seek(_FIRST)
  return file
