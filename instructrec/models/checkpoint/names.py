"""The one table of parameters: our name, Hugging Face's, shape and axes.

Ours is the tree of T5X's public T5 1.1 and Flan-T5 checkpoints. Hugging Face
keeps every matrix transposed, except the token embedding.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping

from instructrec.models.checkpoint import tensors
from instructrec.models.networks import t5_config

_LAYER = re.compile(r"^(encoder|decoder)/layers_(\d{1,9})/(.+)$")
_PROJECTIONS = (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o"))
# Norm, module and Hugging Face's module of each attention block, in order.
_ATTENTIONS = {
  "encoder": (("pre_attention_layer_norm", "attention", "SelfAttention"),),
  "decoder": (
    ("pre_self_attention_layer_norm", "self_attention", "SelfAttention"),
    (
      "pre_cross_attention_layer_norm",
      "encoder_decoder_attention",
      "EncDecAttention",
    ),
  ),
}

EMBEDDING = "token_embedder/embedding"
LOGITS = "decoder/logits_dense/kernel"


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One parameter of the network.

  Attributes:
    name: its path in our tree.
    huggingface: its name in a Hugging Face state dict.
    shape: its shape in our tree.
    axes: logical names of its axes.
  """

  name: str
  huggingface: str
  shape: tuple[int, ...]
  axes: tuple[str, ...]

  @property
  def transposed(self) -> bool:
    """Whether Hugging Face has the axes the other way round."""
    return len(self.shape) == 2 and self.name != EMBEDDING


def parameters(config: t5_config.T5Config) -> dict[str, Parameter]:
  """All parameters of a network, unstacked, by our name.

  Args:
    config: the network's sizes.

  Returns:
    The table, in the order of the network.
  """
  return {p.name: p for p in _parameters(config)}


def _parameters(config: t5_config.T5Config) -> Iterator[Parameter]:
  vocab, embed = config.vocab_size, config.emb_dim
  yield Parameter(
    EMBEDDING, "shared.weight", (vocab, embed), ("vocab", "embed")
  )
  for stack, count in (
    ("encoder", config.num_encoder_layers),
    ("decoder", config.num_decoder_layers),
  ):
    yield Parameter(
      f"{stack}/relpos_bias/rel_embedding",
      f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      (config.num_heads, config.num_buckets),
      ("heads", "relpos_buckets"),
    )
    for index in range(count):
      yield from _layer(config, stack, index)
    yield Parameter(
      f"{stack}/{stack}_norm/scale",
      f"{stack}.final_layer_norm.weight",
      (embed,),
      ("embed",),
    )
  if not config.logits_via_embedding:
    yield Parameter(
      LOGITS, "lm_head.weight", (embed, vocab), ("embed", "vocab")
    )


def _layer(
  config: t5_config.T5Config, stack: str, index: int
) -> Iterator[Parameter]:
  ours, theirs = f"{stack}/layers_{index}", f"{stack}.block.{index}.layer"
  embed, joined, mlp = config.emb_dim, config.joined_dim, config.mlp_dim

  def norm(name: str, block: int) -> Parameter:
    return Parameter(
      f"{ours}/{name}/scale",
      f"{theirs}.{block}.layer_norm.weight",
      (embed,),
      ("embed",),
    )

  for block, (norm_name, module, their_module) in enumerate(_ATTENTIONS[stack]):
    yield norm(norm_name, block)
    for name, their_name in _PROJECTIONS:
      outwards = name == "out"
      yield Parameter(
        f"{ours}/{module}/{name}/kernel",
        f"{theirs}.{block}.{their_module}.{their_name}.weight",
        (joined, embed) if outwards else (embed, joined),
        ("joined_kv", "embed") if outwards else ("embed", "joined_kv"),
      )
  block = len(_ATTENTIONS[stack])
  yield norm("pre_mlp_layer_norm", block)
  branches = len(config.mlp_activations)
  for branch in range(branches):
    name = "wi" if branches == 1 else f"wi_{branch}"
    yield Parameter(
      f"{ours}/mlp/{name}/kernel",
      f"{theirs}.{block}.DenseReluDense.{name}.weight",
      (embed, mlp),
      ("embed", "mlp"),
    )
  yield Parameter(
    f"{ours}/mlp/wo/kernel",
    f"{theirs}.{block}.DenseReluDense.wo.weight",
    (mlp, embed),
    ("mlp", "embed"),
  )


def split_layer(name: str) -> tuple[str, int, str] | None:
  """Stack, number and rest of a layer's parameter; None for others."""
  match = _LAYER.match(name)
  return match and (match[1], int(match[2]), match[3])


def infer_config(
  shapes: Mapping[str, tuple[int, ...]], *, found_in: str
) -> t5_config.T5Config:
  """The sizes of a network, from the shapes of its parameters.

  What parameters do not tell is taken as the public models have it: one
  branch of the feed-forward block is ReLU (T5 1.0), two are GELU times linear
  (T5 1.1, Flan-T5); relative distances share a bucket from 128 on.

  Args:
    shapes: by our name, unstacked.
    found_in: where they come from, for the message.

  Returns:
    The configuration. Other names and shapes than those it needs are not
    checked.

  Raises:
    CheckpointError: where the parameters that tell the sizes are missing.
  """
  relpos = "encoder/relpos_bias/rel_embedding"
  query = "encoder/layers_0/attention/query/kernel"
  wo = "encoder/layers_0/mlp/wo/kernel"
  telling = (EMBEDDING, relpos, query, wo)
  if absent := set(telling) - shapes.keys():
    raise tensors.CheckpointError(
      f"{found_in} is no T5 checkpoint with the public names: "
      f"{', '.join(sorted(absent))} missing; its {len(shapes)} names begin "
      f"with {', '.join(sorted(shapes)[:5]) or 'nothing'}"
    )
  for name in telling:
    if len(shapes[name]) != 2 or 0 in shapes[name]:
      raise tensors.CheckpointError(
        f"{found_in}: {name} is {list(shapes[name])}, expected two axes, none "
        "of them empty"
      )
  num_heads, num_buckets = shapes[relpos]
  joined = shapes[query][1]
  if joined % num_heads:
    raise tensors.CheckpointError(
      f"{found_in}: {query} is {list(shapes[query])}, which does not divide "
      f"into the {num_heads} heads of {relpos}"
    )
  layers = {"encoder": 0, "decoder": 0}
  for name in shapes:
    if found := split_layer(name):
      layers[found[0]] = max(layers[found[0]], found[1] + 1)
  single = "encoder/layers_0/mlp/wi/kernel" in shapes
  try:
    return t5_config.T5Config(
      vocab_size=shapes[EMBEDDING][0],
      emb_dim=shapes[EMBEDDING][1],
      num_heads=num_heads,
      head_dim=joined // num_heads,
      num_encoder_layers=layers["encoder"],
      num_decoder_layers=layers["decoder"],
      mlp_dim=shapes[wo][0],
      mlp_activations=("relu",) if single else ("gelu", "linear"),
      logits_via_embedding=LOGITS not in shapes,
      num_buckets=num_buckets,
    )
  except ValueError as error:
    raise tensors.CheckpointError(f"{found_in}: {error}") from error
