"""Building blocks of networks: norm, dense, embedding, logits, gated MLP.

Every parameter is float32 and names its logical axes, which a mesh's rules
turn into a sharding; activations have the `dtype` of the configuration.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Float, Int

from instructrec.models.networks import adapters, network_config

Initializer = Callable[..., Any]

_ACTIVATION_FNS: dict[str, Callable[[Array], Array]] = {
  # T5 1.1 was trained with the tanh approximation.
  "gelu": lambda x: jax.nn.gelu(x, approximate=True),
  "relu": jax.nn.relu,
  "silu": jax.nn.silu,
  "linear": lambda x: x,
}

fan_in_normal = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
fan_in_truncated_normal = nn.initializers.variance_scaling(
  1.0, "fan_in", "truncated_normal"
)


def residual(
  x: Float[Array, "batch length embed"],
) -> Float[Array, "batch length embed"]:
  """Lays out what is, or will be, added to the residual stream.

  Its length is an axis of its own to a mesh's rules: they may split it where
  the inside of a block is split by heads or hidden units instead.
  """
  if x.shape[1] == 1:  # A decoding step: nothing to split.
    return x
  return partitioning.with_sharding_constraint(
    x, ("batch", "residual_length", "embed")
  )


def add(
  x: Float[Array, "batch length embed"],
  y: Float[Array, "batch length embed"],
  dropout: nn.Dropout,
  deterministic: bool,
) -> Float[Array, "batch length embed"]:
  """The residual stream `x` with a block's result `y`."""
  y = dropout(residual(y), deterministic=deterministic)
  return residual(x + y)


class RMSNorm(nn.Module):
  """Divides by the root mean square of the last axis; no mean, no offset.

  Attributes:
    dtype: type of the result; the mean square is taken in float32.
    epsilon: added to the mean square.
  """

  dtype: Any = jnp.float32
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: Float[Array, "*dims embed"]) -> Float[Array, "..."]:
    """Normalises `x` of any rank along its last axis."""
    scale = partitioning.param_with_axes(
      "scale",
      nn.initializers.ones,
      (x.shape[-1],),
      jnp.float32,
      axes=("embed",),
    )
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    normed = x * jax.lax.rsqrt(mean_square + self.epsilon)
    return normed.astype(self.dtype) * scale.astype(self.dtype)


@jax.custom_jvp
def _cast_late(kernel: Float[Array, "..."]) -> Float[Array, "..."]:
  """The same numbers; keeps a cast that follows inside a loop over layers.

  The TPU compiler stores the weights of a loop in the type of the products,
  outside of it: a second copy of all of them, through the whole step. It does
  so through a barrier too, but not where the barrier is for bits.
  """
  bits = jax.lax.bitcast_convert_type(kernel, jnp.uint32)
  bits = jax.lax.optimization_barrier(bits)
  return jax.lax.bitcast_convert_type(bits, kernel.dtype)


@_cast_late.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
  return _cast_late(*primals), tangents[0]


@jax.custom_vjp
def product(
  x: Float[Array, "*dims inputs"], kernel: Float[Array, "inputs outputs"]
) -> Float[Array, "*dims outputs"]:
  """`jnp.dot(x, kernel)`, whose gradient of the kernel is x^T g.

  JAX derives (g^T x)^T. XLA then writes g transposed, with whatever makes g
  merged into that slow copy: a fifth of a training step on CPUs.
  """
  return jnp.dot(x, kernel)


def _product_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return jnp.dot(x, kernel), (x, kernel)


def _product_bwd(
  saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  x, kernel = saved
  rows = tuple(range(x.ndim - 1))
  return (
    jnp.dot(gradient, kernel.T),
    jnp.tensordot(x, gradient, axes=(rows, rows)),
  )


product.defvjp(_product_fwd, _product_bwd)


class Dense(nn.Module):
  """A matrix product over the last axis, without offset.

  Attributes:
    features: size of the result's last axis.
    kernel_axes: logical names of the matrix's two axes.
    dtype: type of the product.
    kernel_init: initialiser of the [in, out] matrix.
    adapter: what is trained beside the matrix, where it is a target.
  """

  features: int
  kernel_axes: tuple[str, str]
  dtype: Any = jnp.float32
  kernel_init: Initializer = fan_in_truncated_normal
  adapter: adapters.LoRA | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "*dims inputs"], deterministic: bool = True
  ) -> Float[Array, "..."]:
    """Maps [..., inputs] to [..., features].

    Args:
      x: what is mapped.
      deterministic: False drops of what an adapter reads.
    """
    kernel = partitioning.param_with_axes(
      "kernel",
      self.kernel_init,
      (x.shape[-1], self.features),
      jnp.float32,
      axes=self.kernel_axes,
    )
    if self.dtype != jnp.float32:
      kernel = _cast_late(kernel)
    x = x.astype(self.dtype)
    y = product(x, kernel.astype(self.dtype))
    change = adapters.make(
      self.adapter, self.path, kernel.shape, self.kernel_axes
    )
    if self.adapter is None or change is None:
      return y
    dropout = nn.Dropout(self.adapter.dropout_rate)
    return y + change.of(dropout(x, deterministic=deterministic))


