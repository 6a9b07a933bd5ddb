"""T5's relative position bias: one table of [heads, buckets] a stack."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Float, Int

from instructrec.models.networks import t5_config


def bucket_of_offset(
  offset: Int[np.ndarray, "*dims"],
  *,
  bidirectional: bool,
  num_buckets: int,
  max_distance: int,
) -> Int[np.ndarray, "*dims"]:
  """The bucket of each offset "key position - query position".

  Half of the buckets hold single distances, the other half grow
  geometrically up to `max_distance`, from where on all share the last. With
  `bidirectional`, keys after the query have the upper half of the buckets;
  without it they all fall into bucket 0 (the causal mask hides them).

  Computed in NumPy, never on the device: a logarithm that differs in the last
  bit would put a distance into the neighbouring bucket.

  Args:
    offset: key position minus query position, in tokens.
    bidirectional: whether keys may come after the query.
    num_buckets: number of buckets over both directions.
    max_distance: distance of the last bucket, in tokens.

  Returns:
    Buckets in [0, num_buckets), int32, of the shape of `offset`.
  """
  if bidirectional:
    per_side = num_buckets // 2
    base = np.where(offset > 0, per_side, 0)
    distance = np.abs(offset)
  else:
    per_side = num_buckets
    base = np.zeros_like(offset)
    distance = np.maximum(-offset, 0)
  exact = per_side // 2
  # The smallest distance of a growing bucket belongs to it: 1e-9 keeps the
  # logarithm of exact powers from falling just below a whole number.
  growth = np.log(np.maximum(distance, exact) / exact) / np.log(
    max_distance / exact
  )
  grown = exact + (growth * (per_side - exact) + 1e-9).astype(np.int64)
  bucket = np.where(distance < exact, distance, np.minimum(grown, per_side - 1))
  return (base + bucket).astype(np.int32)


class RelativePositionBias(nn.Module):
  """Adds a learned number per head and bucket to the attention logits.

  Attributes:
    config: number of heads, buckets, the largest distance and dtype.
    bidirectional: True for the encoder, False for the decoder.
  """

  config: t5_config.T5Config
  bidirectional: bool

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    self.rel_embedding = partitioning.param_with_axes(
      "rel_embedding",
      nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
      (cfg.num_heads, cfg.num_buckets),
      jnp.float32,
      axes=("heads", "relpos_buckets"),
    )

  def _buckets(self, offset: Int[np.ndarray, "*dims"]) -> np.ndarray:
    return bucket_of_offset(
      offset,
      bidirectional=self.bidirectional,
      num_buckets=self.config.num_buckets,
      max_distance=self.config.max_distance,
    )

  def __call__(self, length: int) -> Float[Array, "1 heads length length"]:
    """The bias of a whole sequence of `length` tokens against itself."""
    position = np.arange(length)
    buckets = self._buckets(position[None, :] - position[:, None])
    table = self.rel_embedding.astype(self.config.dtype)
    return jnp.take(table, buckets, axis=1)[None]

  def between(
    self,
    queries: Int[Array, "batch queries"],
    keys: Int[Array, "#batch keys"],
  ) -> Float[Array, "batch heads queries keys"]:
    """The bias between any positions; keys do not come after their query.

    Args:
      queries: positions of the queries.
      keys: positions of the keys; later ones than the query count as equal to
        it, which only a causal mask makes harmless.

    Returns:
      Entries [query, key] of `self(length)`.
    """
    # Distances from max_distance on share a bucket.
    furthest = self.config.max_distance
    buckets = jnp.asarray(self._buckets(-np.arange(furthest + 1)))
    table = jnp.take(
      self.rel_embedding.astype(self.config.dtype), buckets, axis=1
    )
    distance = queries[:, :, None] - keys[:, None, :]
    bias = jnp.take(table, jnp.clip(distance, 0, furthest), axis=1)
    return bias.swapaxes(0, 1)
