"""Keys and values of an attention layer, and caches of them.

A cache is filled position by position, of sequences that are written on, or
slot by slot, of prefixes that share their beginnings.
"""

import functools
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_ROOMS = (16, 64, 256, 1024)
"""Keys of a cache that are looked at, where it has no more yet."""


@flax.struct.dataclass
class KeysValues:
  """Projected keys and values of one attention layer.

  Attributes:
    keys: [batch, length, heads, kv].
    values: [batch, length, heads, kv].
  """

  keys: Float[Array, "batch length heads kv"]
  values: Float[Array, "batch length heads kv"]


def write(
  cache: KeysValues, new: KeysValues, position: Int[Array, ""]
) -> KeysValues:
  """The cache of some sequences, with more positions of each."""

  def put(old: Array, more: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(old, more, position, axis=1)

  return jax.tree.map(put, cache, new)


def causal(
  position: Int[Array, ""], block: int, length: int
) -> Bool[Array, "1 1 block length"]:
  """What of a cache the positions from `position` on look at."""
  queries = position + jnp.arange(block)
  return (jnp.arange(length) <= queries[:, None])[None, None]


def within(
  cache: KeysValues,
  filled: Int[Array, ""],
  look: Callable[[KeysValues], Array],
) -> Array:
  """What `look` makes of a cache, of which it is shown what is written.

  A cache has room for the longest sequence there may be, and most are short.

  Args:
    cache: of some sequences.
    filled: positions that are written.
    look: reads a cache of fewer positions; those that are not written have no
      part in what it makes.
  """
  length = cache.keys.shape[1]
  rooms = [room for room in _ROOMS if 2 * room <= length]

  def shown(room: int) -> Array:
    return look(jax.tree.map(lambda x: x[:, :room], cache))

  branches = [functools.partial(shown, room) for room in (*rooms, length)]
  index = sum((filled > room).astype(jnp.int32) for room in rooms)
  return jax.lax.switch(index, branches) if rooms else look(cache)


def write_slots(
  cache: KeysValues, new: KeysValues, first: Int[Array, ""]
) -> KeysValues:
  """A cache of prefixes, with new ones [prefixes, 1, ...] from a slot on.

  The cache is [1, slots, heads, kv], a slot a prefix.
  """
  swapped = jax.tree.map(lambda x: x.swapaxes(0, 1), new)
  return write(cache, swapped, first)


def along(
  cache: KeysValues, paths: Int[Array, "prefixes length"]
) -> KeysValues:
  """What a cache of prefixes has in the slots of each path."""
  return jax.tree.map(lambda slots: slots[0, paths], cache)
