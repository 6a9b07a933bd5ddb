"""What the sizes and numerics of all networks have in common."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from instructrec import limits
from instructrec.models.networks import adapters

REMAT_POLICIES = ("none", "minimal", "full")
ATTENTION_IMPLEMENTATIONS = ("einsum", "xla", "cudnn", "pallas")
ACTIVATIONS = ("gelu", "relu", "silu", "linear")
_LIMITS = {
  "vocab_size": limits.VOCABULARY,
  "num_encoder_layers": limits.LAYERS,
  "num_decoder_layers": limits.LAYERS,
}


VALUE_DIM = 64
"""Hidden size of a value head."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """Hyperparameters that every network has.

  Field names are those of T5X's `examples/t5` where it has them, so that its
  gin files read the same. The class is frozen and hashable: it may be a static
  argument of a compiled function.

  Attributes:
    vocab_size: rows of the embedding table; public T5 1.1 checkpoints have
      32128, more than the 32100 pieces of their vocabulary.
    dtype: type of activations; parameters are always float32.
    emb_dim: width of the residual stream.
    num_heads: attention heads; `num_heads * head_dim` need not be `emb_dim`.
    num_decoder_layers: layers of the stack that predicts tokens.
    head_dim: width of one head.
    mlp_dim: width of the hidden layer of each feed-forward block.
    mlp_activations: one entry a branch; the branches are multiplied.
      ("gelu", "linear") is T5 1.1 and Flan-T5, ("relu",) is T5 1.0, ("silu",
      "linear") is LLaMA's SwiGLU. "gelu" is the tanh approximation.
    dropout_rate: probability of dropping, in [0, 1).
    logits_via_embedding: take the logits from the embedding table (T5 1.0)
      instead of a matrix of their own (T5 1.1).
    attention_implementation: "einsum" is written out, on every device. The
      others take logits and softmax in float32: "xla" and "cudnn" are those of
      `jax.nn.dot_product_attention`, "pallas" is our kernel. "cudnn" and
      "pallas" are fused and keep no attention weights; "cudnn" needs an NVIDIA
      GPU and 16-bit activations, "pallas" needs TPUs.
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
    value_head: whether the network has the parameters of
      `value_head.ValueHead`, which some objectives need.
    adapter: small matrices that are trained in place of the network's own;
      None to train all.
  """

  # Fields that change what parameters mean, and that their shapes do not tell.
  MEANING: ClassVar[tuple[str, ...]] = (
    "num_heads",
    "mlp_activations",
    "logits_via_embedding",
  )

  vocab_size: int
  dtype: Any = jnp.float32
  emb_dim: int = 512
  num_heads: int = 8
  num_decoder_layers: int = 6
  head_dim: int = 64
  mlp_dim: int = 2048
  mlp_activations: Sequence[str] = ("gelu", "linear")
  dropout_rate: float = 0.1
  logits_via_embedding: bool = False
  attention_implementation: str = "einsum"
  scan_layers: bool = False
  remat_policy: str = "none"
  title_matching: bool = False
  num_items: int = 0
  item_dropout_rate: float = 0.2
  value_head: bool = False
  adapter: adapters.LoRA | None = None

  def __post_init__(self):
    # gin gives lists and type names; both are made canonical here, once.
    object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
    object.__setattr__(self, "dtype", jnp.dtype(self.dtype).type)
    self._check_counts(
      "vocab_size",
      "emb_dim",
      "num_heads",
      "num_decoder_layers",
      "head_dim",
      "mlp_dim",
    )
    if not jnp.issubdtype(self.dtype, jnp.floating):
      name = jnp.dtype(self.dtype).name
      self._refuse(
        "dtype", "a floating type such as 'float32' or 'bfloat16'", name
      )
    if not self.mlp_activations:
      raise ValueError(
        f"{type(self).__name__}.mlp_activations is empty; expected for example "
        "('gelu', 'linear')"
      )
    for activation in self.mlp_activations:
      if activation not in ACTIVATIONS:
        raise ValueError(
          f"{type(self).__name__}.mlp_activations holds {activation!r}; "
          f"expected names among {', '.join(ACTIVATIONS)}"
        )
    for name, known in (
      ("attention_implementation", ATTENTION_IMPLEMENTATIONS),
      ("remat_policy", REMAT_POLICIES),
    ):
      if getattr(self, name) not in known:
        self._refuse(name, f"one of {', '.join(known)}")
    if not 0.0 <= self.dropout_rate < 1.0:
      self._refuse("dropout_rate", "a probability in [0, 1)")
    if not 0.0 <= self.item_dropout_rate <= 1.0:
      self._refuse("item_dropout_rate", "a probability in [0, 1]")
    if self.num_items < 0 or (self.num_items and not self.title_matching):
      self._refuse(
        "num_items",
        "0, or the items of the catalogue where title_matching is True; it is "
        f"{self.title_matching}",
      )

    if not isinstance(self.adapter, adapters.LoRA | None):
      self._refuse("adapter", "an adapters.LoRA, or None")
    limits.TABLE_ROWS.check(self.num_items, f"{type(self).__name__}.num_items")

  def _check_counts(self, *names: str) -> None:
    for name in names:
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        self._refuse(name, "a positive whole number")
      # Sizes come from files of others as well; some are counted through.
      limit = _LIMITS.get(name, limits.WIDTH)
      limit.check(value, f"{type(self).__name__}.{name}")

  def _refuse(self, name: str, expected: str, found: Any = None) -> None:
    found = getattr(self, name) if found is None else found
    raise ValueError(
      f"{type(self).__name__}.{name} is {found!r}; expected {expected}"
    )

  @property
  def eos_id(self) -> int:
    """The token that ends an answer; T5's, unless a network has another."""
    return 1

  @property
  def padding_row(self) -> int:
    """Row of Hugging Face's token tables that is padding."""
    return 0

  def differences(self, other: Any) -> dict[str, tuple[Any, Any]]:
    """What parameters of one network would mean in another, and should not.

    Args:
      other: of the same kind.

    Returns:
      This one's value and the other's, by field; fields that shapes of
      parameters tell, or that do not change what they mean, are left out.
    """
    return {
      name: (getattr(self, name), getattr(other, name))
      for name in self.MEANING
      if getattr(self, name) != getattr(other, name)
    }

  @property
  def joined_dim(self) -> int:
    """Width of all heads together."""
    return self.num_heads * self.head_dim

  @property
  def mlp_parameters(self) -> int:
    """Trained numbers of one feed-forward block."""
    return (len(self.mlp_activations) + 1) * self.emb_dim * self.mlp_dim

  @property
  def table_parameters(self) -> int:
    """Trained numbers of tokens, logits, title matching and value head."""
    tables = 1 if self.logits_via_embedding else 2
    matching = 0
    if self.title_matching:
      matching = 7 * self.emb_dim**2 + 2
      matching += (self.num_items + bool(self.num_items)) * self.emb_dim
    value = 0
    if self.value_head:
      value = VALUE_DIM * (self.emb_dim + 1) + 1
    return tables * self.vocab_size * self.emb_dim + matching + value
