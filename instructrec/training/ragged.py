"""Rows of different lengths in one array."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from instructrec.models import tokenizer


@dataclasses.dataclass(frozen=True)
class Ragged:
  """Rows of tokens or item numbers, of different lengths, end to end.

  Attributes:
    tokens: what is in all rows.
    offsets: row i is `tokens[offsets[i]:offsets[i + 1]]`.
  """

  tokens: Int[np.ndarray, " tokens"]
  offsets: Int[np.ndarray, " rows_plus_1"]

  def __len__(self) -> int:
    return len(self.offsets) - 1

  @classmethod
  def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
    """Joins rows of entries, end to end, as int32."""
    lengths = [len(row) for row in rows]
    flat = [entry for row in rows for entry in row]
    return cls(
      np.asarray(flat, np.int32), np.concatenate([[0], lengths]).cumsum()
    )

  @classmethod
  def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
    """The rows of all parts, one part after the other, in memory."""
    lengths = [length for part in parts for length in part.lengths]
    return cls(
      np.concatenate([part.tokens for part in parts]),
      np.concatenate([[0], lengths]).cumsum(),
    )

  @property
  def lengths(self) -> Int[np.ndarray, " rows"]:
    """Length of each row, in tokens."""
    return np.diff(self.offsets)

  def row(self, number: int) -> Int[np.ndarray, " length"]:
    """One row."""
    return self.tokens[self.offsets[number] : self.offsets[number + 1]]

  def pad(
    self, rows: Int[np.ndarray, " batch"], length: int
  ) -> Int[np.ndarray, "batch length"]:
    """Gathers rows into a matrix padded with 0.

    A row longer than `length` keeps its first `length - 1` tokens and ends
    with EOS, as SeqIO's `append_eos_after_trim` does.

    Args:
      rows: which rows.
      length: width of the result, in tokens.

    Returns:
      int32 tokens.
    """
    starts, lengths = self.offsets[rows], self.lengths[rows]
    columns = np.arange(length)
    where = columns < np.minimum(lengths, length)[:, None]
    # Positions past the end of a row are read from its start, then zeroed.
    positions = np.where(where, starts[:, None] + columns, starts[:, None])
    padded = np.where(where, self.tokens[positions], 0).astype(np.int32)
    padded[lengths > length, length - 1] = tokenizer.EOS_ID
    return padded

  def newest(
    self, rows: Int[np.ndarray, " batch"], length: int
  ) -> Int[np.ndarray, "batch length"]:
    """Gathers the ends of rows into a matrix, padded in front with 0.

    Args:
      rows: which rows.
      length: width of the result; a longer row keeps its last entries.

    Returns:
      int32.
    """
    ends = self.offsets[rows + 1][:, None]
    positions = ends - length + np.arange(length)
    where = positions >= self.offsets[rows][:, None]
    if not len(self.tokens):
      return np.zeros(where.shape, np.int32)
    # Padding is read from an entry that exists, then zeroed.
    found = self.tokens[np.where(where, positions, 0)]
    return np.where(where, found, 0).astype(np.int32)

  def take(self, rows: Int[np.ndarray, " taken"]) -> "Ragged":
    """Some rows in memory, in any order and however often.

    Args:
      rows: which rows.

    Returns:
      These rows, end to end.
    """
    lengths = self.lengths[rows]
    offsets = np.concatenate([[0], lengths]).cumsum()
    shift = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
    return Ragged(self.tokens[shift + np.arange(offsets[-1])], offsets)

  def save(self, directory: pathlib.Path, name: str) -> None:
    """Writes `<name>.tokens.npy` and `<name>.offsets.npy`."""
    np.save(directory / f"{name}.tokens.npy", self.tokens)
    np.save(directory / f"{name}.offsets.npy", self.offsets)

  @classmethod
  def load(cls, directory: pathlib.Path, name: str) -> "Ragged":
    """Maps the two files into memory."""
    return cls(
      np.load(directory / f"{name}.tokens.npy", mmap_mode="r"),
      np.load(directory / f"{name}.offsets.npy"),
    )
