"""T5 in checkpoints; our tree is that of T5X's public ones."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from instructrec.models.checkpoint import tensors
from instructrec.models.checkpoint.architecture import (
  EMBEDDING,
  LOGITS,
  Architecture,
  Parameter,
  require,
  split_layer,
)
from instructrec.models.networks import t5_config

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
_FEED_FORWARD = {
  ("gelu", "linear"): "gated-gelu",
  ("silu", "linear"): "gated-silu",
  ("relu",): "relu",
}
# Field of config.json, and of ours.
_FIELDS = {
  "vocab_size": "vocab_size",
  "d_model": "emb_dim",
  "d_kv": "head_dim",
  "d_ff": "mlp_dim",
  "num_heads": "num_heads",
  "num_layers": "num_encoder_layers",
  "num_decoder_layers": "num_decoder_layers",
  "relative_attention_num_buckets": "num_buckets",
  "relative_attention_max_distance": "max_distance",
  "dropout_rate": "dropout_rate",
}
# What transformers takes where an older file leaves a field out.
_DEFAULTS = {
  "relative_attention_num_buckets": 32,
  "relative_attention_max_distance": 128,
  "dropout_rate": 0.1,
}


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


def _infer_config(
  shapes: Mapping[str, tuple[int, ...]], found_in: str
) -> t5_config.T5Config:
  """See `Architecture`.

  What parameters do not tell is taken as the public models have it: one
  branch of the feed-forward block is ReLU (T5 1.0), two are GELU times linear
  (T5 1.1, Flan-T5); relative distances share a bucket from 128 on.
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


def _config_from_json(
  fields: Mapping[str, Any], tied: bool, found_in: str
) -> t5_config.T5Config:
  """See `Architecture`: T5 1.0, T5 1.1 and Flan-T5."""
  fields = {
    **_DEFAULTS,
    "num_decoder_layers": fields.get("num_layers"),
    **{name: value for name, value in fields.items() if value is not None},
  }
  require(
    fields,
    {
      "feed_forward_proj": ("relu", "gated-gelu", "gated-silu"),
      "layer_norm_epsilon": (1e-6,),
    },
    found_in,
  )
  if absent := [name for name in _FIELDS if fields.get(name) is None]:
    raise tensors.CheckpointError(f"{found_in} has no {', '.join(absent)}")
  # T5 1.0 scales the decoder's output where it shares the table.
  if fields.get("scale_decoder_outputs", tied) != tied:
    raise tensors.CheckpointError(
      f"{found_in}: scale_decoder_outputs is "
      f"{fields['scale_decoder_outputs']}, but the logits are "
      f"{'' if tied else 'not '}taken from the token embedding; expected both "
      "(T5 1.0) or neither (T5 1.1, Flan-T5)"
    )
  forms = {value: key for key, value in _FEED_FORWARD.items()}
  try:
    return t5_config.T5Config(
      **{ours: fields[theirs] for theirs, ours in _FIELDS.items()},
      mlp_activations=forms[fields.get("feed_forward_proj", "relu")],
      logits_via_embedding=tied,
    )
  except (TypeError, ValueError) as error:
    raise tensors.CheckpointError(f"{found_in}: {error}") from error


def _config_to_json(config: t5_config.T5Config) -> dict[str, Any]:
  """See `Architecture`."""
  activations = tuple(config.mlp_activations)
  if activations not in _FEED_FORWARD:
    raise tensors.CheckpointError(
      f"mlp_activations are {activations}; Hugging Face's T5 has only "
      f"{', '.join(map(str, _FEED_FORWARD))}"
    )
  return {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    **{theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()},
    "feed_forward_proj": _FEED_FORWARD[activations],
    "tie_word_embeddings": config.logits_via_embedding,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
  }


T5 = Architecture(
  name="T5",
  config_cls=t5_config.T5Config,
  parameters=_parameters,
  describe=lambda config: (
    f"a T5 of {config.num_encoder_layers} + {config.num_decoder_layers} layers"
  ),
  infer_config=_infer_config,
  model_types=("t5", "mt5"),
  config_from_json=_config_from_json,
  config_to_json=_config_to_json,
  tied=True,
  table="shared.weight",
  copies=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
  never_read=re.compile(
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias"
    r"\.weight"
  ),
  task_type="SEQ_2_SEQ_LM",
)
