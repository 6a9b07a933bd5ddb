"""What a policy expects to earn from each token on: the critic of PPO.

A small network on what the decoder predicts a token from. It learns from that
and does not change it, so that a critic that is still wrong does not harm the
policy. Its parameters are there only where `NetworkConfig.value_head` asks for
them; they are of use in training alone, beside adapters as well.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Float

from instructrec.models.networks import adapters, layers
from instructrec.models.networks.network_config import VALUE_DIM


class ValueHead(nn.Module):
  """Two layers, the second of which begins with zeros: no value at first."""

  @nn.compact
  def __call__(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims"]:
    """The value before each token, float32.

    Args:
      features: what each token is predicted from; no gradient goes there.
    """
    axis = adapters.RANK_AXIS
    x = jax.lax.stop_gradient(features).astype(jnp.float32)
    hidden = layers.Dense(VALUE_DIM, ("embed", axis), name="hidden")(x)
    weights, bias = (
      partitioning.param_with_axes(
        name, nn.initializers.zeros, (size,), jnp.float32, axes=(axis,)
      )
      for name, size in (("output", VALUE_DIM), ("bias", 1))
    )
    return nn.gelu(hidden, approximate=True) @ weights + bias[0]
