"""Where embeddings begin that are trained from scratch: what occurs with what.

Items that the same users take lie near each other, pieces of titles near the
items that they name. It takes seconds, and a small network then reaches in
minutes what it does not reach from random vectors (docs/training.md).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int

WINDOW = 5
"""Items further apart in a sequence do not count as occurring together."""
SCALE = 0.3
"""Standard deviation of the start, and factor of the random vectors in it."""
_SHIFT, _CONTEXT_POWER = 5.0, 0.75


@dataclasses.dataclass(frozen=True)
class EmbeddingStart:
  """Vectors to begin with.

  Attributes:
    pieces: what is added to `SCALE` times the random table of tokens; zeros
      for pieces of no title.
    items: of items by number; row 0 is no item.
  """

  pieces: Float[np.ndarray, "vocab embed"]
  items: Float[np.ndarray, "items_plus_1 embed"]

  def apply(self, params: Any) -> Any:
    """Parameters with these embeddings.

    Args:
      params: fresh ones, with `token_embedder` and, where items have vectors,
        `title_matching/item_embedding`.

    Returns:
      The same tree.
    """
    table = params["token_embedder"]["embedding"]
    started = {
      **params,
      "token_embedder": {"embedding": SCALE * table + self.pieces},
    }
    matching = params.get("title_matching", {})
    if "item_embedding" in matching:
      started["title_matching"] = {
        **matching,
        "item_embedding": self.items.astype(np.float32),
      }
    return started


def from_cooccurrence(
  sequences: Sequence[Int[np.ndarray, " length"]],
  title_tokens: Int[np.ndarray, "items_plus_1 length"],
  *,
  width: int,
  vocab_size: int,
  seed: int = 0,
) -> EmbeddingStart:
  """Vectors from a factorisation of what occurs together.

  Items i and j occur together with the weight 1 / distance, up to `WINDOW`
  apart. With n_ij its sum and the contexts' shares smoothed by a power of
  0.75 (Levy et al., 2015)::

    log(1 + n_ij / (5 n_i q_j)) = (U S V^T)_ij,   item i = (U S^1/2)_i

  A piece's vector is the mean of its titles' items, weighted by the root of
  how often they were taken.

  Args:
    sequences: item numbers of each user, oldest first.
    title_tokens: of every item by number; row 0 zeros.
    width: of the vectors.
    vocab_size: rows of the table of tokens.
    seed: of the factorisation's start.

  Returns:
    The vectors, with a standard deviation of `SCALE`.

  Raises:
    ValueError: where there are fewer items than `width` + 2, or no two items
      occur together.
  """
  num_rows = len(title_tokens)
  if num_rows < width + 2:
    raise ValueError(
      f"{num_rows - 1} items cannot give vectors of width {width}; expected at "
      f"least {width + 1} items. Set INITIAL_EMBEDDINGS = 'random'"
    )
  together = _cooccurrence(sequences, num_rows)
  if not together.nnz:
    raise ValueError(
      "no two items occur in one user's sequence, so that nothing says which "
      "are alike; set INITIAL_EMBEDDINGS = 'random'"
    )
  start = np.random.default_rng(seed).standard_normal(num_rows)
  left, values, _ = scipy.sparse.linalg.svds(together, k=width, v0=start)
  # Singular vectors have no sign of their own.
  signs = np.sign(left[np.abs(left).argmax(0), np.arange(width)])
  items = left * signs * np.sqrt(values)
  counts = np.bincount(np.concatenate(sequences), minlength=num_rows)
  pieces = _pieces(items, title_tokens, np.sqrt(counts + 1), vocab_size)
  return EmbeddingStart(
    pieces=_scaled(pieces).astype(np.float32),
    items=_scaled(items).astype(np.float32),
  )


def _cooccurrence(
  sequences: Sequence[Int[np.ndarray, " length"]], num_rows: int
) -> scipy.sparse.csr_matrix:
  """Shifted logarithms of how much more often pairs occur than by chance."""
  rows, columns, weights = [], [], []
  for sequence in sequences:
    for distance in range(1, min(WINDOW, len(sequence) - 1) + 1):
      rows.append(sequence[:-distance])
      columns.append(sequence[distance:])
      weights.append(np.full(len(sequence) - distance, 1 / distance))
  if not rows:
    return scipy.sparse.csr_matrix((num_rows, num_rows))
  one_way = scipy.sparse.coo_matrix(
    (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
    shape=(num_rows, num_rows),
  ).tocsr()
  both = (one_way + one_way.T).tocoo()
  totals = np.asarray(both.sum(1)).ravel()
  contexts = totals**_CONTEXT_POWER
  contexts /= contexts.sum()
  ratios = both.data / (totals[both.row] * contexts[both.col])
  return scipy.sparse.coo_matrix(
    (np.log1p(ratios / _SHIFT), (both.row, both.col)), shape=both.shape
  ).tocsr()


def _pieces(
  items: Float[np.ndarray, "items_plus_1 embed"],
  title_tokens: Int[np.ndarray, "items_plus_1 length"],
  weights: Float[np.ndarray, " items_plus_1"],
  vocab_size: int,
) -> Float[np.ndarray, "vocab embed"]:
  """Mean vector of the items that each piece names; zeros where none."""
  number, column = np.nonzero(title_tokens)
  occurs = scipy.sparse.coo_matrix(
    (weights[number], (title_tokens[number, column], number)),
    shape=(vocab_size, len(items)),
  ).tocsr()
  totals = np.asarray(occurs.sum(1))
  return (occurs @ items) / np.where(totals > 0, totals, 1.0)


def _scaled(vectors: Float[np.ndarray, "rows embed"]) -> np.ndarray:
  used = np.abs(vectors).sum(1) > 0
  return vectors * (SCALE / vectors[used].std())
