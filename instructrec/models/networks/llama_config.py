"""Sizes and numerics of LLaMA-style networks, one frozen, checked dataclass."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from instructrec.models.networks import network_config, rotary


@dataclasses.dataclass(frozen=True)
class LlamaConfig(network_config.NetworkConfig):
  """Hyperparameters of `instructrec.models.networks.llama.Llama`.

  Attributes:
    num_kv_heads: heads of keys and values, a divisor of `num_heads`: each
      serves a group of query heads; None for as many.
    norm_epsilon: added to mean squares before roots are taken.
    rope_theta: base of the rotary frequencies.
    rope_scaling: what changes them for longer contexts; None for nothing.
    max_length: positions that the network was made for.
    bos_id: the token that prompts begin with; None for none.
    eos_id: the token that answers end with.
    padding_row: row of the token tables in Hugging Face's form that no text
      uses. Padding is 0 in this package: where 0 is a piece there, as in Llama
      3, the two rows change places on the way in and out.
  """

  MEANING: ClassVar[tuple[str, ...]] = (
    *network_config.NetworkConfig.MEANING,
    "kv_heads",
    "norm_epsilon",
    "rope_theta",
    "rope_scaling",
    "bos_id",
    "eos_id",
    "padding_row",
  )

  mlp_activations: Sequence[str] = ("silu", "linear")
  dropout_rate: float = 0.0
  num_kv_heads: int | None = None
  norm_epsilon: float = 1e-5
  rope_theta: float = 10_000.0
  rope_scaling: rotary.Llama3Scaling | None = None
  max_length: int = 2048
  bos_id: int | None = 1
  eos_id: int = 2
  padding_row: int = 0

  def __post_init__(self):
    """Checks the sizes.

    Raises:
      ValueError: where one is out of its range.
    """
    super().__post_init__()
    self._check_counts("kv_heads", "max_length")
    if self.num_heads % self.kv_heads:
      self._refuse("num_kv_heads", f"a divisor of {self.num_heads} heads")
    if self.head_dim % 2:
      self._refuse("head_dim", "an even number: its halves are turned")
    for name in ("norm_epsilon", "rope_theta"):
      if getattr(self, name) <= 0:
        self._refuse(name, "a positive number")
    for name, least in (("bos_id", 1), ("eos_id", 1), ("padding_row", 0)):
      value = getattr(self, name)
      if value is not None and not least <= value < self.vocab_size:
        self._refuse(name, f"a token from {least} to {self.vocab_size - 1}")

  @property
  def kv_heads(self) -> int:
    """Heads of keys and values."""
    return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

  @property
  def kv_dim(self) -> int:
    """Width of all heads of keys together, and of values."""
    return self.kv_heads * self.head_dim

  @property
  def num_parameters(self) -> int:
    """Number of trained numbers, from the sizes alone."""
    attention = 2 * self.emb_dim * (self.joined_dim + self.kv_dim)
    layer = attention + self.mlp_parameters + 2 * self.emb_dim
    layers = self.num_decoder_layers * layer
    return layers + self.table_parameters + self.emb_dim
