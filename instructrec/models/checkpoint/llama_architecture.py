"""LLaMA-style networks in checkpoints."""

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
)
from instructrec.models.networks import llama_config, rotary

# Field of config.json, and of ours.
_FIELDS = {
  "vocab_size": "vocab_size",
  "hidden_size": "emb_dim",
  "intermediate_size": "mlp_dim",
  "num_hidden_layers": "num_decoder_layers",
  "num_attention_heads": "num_heads",
  "rms_norm_eps": "norm_epsilon",
  "max_position_embeddings": "max_length",
}
_OPTIONAL_FIELDS = {
  "num_key_value_heads": "num_kv_heads",
  "head_dim": "head_dim",
}
_SCALING = {
  "factor": "factor",
  "low_freq_factor": "low_freq_factor",
  "high_freq_factor": "high_freq_factor",
  "original_max_position_embeddings": "original_max_length",
}
# Llama 3 to 3.3; the row is called <|finetune_right_pad_id|> from 3.1 on.
_LLAMA_3_BOS, _LLAMA_3_PADDING = 128_000, 128_004


def _parameters(config: llama_config.LlamaConfig) -> Iterator[Parameter]:
  vocab, embed = config.vocab_size, config.emb_dim
  yield Parameter(
    EMBEDDING, "model.embed_tokens.weight", (vocab, embed), ("vocab", "embed")
  )
  for index in range(config.num_decoder_layers):
    yield from _layer(config, index)
  yield Parameter(
    "decoder/decoder_norm/scale", "model.norm.weight", (embed,), ("embed",)
  )
  if not config.logits_via_embedding:
    yield Parameter(
      LOGITS, "lm_head.weight", (embed, vocab), ("embed", "vocab")
    )


def _layer(config: llama_config.LlamaConfig, index: int) -> Iterator[Parameter]:
  embed, mlp = config.emb_dim, config.mlp_dim
  joined, grouped = config.joined_dim, config.kv_dim
  into, out = ("embed", "joined_kv"), ("joined_kv", "embed")
  ours, theirs = f"decoder/layers_{index}", f"model.layers.{index}"
  for name, their_name, shape, axes in (
    (
      "pre_self_attention_layer_norm/scale",
      "input_layernorm",
      (embed,),
      ("embed",),
    ),
    ("self_attention/query/kernel", "self_attn.q_proj", (embed, joined), into),
    ("self_attention/key/kernel", "self_attn.k_proj", (embed, grouped), into),
    ("self_attention/value/kernel", "self_attn.v_proj", (embed, grouped), into),
    ("self_attention/out/kernel", "self_attn.o_proj", (joined, embed), out),
    (
      "pre_mlp_layer_norm/scale",
      "post_attention_layernorm",
      (embed,),
      ("embed",),
    ),
    ("mlp/wi_0/kernel", "mlp.gate_proj", (embed, mlp), ("embed", "mlp")),
    ("mlp/wi_1/kernel", "mlp.up_proj", (embed, mlp), ("embed", "mlp")),
    ("mlp/wo/kernel", "mlp.down_proj", (mlp, embed), ("mlp", "embed")),
  ):
    yield Parameter(
      f"{ours}/{name}", f"{theirs}.{their_name}.weight", shape, axes
    )


def _infer_config(
  shapes: Mapping[str, tuple[int, ...]], found_in: str
) -> llama_config.LlamaConfig:
  """See `Architecture`; there is nothing to infer from."""
  raise tensors.CheckpointError(
    f"{found_in} holds a decoder-only network of {len(shapes)} parameters, "
    "whose shapes tell neither its heads nor its positions; name the gin file "
    "of the network (--gin_file), or give a Hugging Face folder or a run, "
    "which have its settings beside them"
  )


