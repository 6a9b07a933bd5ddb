"""Replies that were paid for, in an SQLite file, by what was asked."""

import os
import pathlib
import sqlite3

from instructrec.instructions.budget import Tokens


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
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    self._db = sqlite3.connect(path)
    try:
      self._db.execute("PRAGMA journal_mode=WAL")
      self._db.execute(
        "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, "
        "text TEXT NOT NULL, tokens_in INTEGER, tokens_out INTEGER)"
      )
    except sqlite3.DatabaseError as error:
      self._db.close()
      raise ValueError(
        f"{path} cannot be used as the cache of replies: {error}; name another "
        f"file with --{options}_cache"
      ) from None

  def get(self, key: str) -> str | None:
    """The text kept under a key; None where there is none."""
    row = self._db.execute(
      "SELECT text FROM replies WHERE key = ?", (key,)
    ).fetchone()
    return None if row is None else row[0]

  def put(self, key: str, text: str, tokens: Tokens) -> None:
    """Keeps a text.

    Args:
      key: names what was asked.
      text: the reply's text.
      tokens: what it took.
    """
    with self._db:
      self._db.execute(
        "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)",
        (key, text, tokens.prompt, tokens.reply),
      )

  def close(self) -> None:
    """Closes the file."""
    self._db.close()