class Embed(nn.Module):
  """The table of token vectors, read by all stacks.

  Vectors are not scaled on the way in.

  Attributes:
    vocab_size: rows of the table.
    features: width of a vector.
    dtype: type of the vectors returned.
    embedding_init: initialiser of the table.
    adapter: what is trained beside the table, where it is a target.
  """

  vocab_size: int
  features: int
  dtype: Any = jnp.float32
  embedding_init: Initializer = nn.initializers.normal(stddev=1.0)
  adapter: adapters.LoRA | None = None

  def setup(self):
    """Makes the parameters and submodules."""
    shape, axes = (self.vocab_size, self.features), ("vocab", "embed")
    table = partitioning.param_with_axes(
      "embedding", self.embedding_init, shape, jnp.float32, axes=axes
    )
    change = adapters.make(self.adapter, self.path, shape, axes)
    # The one table of all that read it: tokens, titles, tied logits.
    self.embedding = table if change is None else change.merged(table)

  def __call__(
    self, tokens: Int[Array, "batch length"]
  ) -> Float[Array, "batch length embed"]:
    """Looks up the vectors of `tokens`."""
    vectors = jnp.take(self.embedding.astype(self.dtype), tokens, axis=0)
    return partitioning.with_sharding_constraint(
      vectors, ("batch", "length", "embed")
    )


class Logits(nn.Module):
  """Logits of tokens, from a matrix of its own or from the table of tokens.

  They are float32 whatever the features are, for stability.

  Attributes:
    config: its `logits_via_embedding` says which.
    token_embedder: the table.
    tied_scale: factor of the features where the table is taken.
  """

  config: network_config.NetworkConfig
  token_embedder: Embed
  tied_scale: float = 1.0

  @nn.compact
  def factors(
    self, features: Float[Array, "*dims embed"]
  ) -> tuple[Float[Array, "*dims embed"], Float[Array, "embed vocab"]]:
    """Rows and matrix, both float32, whose product the logits are."""
    cfg = self.config
    features = features.astype(jnp.float32)
    if cfg.logits_via_embedding:
      return features * self.tied_scale, self.token_embedder.embedding.T
    shape, axes = (cfg.emb_dim, cfg.vocab_size), ("embed", "vocab")
    kernel = partitioning.param_with_axes(
      "kernel", fan_in_truncated_normal, shape, jnp.float32, axes=axes
    )
    change = adapters.make(cfg.adapter, self.path, shape, axes)
    return features, kernel if change is None else change.merged(kernel)

  def __call__(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims vocab"]:
    """Their product."""
    return product(*self.factors(features))


class GatedMlp(nn.Module):
  """The feed-forward block; its branches are multiplied before `wo`.

  Attributes:
    config: sizes, activations, dropout rate and dtype.
  """

  config: network_config.NetworkConfig

  @nn.compact
  def __call__(
    self, x: Float[Array, "batch length embed"], deterministic: bool
  ) -> Float[Array, "batch length embed"]:
    """Applies the block; dropout unless `deterministic`."""
    cfg = self.config
    hidden = None
    for index, activation in enumerate(cfg.mlp_activations):
      # Names follow the public checkpoints: one branch has no number.
      name = "wi" if len(cfg.mlp_activations) == 1 else f"wi_{index}"
      branch = _ACTIVATION_FNS[activation](
        self._dense(cfg.mlp_dim, ("embed", "mlp"), name)(x, deterministic)
      )
      hidden = branch if hidden is None else hidden * branch
    # The same units are dropped at all positions, as T5 does.
    hidden = nn.Dropout(cfg.dropout_rate, broadcast_dims=(-2,))(
      hidden, deterministic=deterministic
    )
    hidden = partitioning.with_sharding_constraint(
      hidden, ("batch", "length", "mlp")
    )
    return self._dense(cfg.emb_dim, ("mlp", "embed"), "wo")(
      hidden, deterministic
    )

  def _dense(self, features: int, axes: tuple[str, str], name: str) -> Dense:
    cfg = self.config
    return Dense(
      features, axes, dtype=cfg.dtype, adapter=cfg.adapter, name=name
    )
