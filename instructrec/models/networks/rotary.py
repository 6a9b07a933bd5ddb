"""Rotary position embeddings (Su et al., 2021), plain and as Llama 3 has them.

Queries and keys are turned by angles that grow with their position, so that
their product depends on the distance alone. Dimension i is paired with
dimension i + head_dim / 2, as in Hugging Face's checkpoints.
"""

import dataclasses
import math

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """Slower turns for a longer context (Llama 3.1).

  Dimensions that turn often within the original length stay; those that turn
  seldom turn `factor` times as slowly; in between the change is gradual.

  Attributes:
    factor: how many times as long the context is.
    low_freq_factor: turns within the original length up to which a dimension
      is slowed down by all of `factor`.
    high_freq_factor: turns from which on a dimension stays as it is.
    original_max_length: positions of the model before it was scaled.
  """

  factor: float = 8.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_max_length: int = 8192

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      ValueError: where the factors are not in their order.
    """
    if (
      self.factor < 1
      or not 0 < self.low_freq_factor < self.high_freq_factor
      or self.original_max_length < 1
    ):
      raise ValueError(
        f"{self}; expected factor >= 1, 0 < low_freq_factor < "
        "high_freq_factor and original_max_length >= 1"
      )

  def __call__(
    self, frequencies: Float[np.ndarray, " half"]
  ) -> Float[np.ndarray, " half"]:
    """The scaled frequencies, in radians a position."""
    turns = self.original_max_length * frequencies / (2 * math.pi)
    low, high = self.low_freq_factor, self.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * (kept + (1.0 - kept) / self.factor)


@flax.struct.dataclass
class Rotation:
  """Cosines and sines of the angles at some positions.

  Attributes:
    cos: float32.
    sin: float32.
  """

  cos: Float[Array, "batch length 1 half"]
  sin: Float[Array, "batch length 1 half"]


def rotation(
  positions: Int[Array, "batch length"],
  *,
  head_dim: int,
  theta: float,
  scaling: Llama3Scaling | None = None,
) -> Rotation:
  """The angles at some positions.

  Args:
    positions: counted from 0.
    head_dim: width of a head, an even number.
    theta: base of the frequencies theta ** (-2 i / head_dim).
    scaling: changes them; None leaves them.

  Returns:
    Cosines and sines of position times frequency.
  """
  frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
  if scaling is not None:
    frequencies = scaling(frequencies)
  angles = positions[..., None, None] * jnp.asarray(frequencies, jnp.float32)
  return Rotation(jnp.cos(angles), jnp.sin(angles))


def rotate(
  x: Float[Array, "batch length heads kv"], by: Rotation
) -> Float[Array, "batch length heads kv"]:
  """Turns each pair of dimensions of queries or keys; of the type of `x`."""
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = (
    first * by.cos - second * by.sin,
    second * by.cos + first * by.sin,
  )
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)
