"""How `pallas_kernels` cuts attention into programs, and arrays into blocks.

The logits of a block of queries against *all* keys of a row fit on the chip: a
program takes the queries of one row and a few heads. Rows come last in the
grid: the relative position bias, which all rows share, is read once, and its
gradient is summed on the chip.

Queries, keys and values stay as the projections make them, heads beside heads
along the last axis: a block is as many heads as fill the 128 lanes of a
register, and nothing is transposed.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

_LANES = 128
# Queries are cut into multiples of this: whole tiles of a mask, and so many
# that no more keys fit into a block than the chip has room for.
_ROWS = 128
# Of the bias in a block, for the 16 MiB of on-chip memory that a program has on
# v4 and v5e: two heads of 512 x 512 in bfloat16.
_MOST_BYTES = 2**20

# An array (or its shape) and its blocks; None and None where there is no bias.
Operand = tuple[Any, Any]


@dataclasses.dataclass(frozen=True)
class Plan:
  """How the work of a device is cut into programs.

  The grid has the axes (heads, queries, rows), the last one innermost.

  Attributes:
    batch: rows.
    queries: of a row.
    keys: of a row.
    heads: in all.
    head_dim: width of a head.
    heads_per_block: heads of a program.
    queries_per_block: queries of a program.
  """

  batch: int
  queries: int
  keys: int
  heads: int
  head_dim: int
  heads_per_block: int
  queries_per_block: int

  @classmethod
  def of(cls, query: Array, keys: Array) -> "Plan":
    """The plan for arrays of such shapes.

    Raises:
      ValueError: when there are too many keys for one block.
    """
    batch, queries, heads, head_dim = query.shape
    length = keys.shape[1]
    # As few as fill whole registers, or all heads there are.
    heads_per_block = next(
      count
      for count in range(1, heads + 1)
      if heads % count == 0
      and (count * head_dim % _LANES == 0 or count == heads)
    )
    most_logits = _MOST_BYTES // query.dtype.itemsize
    most_queries = most_logits // (heads_per_block * length)
    if queries > most_queries:
      most_queries -= most_queries % _ROWS
    if most_queries == 0:
      most_keys = most_logits // (heads_per_block * _ROWS)
      raise ValueError(
        "attention_implementation='pallas' keeps all keys of a row on the "
        f"chip, and there are {length}; with {heads} heads of {head_dim} on a "
        f"device and {query.dtype.name} it takes up to {most_keys}: shorten "
        "the rows or set attention_implementation (gin: "
        "ATTENTION_IMPLEMENTATION) to 'einsum'"
      )
    return cls(
      batch,
      queries,
      length,
      heads,
      head_dim,
      heads_per_block,
      min(queries, most_queries),
    )

  @property
  def grid(self) -> tuple[int, int, int]:
    """Blocks of heads, blocks of queries, rows."""
    return (
      self.heads // self.heads_per_block,
      pl.cdiv(self.queries, self.queries_per_block),
      self.batch,
    )

  @property
  def _width(self) -> int:
    return self.heads_per_block * self.head_dim

  def of_queries(self) -> pl.BlockSpec:
    """Blocks of [batch, queries, heads * kv]."""
    return pl.BlockSpec(
      (None, self.queries_per_block, self._width),
      lambda head, part, row: (row, part, head),
    )

  def of_keys(self) -> pl.BlockSpec:
    """Blocks of [batch, keys, heads * kv]."""
    return pl.BlockSpec(
      (None, self.keys, self._width), lambda head, part, row: (row, 0, head)
    )

  def of_key_gradients(self) -> pl.BlockSpec:
    """Blocks of [blocks of queries, batch, keys, heads * kv]."""
    return pl.BlockSpec(
      (None, None, self.keys, self._width),
      lambda head, part, row: (part, row, 0, head),
    )

  def of_mask(self, rows: int, queries: int) -> pl.BlockSpec:
    """Blocks of [batch or 1, queries or 1, keys]."""
    return pl.BlockSpec(
      (None, 1 if queries == 1 else self.queries_per_block, self.keys),
      lambda head, part, row: (
        0 if rows == 1 else row,
        0 if queries == 1 else part,
        0,
      ),
    )

  def of_bias(self, rows: int) -> pl.BlockSpec:
    """Blocks of [batch or 1, heads, queries, keys]."""
    return pl.BlockSpec(
      (None, self.heads_per_block, self.queries_per_block, self.keys),
      lambda head, part, row: (0 if rows == 1 else row, head, part, 0),
    )

  def padded(self, array: Array, axis: int) -> Array:
    """`array` with whole blocks of queries along an axis."""
    missing = self.grid[1] * self.queries_per_block - self.queries
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, missing)
    return jnp.pad(array, widths) if missing else array

  def by_queries(self, x: Array) -> Operand:
    """[batch, queries, heads, kv], joined and padded, with its blocks."""
    return self.padded(_joined(x), 1), self.of_queries()

  def operands(
    self,
    query: Array,
    keys: Array,
    values: Array,
    mask: Array,
    bias: Array | None,
  ) -> list[Operand]:
    """What both passes read, each array with its blocks."""
    one_for_all = mask.shape[1] == 1
    return [
      self.by_queries(query),
      (_joined(keys), self.of_keys()),
      (_joined(values), self.of_keys()),
      (
        mask if one_for_all else self.padded(mask, 1),
        self.of_mask(*mask.shape[:2]),
      ),
      (None, None)
      if bias is None
      else (self.padded(bias, 2), self.of_bias(len(bias))),
    ]

  def cost(self, products: int, moving: Iterable[Operand]) -> pl.CostEstimate:
    """Work for the compiler's plan: it sees nothing of the kernel.

    Args:
      products: matrix products of queries x keys x kv.
      moving: all that is read and written.

    Returns:
      FLOPs, exponentials, and bytes between the chip and main memory.
    """
    moved = 0
    for array, spec in moving:
      if spec is None:
        continue
      # A block that stays in place from one program to the next moves once.
      steps = itertools.product(*map(range, self.grid))
      places = itertools.groupby(spec.index_map(*step) for step in steps)
      size = math.prod(n for n in spec.block_shape if n is not None)
      moved += sum(1 for _ in places) * size * array.dtype.itemsize
    logits = self.batch * self.heads * self.queries * self.keys
    return pl.CostEstimate(
      flops=2 * products * logits * self.head_dim,
      transcendentals=logits,
      bytes_accessed=moved,
    )


def _joined(x: Array) -> Array:
  """[batch, length, heads, kv] -> [batch, length, heads * kv]."""
  return x.reshape(*x.shape[:2], -1)
