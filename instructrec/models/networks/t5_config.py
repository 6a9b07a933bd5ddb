"""Sizes and numerics of the T5 network, one frozen and checked dataclass."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from instructrec import limits

REMAT_POLICIES = ("none", "minimal", "full")
ATTENTION_IMPLEMENTATIONS = ("einsum", "xla", "cudnn", "pallas")
ACTIVATIONS = ("gelu", "relu", "silu", "linear")


_LIMITS = {
  "vocab_size": limits.VOCABULARY,
  "num_encoder_layers": limits.LAYERS,
  "num_decoder_layers": limits.LAYERS,
}


def _check_count(name: str, value: Any) -> None:
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(
      f"T5Config.{name} is {value!r}; expected a positive whole number"
    )
  # Sizes come from files of others as well; some are counted through.
  _LIMITS.get(name, limits.WIDTH).check(value, f"T5Config.{name}")


@dataclasses.dataclass(frozen=True)
class T5Config:
  """Hyperparameters of `instructrec.models.networks.t5.T5`.

  Field names are those of T5X's `examples/t5` where it has them, so that its
  gin files read the same. The class is frozen and hashable: it may be a static
  argument of a compiled function.

  Attributes:
    vocab_size: rows of the embedding table; public T5 1.1 checkpoints have
      32128, more than the 32100 pieces of their vocabulary.
    dtype: type of activations; parameters are always float32.
    emb_dim: width of the residual stream.
    num_heads: attention heads; `num_heads * head_dim` need not be `emb_dim`.
    num_encoder_layers: layers of the encoder.
    num_decoder_layers: layers of the decoder.
    head_dim: width of one head.
    mlp_dim: width of the hidden layer of each feed-forward block.
    mlp_activations: one entry a branch; the branches are multiplied.
      ("gelu", "linear") is T5 1.1 and Flan-T5, ("relu",) is T5 1.0. "gelu" is
      the tanh approximation.
    dropout_rate: probability of dropping, in [0, 1).
    logits_via_embedding: take the logits from the embedding table (T5 1.0)
      instead of a matrix of their own (T5 1.1).
    float32_attention_logits: compute attention logits and softmax in float32
      whatever `dtype` is.
    attention_implementation: "einsum" is T5X's arithmetic, on every device.
      The others take logits and softmax in float32: "xla" and "cudnn" are
      those of `jax.nn.dot_product_attention`, "pallas" is our kernel. "cudnn"
      and "pallas" are fused and keep no attention weights; "cudnn" needs an
      NVIDIA GPU and 16-bit activations, "pallas" needs TPUs.
    num_buckets: relative position buckets, a multiple of 4.
    max_distance: tokens from which on distances share the last bucket.
    scan_layers: keep the parameters of a stack's layers stacked on a first axis
      and loop over them, so that compile time does not grow with depth. The
      numbers stay the same; checkpoints are converted by stacking.
    remat_policy: what to recompute in the backward pass, per layer. "none"
      keeps all activations, "minimal" keeps the results of the weight matrix
      products, "full" keeps only each layer's input.
    title_matching: whether the network has the parameters of
      `title_matching.TitleMatching`: it can then read histories item by item
      and match titles as vectors. Public checkpoints have none of them.
    num_items: items with a vector of their own beside their title; 0 for none.
    item_dropout_rate: probability in training that an item is known by its
      title alone.
  """

  vocab_size: int
  dtype: Any = jnp.float32
  emb_dim: int = 512
  num_heads: int = 8
  num_encoder_layers: int = 6
  num_decoder_layers: int = 6
  head_dim: int = 64
  mlp_dim: int = 2048
  mlp_activations: Sequence[str] = ("gelu", "linear")
  dropout_rate: float = 0.1
  logits_via_embedding: bool = False
  float32_attention_logits: bool = False
  attention_implementation: str = "einsum"
  num_buckets: int = 32
  max_distance: int = 128
  scan_layers: bool = False
  remat_policy: str = "none"
  title_matching: bool = False
  num_items: int = 0
  item_dropout_rate: float = 0.2

  def __post_init__(self):
    # gin gives lists and type names; both are made canonical here, once.
    object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
    object.__setattr__(self, "dtype", jnp.dtype(self.dtype).type)
    for name in (
      "vocab_size",
      "emb_dim",
      "num_heads",
      "num_encoder_layers",
      "num_decoder_layers",
      "head_dim",
      "mlp_dim",
    ):
      _check_count(name, getattr(self, name))
    if not jnp.issubdtype(self.dtype, jnp.floating):
      raise ValueError(
        f"T5Config.dtype is {jnp.dtype(self.dtype).name!r}; expected a "
        "floating type such as 'float32' or 'bfloat16'"
      )
    if not self.mlp_activations:
      raise ValueError(
        "T5Config.mlp_activations is empty; expected for example "
        "('gelu', 'linear')"
      )
    for activation in self.mlp_activations:
      if activation not in ACTIVATIONS:
        raise ValueError(
          f"T5Config.mlp_activations holds {activation!r}; expected names "
          f"among {', '.join(ACTIVATIONS)}"
        )
    if not 0.0 <= self.dropout_rate < 1.0:
      raise ValueError(
        f"T5Config.dropout_rate is {self.dropout_rate!r}; expected a "
        "probability in [0, 1)"
      )
    self._check_relative_positions()
    self._check_items()
    if self.attention_implementation not in ATTENTION_IMPLEMENTATIONS:
      raise ValueError(
        f"T5Config.attention_implementation is "
        f"{self.attention_implementation!r}; expected one of "
        f"{', '.join(ATTENTION_IMPLEMENTATIONS)}"
      )
    if self.remat_policy not in REMAT_POLICIES:
      raise ValueError(
        f"T5Config.remat_policy is {self.remat_policy!r}; expected one of "
        f"{', '.join(REMAT_POLICIES)}"
      )

  def _check_relative_positions(self) -> None:
    _check_count("num_buckets", self.num_buckets)
    _check_count("max_distance", self.max_distance)
    if self.num_buckets % 4:
      raise ValueError(
        f"T5Config.num_buckets is {self.num_buckets}; expected a multiple of "
        "4 (half of them for each direction, half of those for single tokens)"
      )
    if self.max_distance <= self.num_buckets // 2:
      raise ValueError(
        f"T5Config.max_distance is {self.max_distance}; expected more than "
        f"num_buckets / 2 = {self.num_buckets // 2}"
      )

  def _check_items(self) -> None:
    if self.num_items < 0 or (self.num_items and not self.title_matching):
      raise ValueError(
        f"T5Config.num_items is {self.num_items!r} with title_matching "
        f"{self.title_matching}; expected 0, or the items of the catalogue "
        "where titles are matched"
      )
    limits.TABLE_ROWS.check(self.num_items, "T5Config.num_items")
    if not 0.0 <= self.item_dropout_rate <= 1.0:
      raise ValueError(
        f"T5Config.item_dropout_rate is {self.item_dropout_rate!r}; expected a "
        "probability in [0, 1]"
      )

  @property
  def joined_dim(self) -> int:
    """Width of all heads together."""
    return self.num_heads * self.head_dim

  @property
  def num_parameters(self) -> int:
    """Number of trained numbers, from the sizes alone."""
    attention = 4 * self.emb_dim * self.joined_dim
    mlp = (len(self.mlp_activations) + 1) * self.emb_dim * self.mlp_dim
    encoder_layer = attention + mlp + 2 * self.emb_dim
    decoder_layer = 2 * attention + mlp + 3 * self.emb_dim
    tables = 1 if self.logits_via_embedding else 2
    matching = 0
    if self.title_matching:
      matching = 7 * self.emb_dim**2 + 2
      matching += (self.num_items + bool(self.num_items)) * self.emb_dim
    return (
      self.num_encoder_layers * encoder_layer
      + self.num_decoder_layers * decoder_layer
      + tables * self.vocab_size * self.emb_dim
      + 2 * self.num_heads * self.num_buckets
      + 2 * self.emb_dim
      + matching
    )
