"""Sizes and numerics of the T5 network, one frozen and checked dataclass."""

import dataclasses
from typing import ClassVar

from instructrec.models.networks import network_config


@dataclasses.dataclass(frozen=True)
class T5Config(network_config.NetworkConfig):
  """Hyperparameters of `instructrec.models.networks.t5.T5`.

  Attributes:
    num_encoder_layers: layers of the encoder.
    float32_attention_logits: compute attention logits and softmax in float32
      whatever `dtype` is, where `attention_implementation` is "einsum", which
      is T5X's arithmetic.
    num_buckets: relative position buckets, a multiple of 4.
    max_distance: tokens from which on distances share the last bucket.
  """

  MEANING: ClassVar[tuple[str, ...]] = (
    *network_config.NetworkConfig.MEANING,
    "max_distance",
  )

  num_encoder_layers: int = 6
  float32_attention_logits: bool = False
  num_buckets: int = 32
  max_distance: int = 128

  def __post_init__(self):
    """Checks the sizes.

    Raises:
      ValueError: where one is out of its range.
    """
    super().__post_init__()
    self._check_counts("num_encoder_layers", "num_buckets", "max_distance")
    if self.num_buckets % 4:
      self._refuse(
        "num_buckets",
        "a multiple of 4 (half of them for each direction, half of those for "
        "single tokens)",
      )
    if self.max_distance <= self.num_buckets // 2:
      self._refuse(
        "max_distance", f"more than num_buckets / 2 = {self.num_buckets // 2}"
      )

  @property
  def num_parameters(self) -> int:
    """Number of trained numbers, from the sizes alone."""
    attention = 4 * self.emb_dim * self.joined_dim
    encoder_layer = attention + self.mlp_parameters + 2 * self.emb_dim
    decoder_layer = 2 * attention + self.mlp_parameters + 3 * self.emb_dim
    return (
      self.num_encoder_layers * encoder_layer
      + self.num_decoder_layers * decoder_layer
      + self.table_parameters
      + 2 * self.num_heads * self.num_buckets
      + 2 * self.emb_dim
    )
