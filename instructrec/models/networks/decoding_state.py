"""What decoding carries between steps: a memory and a cache."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from instructrec.models.networks import keys_values, network_config

# Keys and values of all layers of a stack.
PerLayer = tuple[keys_values.KeysValues, ...] | keys_values.KeysValues
# Axes of those; counted from the end, they are the same with and without
# "layers".
_SEQUENCES, _LENGTH = -4, -3
_BLOCK = 16
"""Positions of a cache that change places at once."""


@flax.struct.dataclass
class DecodingMemory:
  """What decoding asks of the encoder: constant over all steps.

  Attributes:
    layers: cross-attention keys and values, one entry a decoder layer; with
      scanned layers one entry of arrays that lead with the axis "layers".
    mask: [batch, 1, 1, inputs]; True where the input is no padding.
  """

  layers: PerLayer
  mask: Bool[Array, "batch 1 1 inputs"]


@flax.struct.dataclass
class DecodingCache:
  """What decoding remembers of its own tokens: grows with each step.

  Attributes:
    layers: self-attention keys and values [sequences, length, heads, kv], one
      entry a decoder layer; with scanned layers one entry of arrays that lead
      with the axis "layers".
    position: index of the next token.
  """

  layers: PerLayer
  position: Int[Array, ""]

  @property
  def length(self) -> int:
    """Most tokens of a sequence."""
    return jax.tree.leaves(self.layers)[0].shape[_LENGTH]

  def select(self, sequences: Int[Array, "sequences"]) -> "DecodingCache":
    """The cache whose row i is row `sequences[i]` of this one.

    There are as many rows as before. What is not written yet stays in place:
    most of a cache is room for longer sequences.
    """
    size = min(_BLOCK, self.length)

    def move(block: Array, cache: "DecodingCache") -> "DecodingCache":
      wanted = block * size
      # The last block may reach back to what has been moved.
      first = jnp.minimum(wanted, self.length - size)
      fresh = (first + jnp.arange(size) >= wanted)[:, None, None]

      def moved(x: Array) -> Array:
        axis = x.ndim + _LENGTH
        old = jax.lax.dynamic_slice_in_dim(x, first, size, axis)
        new = jnp.take(old, sequences, axis=_SEQUENCES)
        new = jnp.where(fresh, new, old)
        return jax.lax.dynamic_update_slice_in_dim(x, new, first, axis)

      return cache._map(moved)

    blocks = -(-self.position // size)
    return jax.lax.fori_loop(0, blocks, move, self)

  def widen(self, length: int) -> "DecodingCache":
    """The same cache with room for `length` more tokens of each sequence."""

    def pad(x: Array) -> Array:
      widths = [(0, 0)] * x.ndim
      widths[_LENGTH] = (0, length)
      return jnp.pad(x, widths)

    return self._map(pad)

  def _map(self, function: Callable[[Array], Array]) -> "DecodingCache":
    layers = jax.tree.map(function, self.layers)
    return DecodingCache(layers=layers, position=self.position)


def empty_cache(
  config: network_config.NetworkConfig,
  num_sequences: int,
  max_length: int,
  num_heads: int,
) -> DecodingCache:
  """The cache of sequences that have no token yet.

  Args:
    config: sizes of the decoder.
    num_sequences: sequences decoded at once.
    max_length: most tokens of a sequence.
    num_heads: of keys and values.

  Returns:
    Zeros in `config.dtype`, at position 0.
  """
  num_layers = config.num_decoder_layers
  stacked = (num_layers,) if config.scan_layers else ()
  shape = (num_sequences, max_length, num_heads, config.head_dim)
  zeros = jnp.zeros((*stacked, *shape), config.dtype)
  layer = keys_values.KeysValues(keys=zeros, values=zeros)
  return DecodingCache(
    layers=layer if config.scan_layers else (layer,) * num_layers,
    position=jnp.zeros((), jnp.int32),
  )