def _config_from_json(
  fields: Mapping[str, Any], tied: bool, found_in: str
) -> llama_config.LlamaConfig:
  """See `Architecture`: LLaMA, Llama 2, Llama 3 and what is built like them."""
  fields = {name: v for name, v in fields.items() if v is not None}
  require(
    fields,
    {
      "hidden_act": ("silu",),
      "attention_bias": (False,),
      "mlp_bias": (False,),
    },
    found_in,
  )
  if absent := [name for name in _FIELDS if name not in fields]:
    raise tensors.CheckpointError(f"{found_in} has no {', '.join(absent)}")
  settings = {ours: fields[theirs] for theirs, ours in _FIELDS.items()}
  settings |= {
    ours: fields[theirs]
    for theirs, ours in _OPTIONAL_FIELDS.items()
    if theirs in fields
  }
  try:
    settings.setdefault(
      "head_dim", settings["emb_dim"] // settings["num_heads"]
    )
    return llama_config.LlamaConfig(
      **settings,
      **_rope_from_json(fields, found_in),
      **_tokens_from_json(fields),
      logits_via_embedding=tied,
    )
  except (TypeError, ValueError, ZeroDivisionError) as error:
    raise tensors.CheckpointError(f"{found_in}: {error}") from error


def _rope_from_json(fields: Mapping[str, Any], found_in: str) -> dict[str, Any]:
  """The settings of rotary positions, as older and newer files have them."""
  found = dict(fields.get("rope_parameters", fields.get("rope_scaling", {})))
  theta = found.get("rope_theta", fields.get("rope_theta", 10_000.0))
  kind = found.get("rope_type", found.get("type", "default"))
  if kind == "default":
    return {"rope_theta": float(theta)}
  if kind != "llama3" or (missing := set(_SCALING) - found.keys()):
    wanted = "'default' or 'llama3'"
    if kind == "llama3":
      wanted = f"{', '.join(sorted(missing))} beside it"
    raise tensors.CheckpointError(
      f"{found_in}: rope_type is {kind!r}, expected {wanted}"
    )
  scaling = {ours: found[theirs] for theirs, ours in _SCALING.items()}
  return {
    "rope_theta": float(theta),
    "rope_scaling": rotary.Llama3Scaling(**scaling),
  }


def _tokens_from_json(fields: Mapping[str, Any]) -> dict[str, Any]:
  """The tokens that mean something to the network."""
  bos, eos = fields.get("bos_token_id", 1), fields.get("eos_token_id", 2)
  # Chat models end in several ways, of which the first ends a text.
  eos = eos[0] if isinstance(eos, list) and eos else eos
  padding = fields.get("pad_token_id", -1)
  if padding < 0 or padding in (bos, eos):
    # Where no token is left for padding: 0 is unknown to the older
    # vocabularies, and an exclamation mark to Llama 3.
    padding = _LLAMA_3_PADDING if bos == _LLAMA_3_BOS else 0
  return {"bos_id": bos, "eos_id": eos, "padding_row": padding}


def _config_to_json(config: llama_config.LlamaConfig) -> dict[str, Any]:
  """See `Architecture`."""
  if config.mlp_activations != ("silu", "linear"):
    raise tensors.CheckpointError(
      f"mlp_activations are {config.mlp_activations}; Hugging Face's LLaMA has "
      "('silu', 'linear') only"
    )
  scaling = config.rope_scaling
  fields = {**_FIELDS, **_OPTIONAL_FIELDS}
  return {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    **{theirs: getattr(config, ours) for theirs, ours in fields.items()},
    "num_key_value_heads": config.kv_heads,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": config.rope_theta,
    "rope_scaling": scaling
    and {
      "rope_type": "llama3",
      **{theirs: getattr(scaling, ours) for theirs, ours in _SCALING.items()},
    },
    "tie_word_embeddings": config.logits_via_embedding,
    "bos_token_id": config.bos_id,
    "eos_token_id": config.eos_id,
    "pad_token_id": config.padding_row,
  }


LLAMA = Architecture(
  name="LLaMA",
  config_cls=llama_config.LlamaConfig,
  parameters=_parameters,
  describe=lambda config: f"a LLaMA of {config.num_decoder_layers} layers",
  infer_config=_infer_config,
  model_types=("llama",),
  config_from_json=_config_from_json,
  config_to_json=_config_to_json,
  tied=False,
  table="model.embed_tokens.weight",
  copies=(),
  # Buffers of the rotary frequencies.
  never_read=re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"),
  task_type="CAUSAL_LM",
)
