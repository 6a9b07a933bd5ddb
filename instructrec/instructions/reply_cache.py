"""Replies that were paid for, in an SQLite file, by what was asked."""

import contextlib
import hashlib
import logging
import os
import pathlib
import sqlite3
from collections.abc import Iterator

from instructrec.instructions.budget import Tokens

_LOG = logging.getLogger(__name__)
_MAGIC = b"SQLite format 3\0"


class ReplyCache:
  """Texts by key; each is on disk before `put` returns.

  Args:
    path: the file; made where it is missing.
    options: what the options of the command begin with, for messages.

  Raises:
    ValueError: where the file is something else.
  """

  def __init__(
    self, path: str | os.PathLike[str], *, options: str = "teacher"
  ) -> None:
    self._path, self._options = pathlib.Path(path), options
    self._path.parent.mkdir(parents=True, exist_ok=True)
    with self._usable():
      # What is shorter than a page, SQLite takes for nothing and overwrites.
      if self._begin() not in (b"", _MAGIC):
        raise sqlite3.DatabaseError("file is not a database")
    self._db = sqlite3.connect(self._path)
    try:
      with self._usable():
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(
          "CREATE TABLE IF NOT EXISTS hashed_replies (key TEXT PRIMARY KEY, "
          "text TEXT NOT NULL, sha256 TEXT NOT NULL, tokens_in INTEGER, "
          "tokens_out INTEGER)"
        )
    except ValueError:
      self._db.close()
      raise

  def _begin(self) -> bytes:
    """The first bytes of the file; none where there is no file."""
    if not self._path.exists():
      return b""
    with self._path.open("rb") as file:
      return file.read(len(_MAGIC))

  @contextlib.contextmanager
  def _usable(self) -> Iterator[None]:
    try:
      yield
    except sqlite3.DatabaseError as error:
      raise ValueError(
        f"{self._path} cannot be used as the cache of replies: {error}; name "
        f"another file with --{self._options}_cache"
      ) from None

  def get(self, key: str) -> str | None:
    """The text kept under a key.

    Args:
      key: names what was asked.

    Returns:
      The text; None where there is none, or it is not the one that was kept:
      that is named, and to be asked for again.

    Raises:
      ValueError: where the file is damaged.
    """
    with self._usable():
      row = self._db.execute(
        "SELECT text, sha256 FROM hashed_replies WHERE key = ?", (key,)
      ).fetchone()
    if row is None:
      return None
    text, expected = row
    if _sha256(key, text) != expected:
      _LOG.warning(
        "%s: the reply %s... is damaged, and asked for again",
        self._path,
        key[:12],
      )
      return None
    return text

  def put(self, key: str, text: str, tokens: Tokens) -> None:
    """Keeps a text.

    Args:
      key: names what was asked.
      text: the reply's text.
      tokens: what it took.

    Raises:
      ValueError: where the file is damaged.
    """
    with self._usable(), self._db:
      self._db.execute(
        "INSERT OR REPLACE INTO hashed_replies VALUES (?, ?, ?, ?, ?)",
        (key, text, _sha256(key, text), tokens.prompt, tokens.reply),
      )

  def close(self) -> None:
    """Closes the file."""
    self._db.close()


def _sha256(key: str, text: str) -> str:
  return hashlib.sha256(f"{key}\n{text}".encode()).hexdigest()
